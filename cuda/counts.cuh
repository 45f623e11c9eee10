// Scores that are a share of equal parts, total - differing of total: all pairs of a launch are
// counted exactly. A Counter says what a part is:
//   add(a0, b0, a1, b1)   counts two words of one item with those of another
//   differing()           parts that differ, so far
#pragma once
#include <cstdint>

#include "sink.cuh"
#include "tile.cuh"

namespace clusterimg::cuda {

constexpr unsigned counts_size = 4;  // of a thread's square
constexpr unsigned counts_side = 16 * counts_size;

// What makes a pair similar: at most `radius` of `total` parts differ.
struct Counts {
  std::uint32_t total, radius;
};

// One float64 division, as every other backend does it.
__device__ inline double share(Counts counts, std::uint32_t differing) {
  return __ddiv_rn(static_cast<double>(counts.total - differing),
                   static_cast<double>(counts.total));
}

// Counts the square of pairs whose first row and column these are. Every thread of the block calls
// it, and `keep` in it.
template <class Counter>
__device__ void count_square(Words a, Words b, std::uint32_t row, std::uint32_t col, Counts counts,
                             const Pairs& pairs, const Sink& sink, Side<counts_side>& rows,
                             Side<counts_side>& cols) {
  const Corner mine = corner<counts_size>();
  Counter counters[counts_size][counts_size];
  for (std::uint32_t first = 0; first < a.n_words; first += chunk_words) {
    // 1. The next words of both sides.
    stage(a, row, first, rows);
    stage(b, col, first, cols);
    __syncthreads();
    // 2. Two words at a time; words that are not there are 0 on both sides.
    const std::uint32_t n_words = min(chunk_words, a.n_words - first);
    for (std::uint32_t w = 0; w < n_words; w += 2) {
      std::uint32_t x[2][counts_size], y[2][counts_size];
#pragma unroll
      for (unsigned k = 0; k < 2; ++k) {
        const uint4 of_rows = *reinterpret_cast<const uint4*>(&rows.words[w + k][mine.row]);
        const uint4 of_cols = *reinterpret_cast<const uint4*>(&cols.words[w + k][mine.col]);
        x[k][0] = of_rows.x, x[k][1] = of_rows.y, x[k][2] = of_rows.z, x[k][3] = of_rows.w;
        y[k][0] = of_cols.x, y[k][1] = of_cols.y, y[k][2] = of_cols.z, y[k][3] = of_cols.w;
      }
#pragma unroll
      for (unsigned i = 0; i < counts_size; ++i)
#pragma unroll
        for (unsigned j = 0; j < counts_size; ++j)
          counters[i][j].add(x[0][i], y[0][j], x[1][i], y[1][j]);
    }
    __syncthreads();  // before the words are written again
  }
  // 3. To the sink.
  const auto differing = [&](int k) {
    return counters[k / counts_size][k % counts_size].differing();
  };
  keep<counts_size * counts_size>(
      sink, pairs,
      [&](int k) {
        return Place{static_cast<std::int32_t>(row + mine.row + k / counts_size),
                     static_cast<std::int32_t>(col + mine.col + k % counts_size)};
      },
      [&](int k) { return differing(k) <= counts.radius ? Verdict::yes : Verdict::no; },
      [&](int k) { return share(counts, differing(k)); });
}

// A block for each square.
template <class Counter>
__global__ void __launch_bounds__(tile_threads)
    count_pairs(Words a, Words b, Counts counts, Pairs pairs, Sink sink) {
  __shared__ Side<counts_side> rows, cols;
  const std::uint32_t row = blockIdx.y * counts_side, col = blockIdx.x * counts_side;
  if (below_diagonal(pairs, row, col, counts_side)) return;
  count_square<Counter>(a, b, row, col, counts, pairs, sink, rows, cols);
}

}  // namespace clusterimg::cuda
