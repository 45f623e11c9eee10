// Cross-checked matches of two sets of 256-bit descriptors, as OpenCV's BFMatcher finds them.
//
// A row of a and a row of b match if each is the other's nearest; among equally near rows the one
// of lower index is the nearest. A match at distance d is good
//   absolute: if d <= max_distance
//   relative: if d < 3/4 of the largest distance of a match
//   ratio:    if d <= 3/4 of the distance to the second nearest, on both sides (Lowe 2004)
// Without a second nearest no match is good under ratio.
//
//   a (n_a, 4), b (n_b, 4)      row-major words; fewer than 2^20 rows
//   groups, planes              a and b laid out for the fast path (descriptor_bits.hpp)
//   scratch                     descriptor_scratch_words words (kernels.hpp)
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

// Distance and index in one integer, so that one minimum finds the nearest of lowest index.
constexpr std::uint32_t descriptor_index_bits = 20;
constexpr std::uint32_t descriptor_index_mask = (1u << descriptor_index_bits) - 1;

// For each row of a set its nearest in the other, and the distance to the second nearest.
struct Nearest {
  std::uint32_t* best;
  std::uint32_t* second;
};

// Without a branch a row: whether it has a match is anyone's guess.
static MatchCount count_matches(Nearest of_a, std::size_t n_a, Nearest of_b, MatchRule rule) {
  std::uint32_t matches = 0, largest = 0, near = 0, distinct = 0;
  for (std::size_t i = 0; i < n_a; ++i) {
    const std::uint32_t j = of_a.best[i] & descriptor_index_mask;
    const std::uint32_t matched = (of_b.best[j] & descriptor_index_mask) == i;
    const std::uint32_t distance = of_a.best[i] >> descriptor_index_bits;
    const std::uint32_t second = of_a.second[i] < of_b.second[j] ? of_a.second[i] : of_b.second[j];
    const std::uint32_t far = matched * distance;
    matches += matched;
    largest = far > largest ? far : largest;
    near += matched & (distance <= rule.max_distance);
    distinct += matched & (4 * distance <= 3 * second);
  }
  if (rule.kind == MatchRule::absolute) return {near, matches};
  if (rule.kind == MatchRule::ratio) return {distinct, matches};
  std::uint32_t good = 0;
  for (std::size_t i = 0; i < n_a; ++i) {
    const std::uint32_t j = of_a.best[i] & descriptor_index_mask;
    const std::uint32_t matched = (of_b.best[j] & descriptor_index_mask) == i;
    good += matched & (4 * (of_a.best[i] >> descriptor_index_bits) < 3 * largest);
  }
  return {good, matches};
}

// Any distances, any numbers of rows. Where there is no second nearest its distance is 0.
static MatchCount descriptor_pair_plain(const std::uint64_t* a, std::size_t n_a,
                                        const std::uint64_t* b, std::size_t n_b, MatchRule rule,
                                        Nearest of_a, Nearest of_b) {
  constexpr std::uint32_t none = ~0u;
  for (std::size_t j = 0; j < n_b; ++j) of_b.best[j] = of_b.second[j] = none;
  for (std::size_t i = 0; i < n_a; ++i) {
    std::uint32_t best = none, second = none;
    for (std::size_t j = 0; j < n_b; ++j) {
      std::uint32_t distance = 0;
      for (std::size_t w = 0; w < 4; ++w)
        distance += static_cast<std::uint32_t>(__builtin_popcountll(a[i * 4 + w] ^ b[j * 4 + w]));
      const std::uint32_t far = distance << descriptor_index_bits;
      const std::uint32_t from_a = far | static_cast<std::uint32_t>(j);
      const std::uint32_t from_b = far | static_cast<std::uint32_t>(i);
      const std::uint32_t later = from_a < best ? best : from_a;
      second = later < second ? later : second;
      best = from_a < best ? from_a : best;
      const std::uint32_t later_b = from_b < of_b.best[j] ? of_b.best[j] : from_b;
      of_b.second[j] = later_b < of_b.second[j] ? later_b : of_b.second[j];
      of_b.best[j] = from_b < of_b.best[j] ? from_b : of_b.best[j];
    }
    of_a.best[i] = best;
    of_a.second[i] = n_b < 2 ? 0 : second >> descriptor_index_bits;
  }
  for (std::size_t j = 0; j < n_b; ++j)
    of_b.second[j] = n_a < 2 ? 0 : of_b.second[j] >> descriptor_index_bits;
  // Two equal lone descriptors: 4 * 0 <= 3 * 0 would call the match good.
  if (rule.kind == MatchRule::ratio && (n_a < 2 || n_b < 2)) {
    MatchCount count = count_matches(of_a, n_a, of_b, rule);
    count.good = 0;
    return count;
  }
  return count_matches(of_a, n_a, of_b, rule);
}

}  // namespace clusterimg::CLUSTERIMG_ISA
