// Words of items in shared memory, for a square of pairs of which each thread has a smaller one.
#pragma once
#include <cstdint>

#include "kernel.hpp"

namespace clusterimg::cuda {

constexpr unsigned tile_threads = 256;
constexpr unsigned chunk_words = 16;  // of an item, in shared memory at a time

// Items of 32-bit words, one after another: (n, n_words).
struct Words {
  const std::uint32_t* words;
  std::uint32_t n, n_words;
};

// One side of a square: word w of row r is at [w][r]. The pitch, 4 above a multiple of 32, lets a
// warp that stores 8 words of 4 rows meet each of the 32 banks once, and a thread load 4 rows in
// one instruction.
template <unsigned size>
struct Side {
  alignas(16) std::uint32_t words[chunk_words][size + 4];
};

// Fills a side with words [first_word, first_word + n_words) of items [first, first + size). Words
// that are not there become 0, which equals 0 on the other side. Every thread calls it; a barrier
// must follow.
template <unsigned size>
__device__ void stage(Words items, std::uint32_t first, std::uint32_t first_word, unsigned n_words,
                      Side<size>& side) {
  const unsigned width = n_words > 4 ? 8 : n_words > 2 ? 4 : 2;  // threads that share an item
  const unsigned word = threadIdx.x % width;
#pragma unroll 4
  for (unsigned row = threadIdx.x / width; row < size; row += tile_threads / width) {
    const std::uint32_t* const from =
        items.words + static_cast<std::size_t>(first + row) * items.n_words + first_word;
    for (unsigned w = word; w < n_words; w += width)
      side.words[w][row] =
          first + row < items.n && first_word + w < items.n_words ? __ldg(from + w) : 0;
  }
}

// Four neighbours' word, in one load.
template <unsigned size>
__device__ void load(const Side<size>& side, unsigned word, unsigned first, std::uint32_t* out) {
  const uint4 four = *reinterpret_cast<const uint4*>(&side.words[word][first]);
  out[0] = four.x, out[1] = four.y, out[2] = four.z, out[3] = four.w;
}

// Where this thread's square of `size` x `size` pairs begins in that of its block, which is 16
// times as large: the 4 x 8 squares of a warp share what they load.
struct Corner {
  unsigned row, col;
};
template <unsigned size>
__device__ Corner corner() {
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  return {(warp / 2 * 4 + lane / 8) * size, (warp % 2 * 8 + lane % 8) * size};
}

// Whether no pair counts of a square that begins there.
__device__ inline bool below_diagonal(const Pairs& pairs, std::uint32_t row, std::uint32_t col,
                                      unsigned size) {
  const std::int64_t first_i = std::int64_t{pairs.first_i} + row;
  const std::int64_t last_j = std::int64_t{pairs.first_j} + col + size - 1;
  return last_j - first_i < pairs.gap;
}

}  // namespace clusterimg::cuda
