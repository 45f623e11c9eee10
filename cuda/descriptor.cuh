// Cross-checked matches of sets of 256-bit descriptors; csrc/kernels/descriptor.hpp has the rules.
//
// A block scores one pair of images. All distances are computed once and serve both directions: a
// lane keeps four rows of a in registers and the minima of these rows, the columns of b pass by in
// shared memory, and what is nearest to a column is the minimum over the lanes. A distance and an
// index share an integer, so that a minimum is the nearest of lowest index, and the order in which
// minima meet is of no account. Above `most_kept` rows on a side there is no room for both sides'
// minima: then rows of a are taken in chunks, and whether a row is its nearest column's nearest in
// turn is found by going through a once more, at twice the distances.
//
// Distance of rows a and b: the bits set in eight words x = a ^ b, by full adders that leave four
// words to be counted, of weights 1, 1, 2 and 4:
//   (c1, s1) = x0 + x1 + x2,  (c2, s2) = x3 + x4 + x5,  (c3, s3) = s1 + s2 + x6,
//   (f, t) = c1 + c2 + c3:    distance = |s3| + |x7| + 2 |t| + 4 |f|
// A sum of bits is linear in them, and a carry of u + v + w is u ^ ((u ^ v) & (u ^ w)): its three
// parts are sums of words of a and of b, which are made once a row. So a first carry is three
// operations (p = A ^ B; q = p & (A' ^ B'); q ^ A" ^ B"), where words as they come would take six
// for the differences and two more for sum and carry.
//
// Computed, for an H100 (nothing here was measured). A distance is 13 LOP3 (9 for c1, c2, c3, one
// each for s3 and x7, two for t and f), 4 POPC, 5 IMAD that put it together with the index, and 2
// minima: 15 of 64 integer operations a clock and SM are 0.234 clocks, 5 of 64 IMAD (another pipe)
// 0.08, 4 of 16 POPC 0.25, the issue of 24 instructions, of 128 lanes, 0.19. Counting bits and
// adding them take as long: neither more adders nor fewer would be faster. Four rows a lane share
// an addition, a reduction over the warp (16 lanes a clock, 0.016 clocks a distance) and three
// loads of 128 bits that all lanes share. At 0.27 clocks an H100 has 8.7e11 distances/s, or
// 3.4 million pairs/s of images with 500 descriptors. Memory is of no account: 32 KB for 250,000
// distances, 110 GB/s, mostly from the second cache. The rule `ratio` needs second minima too, six
// operations more: 0.34 clocks, 2.7 million pairs/s.
// The next step would be tensor cores: bits as bytes of +1 and -1, 256 products a distance. At half
// of 1,979 TOPS that is 1.9e12 distances/s, and then the minima are what limits.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernel.hpp"
#include "sink.cuh"

namespace clusterimg::cuda {

constexpr int descriptor_threads = 128;
constexpr int descriptor_warps = descriptor_threads / 32;
// Rows of an image up to which the nearest of all its rows and columns are in shared memory.
constexpr std::uint32_t most_kept = 1024;
// Columns in shared memory at a time, the same number for each warp.
constexpr std::uint32_t columns_at_once = 256;

constexpr std::uint32_t index_bits = 20;
constexpr std::uint32_t index_mask = (1U << index_bits) - 1;
constexpr std::uint32_t most_distance = 256;
// What makes the distance of a row that is none larger than any, and the nearest of no rows. To
// both an index can be added.
constexpr std::uint32_t beyond = 2 * most_distance << index_bits, no_row = 4 * beyond;

// The sums of words of a row from which distances are made, and for a column its index.
struct alignas(16) Sums {
  std::uint32_t word[11], index;
};

// The rows of an image.
struct Rows {
  const uint4* halves;  // two a row
  std::uint32_t n;
};

__device__ inline Sums sums_of(const Rows& rows, std::uint32_t k) {
  const uint4 low = __ldg(rows.halves + 2 * static_cast<std::size_t>(k));
  const uint4 high = __ldg(rows.halves + 2 * static_cast<std::size_t>(k) + 1);
  const std::uint32_t first = low.x ^ low.y ^ low.z, second = low.w ^ high.x ^ high.y;
  return {{low.x, low.x ^ low.y, low.x ^ low.z,      // c1
           low.w, low.w ^ high.x, low.w ^ high.y,    // c2
           high.z, high.z ^ first, high.z ^ second,  // c3
           first ^ second ^ high.z, high.w},
          0};
}

// The carry of three bits, from the first of them and its differences from the others.
__device__ inline std::uint32_t carry_of(const std::uint32_t* a, const std::uint32_t* b) {
  const std::uint32_t differ = a[1] ^ b[1];
  const std::uint32_t both = differ & (a[2] ^ b[2]);
  return both ^ a[0] ^ b[0];
}

// distance << index_bits, plus `index`.
__device__ inline std::uint32_t distance_of(const Sums& a, const Sums& b, std::uint32_t index) {
  const std::uint32_t c1 = carry_of(a.word, b.word), c2 = carry_of(a.word + 3, b.word + 3),
                      c3 = carry_of(a.word + 6, b.word + 6);
  const std::uint32_t fours = (c1 & c2) | (c3 & (c1 | c2)), twos = c1 ^ c2 ^ c3;
  constexpr std::uint32_t one = 1U << index_bits;
  return static_cast<std::uint32_t>(__popc(a.word[9] ^ b.word[9])) * one +
         (static_cast<std::uint32_t>(__popc(a.word[10] ^ b.word[10])) * one +
          (static_cast<std::uint32_t>(__popc(twos)) * (2 * one) +
           (static_cast<std::uint32_t>(__popc(fours)) * (4 * one) + index)));
}

__device__ inline std::uint32_t least_of_warp(std::uint32_t value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  for (int step = 16; step > 0; step /= 2)
    value = min(value, __shfl_xor_sync(0xffffffffU, value, step));
  return value;
#else
  return __reduce_min_sync(0xffffffffU, value);
#endif
}

// The nearest row seen so far and, where it is asked for, the second nearest.
template <bool seconds>
struct Nearest {
  std::uint32_t best = no_row, second = no_row;

  __device__ void see(std::uint32_t row) {
    if (seconds) second = min(second, max(best, row));
    best = min(best, row);
  }
};

// What is nearest to each of some rows, in shared memory. Where several threads see rows at once,
// each puts in one and takes out the farther of two: the second nearest is the nearest of those
// that were taken out.
template <bool seconds>
struct NearestRows {
  std::uint32_t *best, *second;

  __device__ void clear(std::uint32_t n) const {
    for (std::uint32_t k = threadIdx.x; k < n; k += descriptor_threads) {
      best[k] = no_row;
      if (seconds) second[k] = no_row;
    }
  }
  __device__ void see(std::uint32_t k, const Nearest<seconds>& seen) const {
    const std::uint32_t before = atomicMin(best + k, seen.best);
    if (seconds) atomicMin(second + k, min(max(before, seen.best), seen.second));
  }
};

// A part of the rows on one side, by their numbers: `first` on, or those in the indices of a list.
struct Part {
  const std::uint32_t* list;
  std::uint32_t first, n;

  __device__ std::uint32_t row(std::uint32_t k) const {
    return list ? list[k] & index_mask : first + k;
  }
};

// A warp compares rows [begin, begin + 32 * n) of a part, as many as there are, with columns
// [0, n_columns), which are those from `first_column` on.
template <int n, bool seconds>
__device__ void compare(const Rows& rows, const Part& part, std::uint32_t begin,
                        const Sums* columns, std::uint32_t n_columns, std::uint32_t first_column,
                        const NearestRows<seconds>& to_rows,
                        const NearestRows<seconds>& to_columns) {
  const std::uint32_t lane = threadIdx.x % 32;
  const bool writes = lane == 0 && to_columns.best != nullptr;
  // 1. Row k of a lane is the warp's row 32 k + lane. Beside a distance stands the sum of 32 k and
  // the column's index: among the columns of a row the index decides, among rows k does.
  Sums row[n];
  Nearest<seconds> of_row[n];
#pragma unroll
  for (int k = 0; k < n; ++k) {
    const std::uint32_t at = begin + 32 * k + lane;
    row[k] = sums_of(rows, part.row(min(at, part.n - 1)));
    row[k].index = 32 * k + (at < part.n ? 0 : beyond);
  }
  // 2. All distances to a column, then which lane has its nearest.
#pragma unroll 2
  for (std::uint32_t j = 0; j < n_columns; ++j) {
    const Sums column = columns[j];
    Nearest<seconds> of_column;
#pragma unroll
    for (int k = 0; k < n; ++k) {
      const std::uint32_t distance = distance_of(row[k], column, row[k].index + column.index);
      of_row[k].see(distance);
      of_column.see(distance);
    }
    const std::uint32_t to_row = part.first + begin + lane - column.index;
    const std::uint32_t best = of_column.best + to_row;
    Nearest<seconds> of_warp;
    of_warp.best = least_of_warp(best);
    if (seconds)
      of_warp.second = least_of_warp(best == of_warp.best ? of_column.second + to_row : best);
    if (writes) to_columns.see(column.index + first_column, of_warp);
  }
  // 3. The columns that are nearest to the rows.
#pragma unroll
  for (int k = 0; k < n; ++k) {
    const std::uint32_t at = begin + 32 * k + lane, to_column = first_column - 32 * k;
    of_row[k].best += to_column;
    of_row[k].second += to_column;
    if (at < part.n) to_rows.see(at, of_row[k]);
  }
}

// What is nearest to each row of a part among all columns, and, where that is asked for, to each
// column among the rows of the part. Every thread of the block calls it.
template <bool seconds>
__device__ void find_nearest(const Rows& rows, const Part& part, const Rows& columns,
                             const NearestRows<seconds>& to_rows,
                             const NearestRows<seconds>& to_columns) {
  __shared__ Sums staged[columns_at_once];
  const std::uint32_t warp = threadIdx.x / 32;
  for (std::uint32_t first = 0; first < columns.n; first += columns_at_once) {
    const std::uint32_t n = min(columns_at_once, columns.n - first);
    __syncthreads();  // the columns before these are done with, and what is nearest is cleared
    for (std::uint32_t j = threadIdx.x; j < n; j += descriptor_threads) {
      staged[j] = sums_of(columns, first + j);
      staged[j].index = j;
    }
    __syncthreads();
    const std::uint32_t begin = n * warp / descriptor_warps;
    const std::uint32_t n_mine = n * (warp + 1) / descriptor_warps - begin;
    for (std::uint32_t k = 0; k < part.n; k += 128) {
      const std::uint32_t left = part.n - k;
      if (left > 64)
        compare<4>(rows, part, k, staged + begin, n_mine, first, to_rows, to_columns);
      else if (left > 32)
        compare<2>(rows, part, k, staged + begin, n_mine, first, to_rows, to_columns);
      else
        compare<1>(rows, part, k, staged + begin, n_mine, first, to_rows, to_columns);
    }
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
  std::uint32_t matches = 0, good = 0, nearer = most_distance;  // than 256, the largest is
  for (std::uint32_t d = lane; d <= most_distance; d += 32)
    if (counts[d] > 0) nearer = min(nearer, most_distance - d);
  const std::uint32_t largest = most_distance - least_of_warp(nearer);
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
  __shared__ std::uint32_t best_of_a[most_kept], second_of_a[ratio ? most_kept : 1];
  __shared__ std::uint32_t best_of_b[most_kept], second_of_b[ratio ? most_kept : 1];
  __shared__ std::uint32_t counts[most_distance + 1];
  const NearestRows<ratio> of_a{best_of_a, second_of_a}, of_b{best_of_b, second_of_b};
  const bool kept = a.n <= most_kept && b.n <= most_kept;
  for (std::uint32_t d = threadIdx.x; d <= most_distance; d += descriptor_threads) counts[d] = 0;
  __syncthreads();
  for (std::uint32_t first = 0; first < a.n && b.n > 0; first += most_kept) {
    const Part part{nullptr, first, min(most_kept, a.n - first)};
    // 1. The nearest columns of the rows, and the nearest rows of the columns or, where there are
    // too many of them, of those that are nearest to a row.
    of_a.clear(part.n);
    of_b.clear(kept ? b.n : part.n);
    find_nearest(a, part, b, of_a, kept ? of_b : NearestRows<ratio>{});
    if (!kept) find_nearest(b, {best_of_a, 0, part.n}, a, of_b, {});
    // 2. Each match is counted by its distance; under `ratio` as 0 if it is good, else as 1.
    for (std::uint32_t k = threadIdx.x; k < part.n; k += descriptor_threads) {
      const std::uint32_t at = kept ? best_of_a[k] & index_mask : k;
      if ((best_of_b[at] & index_mask) != first + k) continue;
      std::uint32_t distance = best_of_a[k] >> index_bits;
      if (ratio) {
        const std::uint32_t second = min(second_of_a[k], second_of_b[at]) >> index_bits;
        distance = a.n > 1 && b.n > 1 && 4 * distance <= 3 * second ? 0 : 1;
      }
      atomicAdd(counts + distance, 1U);
    }
    __syncthreads();
  }
  return share_of(counts, rule);
}

struct DescriptorSets {
  const uint4* halves;
  const std::int64_t* offsets;

  __device__ Rows rows(std::int32_t k) const {
    return {halves + 2 * offsets[k], static_cast<std::uint32_t>(offsets[k + 1] - offsets[k])};
  }
};

// A block for each pair, columns in x. Under `ratio` a match that is good counts as distance 0.
template <bool ratio>
__global__ void __launch_bounds__(descriptor_threads)
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
