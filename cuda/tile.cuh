// Words of items in shared memory, for a square of pairs of which each thread has a smaller one.
#pragma once
#include <cstdint>

#include "kernel.hpp"

namespace clusterimg::cuda {

constexpr unsigned tile_threads = 256;
constexpr std::uint32_t chunk_words = 16;  // of an item, in shared memory at a time

// Items of 32-bit words, one after another: (n, n_words).
struct Words {
  const std::uint32_t* words;
  std::uint32_t n, n_words;
};

// One side of a square: word w of row r is at [w][r]. A pitch of 4 above a multiple of 32 lets a
// warp that stores 8 words of 4 rows meet each of the 32 banks once, and threads load 4 rows in one
// instruction.
template <unsigned rows>
struct Side {
  alignas(16) std::uint32_t words[chunk_words][rows + 4];
};

// Fills a side with words [first_word, first_word + chunk_words) of rows [first_row, first_row +
// rows). What is not there becomes 0, which equals 0 on the other side. Every thread calls it; a
// barrier must follow.
template <unsigned rows>
__device__ void stage(Words items, std::uint32_t first_row, std::uint32_t first_word,
                      Side<rows>& side) {
  const unsigned word = threadIdx.x % 8;
  for (unsigned row = threadIdx.x / 8; row < rows; row += tile_threads / 8) {
    const std::uint32_t item = first_row + row;
    const std::uint32_t* const from =
        items.words + static_cast<std::size_t>(item) * items.n_words + first_word;
    for (unsigned w = word; w < chunk_words; w += 8)
      side.words[w][row] = item < items.n && first_word + w < items.n_words ? __ldg(from + w) : 0;
  }
}

// Where this thread's square of `size` x `size` pairs is in that of its block, whose side is 16 of
// them: a warp has 4 x 8 of them, so that what it loads of a side is one row of the 32 banks.
struct Corner {
  unsigned row, col;
};
template <unsigned size>
__device__ Corner corner() {
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  return {(warp / 2 * 4 + lane / 8) * size, (warp % 2 * 8 + lane % 8) * size};
}

// Whether no pair of a square with its first row and column there counts.
__device__ inline bool below_diagonal(const Pairs& pairs, std::uint32_t row, std::uint32_t col,
                                      std::uint32_t side) {
  const std::int64_t last_j = std::int64_t{pairs.first_j} + col + side - 1;
  return last_j - (std::int64_t{pairs.first_i} + row) < pairs.gap;
}

}  // namespace clusterimg::cuda
