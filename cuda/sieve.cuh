// Pairs of which few differ in little: a bound tells most apart, what is left is counted.
//
// Sketches are bits in folds of `folded` words. What of a fold differs, the OR of its words' xors,
// has at most one bit for each part of the pair that differs:
//   codes: the words are those of the code; a bit that is set has one of `folded` bits behind it
//   signatures: the words are planes; a bit that is set has its slot behind it (signature.cuh)
// so the POPCs of all folds sum to at most `differing`: a pair whose sum is above the radius is not
// similar. Nor are two pairs side by side if the sum of the POPCs of the AND of their folds is:
// that is at most either's own (`joined` = 2). Integers alone: nothing is rounded.
//
// Where words are many, a block stops as soon as all its sums are above the radius. Where so many
// pairs are left that threads would have their hands full, all are counted (counts.cuh).
//
// Roofline, computed for an H100 SXM: 132 multiprocessors at 1.755 GHz, each with 64 LOP3 and 16
// POPC at a time, are 1.48e13 LOP3 a second, a POPC counting as four. The compiled loop is, for 64
// pairs of a thread and a fold of k words, 64 k LOP3 and 64 POPC (joined: 32 LOP3 more, 32 POPC
// less), as many additions, which go to the FMA units, and 4 k LDS.128. Beside it a square costs a
// thread some 100 operations, and 8 for each word that it stages.
//   64 bits, radius to 8       folds of 2, joined: 2.5 LOP3, 2 for the POPC    4e12 pairs/s
//   256 bits, radius to 53     folds of 4: 8 LOP3, 8 for the POPCs             1.6e12
//   4096 bits, radius 409      the same, the first half: 64 and 64, staging 8  2e11
//   128 slots, radius to 56    2 bits a slot, joined: 10 LOP3, 8               1.2e12
//   128 slots, radius to 115   4 bits a slot: 16 LOP3, 16                      8e11
// LOP3 limit all of them. Bytes are few: 8 an item's 64 bits for 128 pairs, from L2. INT8 tensor
// cores would take 128 operations for 64 bits, of 1.98e15: 1.5e13 pairs/s at their peak, not built.
#pragma once
#include <cstdint>

#include "counts.cuh"

namespace clusterimg::cuda {

constexpr unsigned sieve_size = 8;  // of a thread's square: 64 pairs, a bit for each
constexpr unsigned sieve_side = 16 * sieve_size;
constexpr unsigned sieve_few = sieve_side * sieve_side / 8;  // pairs of a square to count singly
constexpr unsigned sieve_short = 16;  // words of an item that one thread counts, not a warp

// Sums are kept in 15 bits: no more bits of sketches are there.
constexpr std::uint32_t sieve_most_bits = 32767;

union SieveMemory {
  struct {
    Side<sieve_side> rows, cols;
  } sketches;
  CountMemory items;
};

// The sums of a thread's pairs, or groups of pairs, two in a register. A sum is above the radius if
// its top bit is set: it begins at 32767 - radius.
template <unsigned joined>
struct Sums {
  static constexpr unsigned n_groups = sieve_size / joined;  // of a row
  std::uint32_t pairs[sieve_size][n_groups / 2];

  __device__ explicit Sums(std::uint32_t radius) {
#pragma unroll
    for (auto& row : pairs)
#pragma unroll
      for (auto& two : row) two = (32767 - radius) * 0x10001U;
  }
  __device__ bool any_within() const {
    std::uint32_t above = 0x80008000U;
#pragma unroll
    for (const auto& row : pairs)
#pragma unroll
      for (const auto two : row) above &= two;
    return above != 0x80008000U;
  }
  // A bit for each pair of a group within the radius: pair (i, j) is bit 8 i + j.
  __device__ std::uint64_t within() const {
    constexpr std::uint64_t group = joined == 1 ? 1 : 3;
    std::uint64_t bits = 0;
#pragma unroll
    for (unsigned i = 0; i < sieve_size; ++i)
#pragma unroll
      for (unsigned g = 0; g < n_groups; ++g)
        if (!(pairs[i][g / 2] >> (16 * (g % 2) + 15) & 1))
          bits |= group << (i * sieve_size + g * joined);
    return bits;
  }
};

// Adds a fold, from word `w` of the sides.
template <unsigned folded, unsigned joined>
__device__ void add_fold(const Side<sieve_side>& rows, const Side<sieve_side>& cols, unsigned w,
                         Corner mine, Sums<joined>& sums) {
  std::uint32_t x[folded][sieve_size];
#pragma unroll
  for (unsigned k = 0; k < folded; ++k)
#pragma unroll
    for (unsigned i = 0; i < sieve_size; i += 4) load(rows, w + k, mine.row + i, x[k] + i);
#pragma unroll
  for (unsigned j = 0; j < sieve_size; j += 4) {
    std::uint32_t y[folded][4];
#pragma unroll
    for (unsigned k = 0; k < folded; ++k) load(cols, w + k, mine.col + j, y[k]);
#pragma unroll
    for (unsigned i = 0; i < sieve_size; ++i)
#pragma unroll
      for (unsigned g = 0; g < 4 / joined; ++g) {
        std::uint32_t both = 0xffffffffU;
#pragma unroll
        for (unsigned p = g * joined; p < (g + 1) * joined; ++p) {
          std::uint32_t fold = x[0][i] ^ y[0][p];
#pragma unroll
          for (unsigned k = 1; k < folded; ++k) fold |= x[k][i] ^ y[k][p];
          both &= fold;
        }
        const unsigned to = j / joined + g;
        sums.pairs[i][to / 2] += static_cast<std::uint32_t>(__popc(both)) << (16 * (to % 2));
      }
  }
}

// The parts that differ of a pair for each lane that has one. Every lane of a warp calls it. Short
// items are counted by the lane itself, long ones by the warp, one lane's pair after another.
template <class Counter>
__device__ std::uint32_t count_alone(Words a, Words b, bool has, std::uint32_t row,
                                     std::uint32_t col) {
  const unsigned lane = threadIdx.x % 32;
  const auto count = [&](std::uint32_t i, std::uint32_t j, unsigned first, unsigned step) {
    const std::uint32_t* const x = a.words + static_cast<std::size_t>(i) * a.n_words;
    const std::uint32_t* const y = b.words + static_cast<std::size_t>(j) * b.n_words;
    Counter counter;
    for (std::uint32_t w = first; w < a.n_words; w += 2 * step) {
      const bool two = w + step < a.n_words;
      counter.add(__ldg(x + w), __ldg(y + w), two ? __ldg(x + w + step) : 0,
                  two ? __ldg(y + w + step) : 0);
    }
    return counter.differing();
  };
  if (a.n_words <= sieve_short) return has ? count(row, col, 0, 1) : 0;
  std::uint32_t mine = 0;
  for (unsigned waiting = __ballot_sync(0xffffffffU, has); waiting != 0; waiting &= waiting - 1) {
    const unsigned of = static_cast<unsigned>(__ffs(static_cast<int>(waiting))) - 1;
    std::uint32_t sum = count(__shfl_sync(0xffffffffU, row, static_cast<int>(of)),
                              __shfl_sync(0xffffffffU, col, static_cast<int>(of)), lane, 32);
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, step);
    if (lane == of) mine = sum;
  }
  return mine;
}

// Counts the pairs left, each thread its own, and gives the similar ones to the sink. Every thread
// of the block calls it.
template <class Counter>
__device__ void count_left(Words a, Words b, std::uint32_t row, std::uint32_t col,
                           std::uint64_t left, Counts counts, const Pairs& pairs,
                           const Sink& sink) {
  while (__syncthreads_or(left != 0)) {
    // 1. The next similar pair of each thread, or none.
    std::uint32_t i = 0, j = 0, differing = counts.radius + 1;
    bool found = false;
    while (__any_sync(0xffffffffU, !found && left != 0)) {
      const bool has = !found && left != 0;
      if (has) {
        const auto k = static_cast<std::uint32_t>(__ffsll(static_cast<long long>(left))) - 1;
        i = row + k / sieve_size, j = col + k % sieve_size;
        left &= left - 1;
      }
      const bool inside = has && i < a.n && j < b.n;
      const std::uint32_t count = count_alone<Counter>(a, b, inside, i, j);
      if (inside && count <= counts.radius) differing = count, found = true;
    }
    // 2. To the sink.
    keep<1>(
        sink, pairs,
        [&](int) { return Place{static_cast<std::int32_t>(i), static_cast<std::int32_t>(j)}; },
        [&](int) { return found ? Verdict::yes : Verdict::no; },
        [&](int) { return share(counts, differing); });
  }
}

// A block takes `strip` squares side by side. `sketch_a`, `sketch_b`: (n, n_words) as said above;
// `a`, `b`: the items themselves.
template <class Counter, unsigned folded, unsigned joined>
__global__ void __launch_bounds__(tile_threads, 2)
    sieve_pairs(Words sketch_a, Words sketch_b, Words a, Words b, unsigned strip, Counts counts,
                Pairs pairs, Sink sink) {
  static_assert(chunk_words % folded == 0, "folds are not torn");
  __shared__ SieveMemory memory;
  auto& [rows, cols] = memory.sketches;
  const Corner mine = corner<sieve_size>();
  const std::uint32_t row = blockIdx.y * sieve_side;
  bool rows_are_there = false;
  for (unsigned square = 0; square < strip; ++square) {
    const std::uint32_t col = (blockIdx.x * strip + square) * sieve_side;
    if (col >= b.n || below_diagonal(pairs, row, col, sieve_side)) continue;
    // 1. The bounds, a chunk of words after another while one is within the radius.
    Sums<joined> sums(counts.radius);
    bool any = true;
    for (std::uint32_t first = 0; any && first < sketch_a.n_words; first += chunk_words) {
      const unsigned n_words =
          min(chunk_words, (sketch_a.n_words - first + folded - 1) / folded * folded);
      if (!rows_are_there) stage(sketch_a, row, first, n_words, rows);
      stage(sketch_b, col, first, n_words, cols);
      __syncthreads();
#pragma unroll 1
      for (unsigned w = 0; w < n_words; w += folded)
        add_fold<folded, joined>(rows, cols, w, mine, sums);
      any = __syncthreads_or(sums.any_within());
      rows_are_there = sketch_a.n_words <= chunk_words;
    }
    if (!any) continue;
    // 2. What is left.
    const std::uint64_t left = sums.within();
    std::uint32_t n_left = 0;
    sum_before(static_cast<std::uint32_t>(__popcll(left)), &n_left);
    if (n_left <= sieve_few) {
      count_left<Counter>(a, b, row + mine.row, col + mine.col, left, counts, pairs, sink);
      continue;
    }
    rows_are_there = false;
#pragma unroll 1
    for (unsigned part = 0; part < 4; ++part)
      count_square<Counter>(a, b, row + part / 2 * count_side, col + part % 2 * count_side, counts,
                            pairs, sink, memory.items);
  }
}

}  // namespace clusterimg::cuda
