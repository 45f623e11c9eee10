// Cross-checked matches of sets of 256-bit descriptors; csrc/kernels/descriptor.hpp has the rules.
//
// A block scores one pair of images. All distances are computed once and serve both directions: a
// warp keeps up to 128 rows of a in registers, with what is nearest to each; the columns of b pass
// by in shared memory, and what is nearest to a column is put together from its lanes and then from
// the warps. A distance and an index share an integer, so that a minimum is the nearest of lowest
// index, and the order in which minima meet is of no account.
//
// Distance of rows a and b: tensor cores count the bits that both have (mma_bits.cuh), and
//   |a ^ b| = |a| + |b| - 2 |a & b|
// exactly, in integers. With c = |a & b| a row sees (|b| - 2 c) << 20 | j: what it lacks, |a|, is
// the same for all columns, and is added in the end. A column sees that plus |a| << 20 | i, of
// which j is taken off in the end. The second nearest, which `ratio` alone asks for, is kept in the
// same way.
//
// Above `most_kept` rows on a side there is no room for what is nearest on both sides: rows of a
// are taken in chunks, and their nearest columns then go through all rows of a in turn, which costs
// the distances twice.
//
// Computed, for an H100 (instructions counted in what ptxas makes for it; nothing was run there). A
// step of a warp, 128 rows and 32 columns, is 415 instructions a lane for 128 distances: 32
// products of 16 rows and 8 columns, 128 IMAD that join count and column, 128 additions with a
// minimum in one instruction for columns, 64 minima of three for rows, 64 for all else. Of 128
// lanes that issue in a clock and SM that is 0.025 clocks a distance, of 64 lanes of integers
// 0.026: both are near their limit. The products take 0.016 at the rate of an A100 (4,992 TOPS of
// bits; none is stated for an H100). So 8.9e12 distances/s; of images with 500 descriptors, with
// some 1,000 instructions for loads and for counting matches, 30 million pairs/s. Full adders and
// POPC would take 0.27 clocks a distance. Memory is of little account: 32 KB a pair, of which a
// stays near: 480 GB/s, mostly from the second cache. The rule `ratio` takes 5.3 minima a distance,
// 0.084 clocks: 10 million pairs/s.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernel.hpp"
#include "mma_bits.cuh"
#include "sink.cuh"

namespace clusterimg::cuda {

constexpr int descriptor_threads = 128;
constexpr int descriptor_warps = descriptor_threads / 32;
// Rows of an image up to which the nearest of all its rows and columns are in shared memory.
constexpr std::uint32_t most_kept = 1024;
// Columns in shared memory at a time, and those of which a lane has one in the end.
constexpr std::uint32_t columns_at_once = 256, columns_a_step = 32;

// A row or column that was seen from the other side: its distance << index_bits, plus its index.
constexpr int index_bits = 20;
constexpr std::int32_t index_mask = (1 << index_bits) - 1, one_bit = 1 << index_bits;
constexpr std::int32_t most_distance = 256;
// The key of a row or column that is none, and the nearest of none: farther than any.
constexpr std::int32_t none = 2 * most_distance * one_bit;

__device__ inline std::uint32_t index_of(std::int32_t seen) {
  return static_cast<std::uint32_t>(seen & index_mask);
}

// What a counted bit adds to a distance, and what the bits set in a row do.
__device__ inline std::int32_t of_counted(std::int32_t n) {
  return n * (counts_differing ? one_bit : -2 * one_bit);
}
__device__ inline std::int32_t of_set(std::int32_t n) { return counts_differing ? 0 : n * one_bit; }

// The rows of an image.
struct Rows {
  const std::uint32_t* words;  // eight a row
  std::uint32_t n;

  __device__ std::uint32_t at(std::uint32_t row, std::uint32_t k) const {
    return __ldg(words + 8 * static_cast<std::size_t>(row) + k);
  }
};

// A part of the rows on one side, by their numbers: `first` on, or those in the keys of a list.
struct Part {
  const std::int32_t* list;
  std::uint32_t first, n;

  __device__ std::uint32_t row(std::uint32_t k) const {
    return list ? index_of(list[k]) : first + k;
  }
};

// The nearest seen so far and, where it is asked for, the second nearest.
template <bool seconds>
struct Nearest {
  std::int32_t best = none, second = none;

  __device__ void see(std::int32_t row) {
    if (seconds) second = min(second, max(best, row));
    best = min(best, row);
  }
  __device__ void merge(const Nearest& other) {
    if (seconds) second = min(max(best, other.best), min(second, other.second));
    best = min(best, other.best);
  }
  __device__ Nearest from_lane(unsigned mask) const {
    Nearest other;
    other.best = __shfl_xor_sync(0xffffffffU, best, mask);
    if (seconds) other.second = __shfl_xor_sync(0xffffffffU, second, mask);
    return other;
  }
  // With what all that were seen lack.
  __device__ Nearest plus(std::int32_t lacking) const {
    Nearest whole;
    whole.best = best + lacking;
    whole.second = second + lacking;
    return whole;
  }
};

// What is nearest to each of some rows, in shared memory. Where several threads see rows at once,
// each puts in one and takes out the farther of two: the second nearest is the nearest of those
// that were taken out.
template <bool seconds>
struct NearestRows {
  std::int32_t *best, *second;

  __device__ void clear(std::uint32_t n) const {
    for (std::uint32_t k = threadIdx.x; k < n; k += descriptor_threads) {
      best[k] = none;
      if (seconds) second[k] = none;
    }
  }
  __device__ void see(std::uint32_t k, const Nearest<seconds>& seen) const {
    const std::int32_t before = atomicMin(best + k, seen.best);
    if (seconds) atomicMin(second + k, min(max(before, seen.best), seen.second));
  }
};

// Columns in shared memory; of one that is none the key is `none`.
struct Columns {
  uint2 words[4 * columns_at_once];
  int2 keys[columns_at_once / 2];  // of columns 2 k and 2 k + 1
};

__device__ inline void stage(const Rows& columns, std::uint32_t first, std::uint32_t n,
                             Columns& staged) {
  auto* keys = reinterpret_cast<std::int32_t*>(staged.keys);
  const std::uint32_t end = (n + columns_a_step - 1) / columns_a_step * columns_a_step;
  for (std::uint32_t j = threadIdx.x; j < end; j += descriptor_threads) {
    std::int32_t n_set = 0;
    for (std::uint32_t w = 0; w < 4; ++w) {
      uint2 words{0, 0};
      if (j < n) words = {columns.at(first + j, 2 * w), columns.at(first + j, 2 * w + 1)};
      n_set += __popc(words.x) + __popc(words.y);
      staged.words[4 * j + w] = words;
    }
    keys[j] = j < n ? of_set(n_set) + static_cast<std::int32_t>(first + j) : none;
  }
}

// Each of 8 lanes, 4 apart, has seen 8 columns: lane 4 k ends with all that was seen of column k.
template <bool seconds>
__device__ Nearest<seconds> share_columns(Nearest<seconds> (&of_column)[8]) {
#pragma unroll
  for (int half = 4; half > 0; half /= 2) {
    const bool upper = threadIdx.x & (4 * half);
#pragma unroll
    for (int k = 0; k < half; ++k) {
      const Nearest<seconds> given = upper ? of_column[k] : of_column[k + half];
      if (upper) of_column[k] = of_column[k + half];
      of_column[k].merge(given.from_lane(4 * half));
    }
  }
  return of_column[0];
}

// Compares rows [begin, begin + 64 * n) of a part, as many as there are, with all columns: what is
// nearest to each row and to each of the first `n_wanted` columns. Every thread of the block calls
// it.
template <int n, bool seconds>
__device__ void compare(const Rows& rows, const Part& part, std::uint32_t begin,
                        const Rows& columns, Columns& staged, const NearestRows<seconds>& to_rows,
                        const NearestRows<seconds>& to_columns, std::uint32_t n_wanted) {
  const std::uint32_t lane = threadIdx.x % 32, group = lane / 4, t = lane % 4;
  begin += threadIdx.x / 32 * 16 * n + group;
  // 1. A lane has rows begin + 8 k, a quarter of the words of each.
  uint4 words[n];
  std::int32_t key[2 * n];
  Nearest<seconds> of_row[2 * n];
#pragma unroll
  for (int k = 0; k < 2 * n; ++k) {
    const std::uint32_t at = begin + 8 * k;
    // One by one, or they would lie in registers as the tensor cores can't take them.
    const std::uint32_t even = at < part.n ? rows.at(part.row(at), 2 * t) : 0;
    const std::uint32_t odd = at < part.n ? rows.at(part.row(at), 2 * t + 1) : 0;
    (k % 2 ? words[k / 2].y : words[k / 2].x) = even;
    (k % 2 ? words[k / 2].w : words[k / 2].z) = odd;
    std::int32_t n_set = __popc(even) + __popc(odd);
    n_set += __shfl_xor_sync(0xffffffffU, n_set, 1);
    n_set += __shfl_xor_sync(0xffffffffU, n_set, 2);
    key[k] = at < part.n ? of_set(n_set) + static_cast<std::int32_t>(part.first + at) : none;
  }
  for (std::uint32_t first = 0; first < columns.n; first += columns_at_once) {
    // 2. Columns into shared memory, when those before are done with.
    const std::uint32_t n_staged = min(columns_at_once, columns.n - first);
    __syncthreads();
    stage(columns, first, n_staged, staged);
    __syncthreads();
    for (std::uint32_t j = 0; j < n_staged; j += columns_a_step) {
      // 3. A lane sees columns 2 t and 2 t + 1 of each 8 from its rows.
      Nearest<seconds> of_column[8];
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const uint2 column = staged.words[4 * (j + 8 * q + group) + t];
        const int2 column_keys = staged.keys[(j + 8 * q) / 2 + t];
#pragma unroll
        for (int k = 0; k < n; ++k) {
          std::int32_t counts[4];
          count_bits(words[k], column, counts);
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            const int row = 2 * k + c / 2;
            const std::int32_t seen =
                of_counted(counts[c]) + (c % 2 ? column_keys.y : column_keys.x);
            of_row[row].see(seen);
            of_column[2 * q + c % 2].see(seen + key[row]);
          }
        }
      }
      // 4. All that the warp's rows see of a column.
      const Nearest<seconds> seen = share_columns(of_column);
      const std::uint32_t at = j + 8 * (group / 2) + 2 * t + group % 2, index = first + at;
      if (index < n_wanted) to_columns.see(index, seen.plus(-static_cast<std::int32_t>(index)));
      __syncwarp();  // tensor cores want the whole warp
    }
  }
  // 5. What the lanes saw from the rows.
#pragma unroll
  for (int k = 0; k < 2 * n; ++k) {
    const std::uint32_t at = begin + 8 * k;
    const std::int32_t n_set = key[k] - static_cast<std::int32_t>(part.first + at);
    if (at < part.n) to_rows.see(at, of_row[k].plus(n_set));
  }
}

// The same for all rows of a part.
template <bool seconds>
__device__ void find_nearest(const Rows& rows, const Part& part, const Rows& columns,
                             const NearestRows<seconds>& to_rows,
                             const NearestRows<seconds>& to_columns, std::uint32_t n_wanted) {
  __shared__ Columns staged;
  __syncthreads();  // what is nearest is cleared, a list of rows is there
  for (std::uint32_t k = 0; k < part.n;) {
    const std::uint32_t left = part.n - k;
    if constexpr (!seconds) {  // for which there are registers enough
      if (left > 256) {
        if (left > 384)
          compare<8>(rows, part, k, columns, staged, to_rows, to_columns, n_wanted);
        else
          compare<6>(rows, part, k, columns, staged, to_rows, to_columns, n_wanted);
        k += 512;
        continue;
      }
    }
    if (left > 128)
      compare<4>(rows, part, k, columns, staged, to_rows, to_columns, n_wanted);
    else
      compare<2>(rows, part, k, columns, staged, to_rows, to_columns, n_wanted);
    k += 256;
  }
  __syncthreads();
}

__device__ inline std::uint32_t sum_of_warp(std::uint32_t value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffU, value, step);
  return value;
}

// The share of good matches, of matches whose distances were counted. Each warp makes it.
__device__ inline double share_of(const std::uint32_t* counts, const MatchRule& rule) {
  const std::uint32_t lane = threadIdx.x % 32;
  std::uint32_t matches = 0, good = 0, largest = 0;
  for (std::uint32_t d = lane; d <= most_distance; d += 32)
    if (counts[d] > 0) largest = d;
  for (unsigned step = 16; step > 0; step /= 2)
    largest = max(largest, __shfl_xor_sync(0xffffffffU, largest, step));
  for (std::uint32_t d = lane; d <= most_distance; d += 32) {
    const bool is_good =
        rule.kind == MatchRule::relative ? 4 * d < 3 * largest : d <= rule.max_distance;
    matches += counts[d];
    good += is_good ? counts[d] : 0;
  }
  matches = sum_of_warp(matches);
  good = sum_of_warp(good);
  return matches > 0 ? __ddiv_rn(static_cast<double>(good), static_cast<double>(matches)) : 0;
}

// The score of a pair of images. Every thread of the block calls it and has it.
template <bool ratio>
__device__ double share_of_good(const Rows& a, const Rows& b, const MatchRule& rule) {
  __shared__ std::int32_t best_of_a[most_kept], second_of_a[ratio ? most_kept : 1];
  __shared__ std::int32_t best_of_b[most_kept], second_of_b[ratio ? most_kept : 1];
  __shared__ std::uint32_t counts[most_distance + 1];
  const NearestRows<ratio> of_a{best_of_a, second_of_a}, of_b{best_of_b, second_of_b};
  const bool kept = a.n <= most_kept && b.n <= most_kept;
  for (std::uint32_t d = threadIdx.x; d <= most_distance; d += descriptor_threads) counts[d] = 0;
  __syncthreads();
  for (std::uint32_t first = 0; first < a.n && b.n > 0; first += most_kept) {
    const std::uint32_t n = min(most_kept, a.n - first);
    // 1. The nearest columns of the rows, and the nearest rows of the columns or, where there are
    // too many of them, of those that are nearest to a row.
    of_a.clear(n);
    of_b.clear(kept ? b.n : n);
    for (int back = 0; back < (kept ? 1 : 2); ++back) {
      const Rows rows{back ? b.words : a.words, back ? b.n : a.n};
      const Rows columns{back ? a.words : b.words, back ? a.n : b.n};
      const NearestRows<ratio> to_rows{back ? best_of_b : best_of_a,
                                       back ? second_of_b : second_of_a};
      find_nearest(rows, Part{back ? best_of_a : nullptr, first, n}, columns, to_rows, of_b,
                   kept ? b.n : 0);
    }
    // 2. Each match is counted by its distance; under `ratio` as 0 if it is good, else as 1.
    for (std::uint32_t k = threadIdx.x; k < n; k += descriptor_threads) {
      const std::uint32_t at = kept ? index_of(best_of_a[k]) : k;
      if (index_of(best_of_b[at]) != first + k) continue;
      std::int32_t distance = best_of_a[k] >> index_bits;
      if (ratio) {
        const std::int32_t second = min(second_of_a[k], second_of_b[at]) >> index_bits;
        distance = a.n > 1 && b.n > 1 && 4 * distance <= 3 * second ? 0 : 1;
      }
      atomicAdd(counts + distance, 1U);
    }
    __syncthreads();
  }
  return share_of(counts, rule);
}

struct DescriptorSets {
  const std::uint32_t* words;
  const std::int64_t* offsets;

  __device__ Rows rows(std::int32_t k) const {
    return {words + 8 * offsets[k], static_cast<std::uint32_t>(offsets[k + 1] - offsets[k])};
  }
};

// A block for each pair, columns in x. Under `ratio` a match that is good counts as distance 0.
template <bool ratio>
__global__ void __launch_bounds__(descriptor_threads, ratio ? 2 : 3)
    score_descriptors(DescriptorSets a, DescriptorSets b, Pairs pairs, MatchRule rule,
                      double threshold, Sink sink) {
  const Place place{static_cast<std::int32_t>(blockIdx.y), static_cast<std::int32_t>(blockIdx.x)};
  const bool counts = pairs.first_j + place.col - (pairs.first_i + place.row) >= pairs.gap;
  double score = 0;
  if (counts)
    score =
        share_of_good<ratio>(a.rows(pairs.row + place.row), b.rows(pairs.col + place.col), rule);
  const auto at = [&](int) { return threadIdx.x == 0 ? place : Place{pairs.n_rows, pairs.n_cols}; };
  const auto above = [&](int) { return score > threshold ? Verdict::yes : Verdict::no; };
  keep<1>(sink, pairs, at, above, [&](int) { return score; });
}

}  // namespace clusterimg::cuda
