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

// The pairs i < j of n words that differ in at most `radius` bits: i as row, j as query.
//   hits   room for all pairs and one; returns how many
static std::size_t hamming_near(const std::uint64_t* words, std::size_t n, std::uint32_t radius,
                                HammingHit* hits) {
  std::size_t n_hits = 0;
  for (std::size_t i = 0; i + 1 < n; ++i)
    for (std::size_t j = i + 1; j < n; ++j) {
      const auto count = static_cast<std::uint32_t>(__builtin_popcountll(words[i] ^ words[j]));
      hits[n_hits] = {static_cast<std::uint16_t>(i), static_cast<std::uint16_t>(j), count};
      n_hits += count <= radius;
    }
  return n_hits;
}

}  // namespace clusterimg::CLUSTERIMG_ISA
