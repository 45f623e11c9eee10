// Pairs by the number of parts that differ, bits or slots, all counted: score = (total - differing)
// / total, one float64 division. A Counter says what parts are:
//   add(a0, b0, a1, b1)   counts two words of an item with those of another
//   differing()           parts that differ, of what was added
#pragma once
#include <cstdint>

#include "sink.cuh"
#include "tile.cuh"

namespace clusterimg::cuda {

// Pairs are similar if at most `radius` of their `total` parts differ.
struct Counts {
  std::uint32_t total, radius;
};

__device__ inline double share(Counts counts, std::uint32_t differing) {
  return __ddiv_rn(static_cast<double>(counts.total - differing),
                   static_cast<double>(counts.total));
}

constexpr unsigned count_size = 4;  // of a thread's square
constexpr unsigned count_side = 16 * count_size;

union CountMemory {
  struct {
    Side<count_side> rows, cols;
  } sides;
  alignas(16) std::uint32_t differing[count_side][count_side];
};

// Counts the square of pairs that begins there and gives them to the sink. Every thread of the
// block calls it.
template <class Counter>
__device__ void count_square(Words a, Words b, std::uint32_t row, std::uint32_t col, Counts counts,
                             const Pairs& pairs, const Sink& sink, CountMemory& memory) {
  auto& [rows, cols] = memory.sides;
  const Corner mine = corner<count_size>();
  Counter counters[count_size][count_size];
  for (std::uint32_t first = 0; first < a.n_words; first += chunk_words) {
    // 1. The next words of both sides, a multiple of 2.
    const unsigned n_words = min(chunk_words, (a.n_words - first + 1) / 2 * 2);
    stage(a, row, first, n_words, rows);
    stage(b, col, first, n_words, cols);
    __syncthreads();
    // 2. Two at a time.
    for (unsigned w = 0; w < n_words; w += 2) {
      std::uint32_t x[2][count_size], y[2][count_size];
#pragma unroll
      for (unsigned k = 0; k < 2; ++k) {
        load(rows, w + k, mine.row, x[k]);
        load(cols, w + k, mine.col, y[k]);
      }
#pragma unroll
      for (unsigned i = 0; i < count_size; ++i)
#pragma unroll
        for (unsigned j = 0; j < count_size; ++j)
          counters[i][j].add(x[0][i], y[0][j], x[1][i], y[1][j]);
    }
    __syncthreads();  // before they are filled again
  }
  // 3. To the sink, row by row: neighbours in a row are neighbours in a warp.
#pragma unroll
  for (unsigned i = 0; i < count_size; ++i)
    *reinterpret_cast<uint4*>(&memory.differing[mine.row + i][mine.col]) =
        uint4{counters[i][0].differing(), counters[i][1].differing(), counters[i][2].differing(),
              counters[i][3].differing()};
  __syncthreads();
  constexpr unsigned at_once = tile_threads / count_side, n = 4;
#pragma unroll 1
  for (unsigned first = threadIdx.x / count_side; first < count_side; first += n * at_once) {
    const auto row_of = [&](int k) { return first + static_cast<unsigned>(k) * at_once; };
    const unsigned col_of = threadIdx.x % count_side;
    const auto differing = [&](int k) { return memory.differing[row_of(k)][col_of]; };
    keep<n>(
        sink, pairs,
        [&](int k) {
          return Place{static_cast<std::int32_t>(row + row_of(k)),
                       static_cast<std::int32_t>(col + col_of)};
        },
        [&](int k) { return differing(k) <= counts.radius ? Verdict::yes : Verdict::no; },
        [&](int k) { return share(counts, differing(k)); });
  }
}

// A block for each square.
template <class Counter>
__global__ void __launch_bounds__(tile_threads)
    count_pairs(Words a, Words b, Counts counts, Pairs pairs, Sink sink) {
  __shared__ CountMemory memory;
  const std::uint32_t row = blockIdx.y * count_side, col = blockIdx.x * count_side;
  if (below_diagonal(pairs, row, col, count_side)) return;
  count_square<Counter>(a, b, row, col, counts, pairs, sink, memory);
}

}  // namespace clusterimg::cuda
