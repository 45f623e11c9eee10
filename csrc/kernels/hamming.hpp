// Hamming tile: differing bits between each row of a and each row of b.
//   a (n_a, n_words), b (n_b, n_words)   row-major bit rows, unused bits zero
//   out (n_a, n_b)                       exact counts, at most 64 * n_words
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

static void hamming_tile(const std::uint64_t* a, std::size_t n_a, const std::uint64_t* b,
                         std::size_t n_b, std::size_t n_words, std::uint32_t* out) {
  if (n_words == 1) {  // the usual 64 bits, without the inner loop
    for (std::size_t i = 0; i < n_a; ++i)
      for (std::size_t j = 0; j < n_b; ++j)
        out[i * n_b + j] = static_cast<std::uint32_t>(__builtin_popcountll(a[i] ^ b[j]));
    return;
  }
  for (std::size_t i = 0; i < n_a; ++i)
    for (std::size_t j = 0; j < n_b; ++j) {
      std::uint32_t differing = 0;
      for (std::size_t w = 0; w < n_words; ++w)
        differing += static_cast<std::uint32_t>(
            __builtin_popcountll(a[i * n_words + w] ^ b[j * n_words + w]));
      out[i * n_b + j] = differing;
    }
}

// Which of n words, each `stride` words after the last, differ from `word` in at most `radius`
// bits.
//   out (n)   their positions, rising; returns how many
static std::size_t hamming_near(std::uint64_t word, const std::uint64_t* words, std::size_t stride,
                                std::size_t n, std::uint32_t radius, std::uint32_t* out) {
  std::size_t n_near = 0;
  for (std::size_t k = 0; k < n; ++k) {
    out[n_near] = static_cast<std::uint32_t>(k);
    n_near += static_cast<std::uint32_t>(__builtin_popcountll(word ^ words[k * stride])) <= radius;
  }
  return n_near;
}

}  // namespace clusterimg::CLUSTERIMG_ISA
