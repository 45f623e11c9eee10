// Cross-checked matches of two sets of 256-bit descriptors, as OpenCV's BFMatcher counts them.
//
// A row of a and a row of b match if each is the other's nearest; among equally near rows the one
// of lower index is the nearest. A match is good if its distance is
//   absolute: at most max_distance;   relative: below 3/4 of the largest distance of a match.
//   a (n_a, 4), b (n_b, 4)               row-major words
//   best_a (n_a), best_b (n_b)           scratch
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

// Distance and index in one integer, so that one minimum finds the nearest of lowest index.
constexpr std::uint32_t descriptor_index_bits = 20;
constexpr std::uint32_t descriptor_index_mask = (1u << descriptor_index_bits) - 1;

static MatchCount descriptor_pair(const std::uint64_t* a, std::size_t n_a, const std::uint64_t* b,
                                  std::size_t n_b, bool relative, std::uint32_t max_distance,
                                  std::uint32_t* best_a, std::uint32_t* best_b) {
  for (std::size_t j = 0; j < n_b; ++j) best_b[j] = ~0u;
  for (std::size_t i = 0; i < n_a; ++i) {
    std::uint32_t best = ~0u;
    for (std::size_t j = 0; j < n_b; ++j) {
      std::uint32_t distance = 0;
      for (std::size_t w = 0; w < 4; ++w)
        distance += static_cast<std::uint32_t>(__builtin_popcountll(a[i * 4 + w] ^ b[j * 4 + w]));
      const std::uint32_t far = distance << descriptor_index_bits;
      const std::uint32_t seen_by_a = far | static_cast<std::uint32_t>(j);
      const std::uint32_t seen_by_b = far | static_cast<std::uint32_t>(i);
      best = seen_by_a < best ? seen_by_a : best;
      best_b[j] = seen_by_b < best_b[j] ? seen_by_b : best_b[j];
    }
    best_a[i] = best;
  }
  MatchCount count{0, 0};
  std::uint32_t largest = 0;
  for (std::size_t i = 0; n_b > 0 && i < n_a; ++i) {
    const std::uint32_t j = best_a[i] & descriptor_index_mask;
    if ((best_b[j] & descriptor_index_mask) != i) {
      best_a[i] = ~0u;
      continue;
    }
    const std::uint32_t distance = best_a[i] >> descriptor_index_bits;
    largest = distance > largest ? distance : largest;
    ++count.matches;
  }
  if (count.matches == 0) return count;
  for (std::size_t i = 0; i < n_a; ++i) {
    if (best_a[i] == ~0u) continue;
    const std::uint32_t distance = best_a[i] >> descriptor_index_bits;
    count.good += relative ? 4 * distance < 3 * largest : distance <= max_distance;
  }
  return count;
}

}  // namespace clusterimg::CLUSTERIMG_ISA
