// How to find the pairs of codes within a radius: by an index or by a look at all pairs, and with
// which bound. Chosen by cost, from the number of codes, the radius and a sample of pairs, never by
// a clock: the same codes are always joined in the same way.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "hamming.hpp"
#include "hamming_index.hpp"

namespace clusterimg {

struct HammingPlan {
  std::size_t depth;  // of the index; 0: look at all pairs
  Look look;          // at all pairs
};

inline double choices(std::size_t n, std::size_t k) {
  double product = 1;
  for (std::size_t t = 0; t < k; ++t)
    product *= static_cast<double>(n < k ? 0 : n - t) / static_cast<double>(t + 1);
  return product;
}

// Which bits differ in pairs of two codes drawn at random; long codes get fewer of them.
class SampledPairs {
 public:
  explicit SampledPairs(const Codes& codes)
      : n_words_(codes.n_words), count_(codes.n_words <= 4 ? 4096 : 1024) {
    std::mt19937_64 random(0);
    std::uniform_int_distribution<std::size_t> row(0, codes.n_a - 1);
    std::uniform_int_distribution<std::size_t> col(0,
                                                   codes.triangle ? codes.n_a - 2 : codes.n_b - 1);
    differing_.reserve(count_ * n_words_);
    for (std::size_t s = 0; s < count_; ++s) {
      const std::size_t i = row(random), j = col(random);
      const std::uint64_t* a = codes.row(i);
      const std::uint64_t* b = codes.row(codes.triangle ? j + (j >= i) : codes.n_a + j);
      for (std::size_t w = 0; w < n_words_; ++w) differing_.push_back(a[w] ^ b[w]);
    }
  }
  std::size_t count() const { return count_; }
  std::size_t n_words() const { return n_words_; }
  std::uint64_t differing(std::size_t s, std::size_t word) const {
    return differing_[s * n_words_ + word];
  }

 private:
  std::size_t n_words_;
  std::size_t count_;
  std::vector<std::uint64_t> differing_;
};

// How often a pair meets in a bucket of `depth` blocks of a word: the mean over the sample, so that
// codes that are alike by the thousand are seen; and not below that of random codes.
inline double meetings(const SampledPairs& sample, std::size_t word, const Blocks& blocks,
                       std::size_t depth) {
  double sum = 0;
  for (std::size_t s = 0; s < sample.count(); ++s) {
    std::size_t n_equal = 0;
    for (std::size_t b = 0; b < blocks.count(); ++b)
      n_equal += blocks.value(sample.differing(s, word), b) == 0;
    sum += choices(n_equal, depth);
  }
  const double of_random =
      choices(blocks.count(), depth) *
      std::pow(2.0, -64.0 * static_cast<double>(depth) / static_cast<double>(blocks.count()));
  return std::max(sum / static_cast<double>(sample.count()), of_random);
}

// What the index costs in nanoseconds.
inline double index_cost(const Codes& codes, const SampledPairs& sample, std::size_t radius,
                         std::size_t depth) {
  const double n = static_cast<double>(codes.size());
  double cost = 0;
  for (std::size_t word = 0; word < codes.n_words; ++word) {
    const int share = HammingIndex::word_radius(radius, codes.n_words, word);
    if (share < 0) break;
    const std::size_t r = static_cast<std::size_t>(share);
    const Blocks blocks(HammingIndex::n_blocks(r, depth));
    const double pairs = n * (n - 1) / 2 * meetings(sample, word, blocks, depth);
    const double visits = choices(blocks.count(), depth) * n;
    const double bucket = 2 * pairs / visits;  // codes that a code meets there
    const double of_bucket = HammingIndex::pairs_cost(static_cast<std::size_t>(bucket) + 1, r);
    cost += visits * of_bucket / (bucket + 1);
    for (std::size_t level = 1; level <= depth; ++level)
      cost += choices(blocks.count(), level) * n * HammingIndex::sort_ns;
  }
  return cost;
}

// What a bound says of the pairs of the sample.
struct Filtered {
  double words;  // looked at until 256 rows are far
  double kept;   // share of pairs
};

inline Filtered filtered(const SampledPairs& sample, std::size_t radius, Look look) {
  constexpr std::size_t group_bits = 5, group_values = 32;
  std::array<std::size_t, group_values> bound{};
  for (std::size_t v = 1; v < group_values; ++v) {
    const std::size_t bits = (v & 1) + (v >> 1 & 1) + (v >> 2 & 1) + (v >> 3 & 1) + (v >> 4);
    bound[v] = look == Look::folded   ? 1
               : look == Look::capped ? std::min<std::size_t>(bits, 3)
                                      : bits;
  }
  std::vector<std::size_t> words(sample.count());
  std::size_t n_kept = 0;
  for (std::size_t s = 0; s < sample.count(); ++s) {
    std::size_t sum = 0, word = 0;
    for (; word < sample.n_words() && sum <= radius; ++word)
      for (std::uint64_t left = sample.differing(s, word); left != 0; left >>= group_bits)
        sum += bound[left % group_values];
    words[s] = word;
    n_kept += sum <= radius;
  }
  std::sort(words.begin(), words.end());
  const std::size_t last = sample.count() - 1 - sample.count() / hamming_side;
  return {static_cast<double>(words[last]),
          static_cast<double>(n_kept) / static_cast<double>(sample.count())};
}

// What a look at all pairs costs in nanoseconds; a pair that a bound keeps is counted.
inline double look_cost(const Codes& codes, const SampledPairs& sample, std::size_t radius,
                        Look look) {
  constexpr double pair_ns = 0.6, word_ns = 0.4, folded_ns = 12.5, capped_ns = 20, kept_ns = 8;
  const double n_words = static_cast<double>(codes.n_words),
               pairs = static_cast<double>(codes.pairs());
  const double side = static_cast<double>(hamming_side);
  if (look == Look::counted) return pairs * (pair_ns + word_ns * n_words);
  const Filtered seen = filtered(sample, radius, look);
  const double query_ns = codes.n_words == 1
                              ? HammingIndex::sliced_ns(look == Look::capped ? 64 : 0)
                              : seen.words * (look == Look::capped ? capped_ns : folded_ns);
  const double tables = static_cast<double>(codes.n_a) / side * n_words * HammingIndex::table_ns;
  return pairs / side * query_ns + pairs * seen.kept * (kept_ns + word_ns * n_words) + tables;
}

inline HammingPlan plan_of(const Codes& codes, std::size_t radius) {
  constexpr std::size_t most_depth = 4, most_radius = 28, few_words = 1 << 20, few_codes = 2000;
  HammingPlan best{0, Look::counted};
  if (codes.pairs() * codes.n_words < few_words) return best;
  const SampledPairs sample(codes);
  double least = look_cost(codes, sample, radius, Look::counted);
  for (const Look look : {Look::folded, Look::capped}) {
    const double cost = look_cost(codes, sample, radius, look);
    if (cost < least) least = cost, best.look = look;
  }
  if (codes.size() < few_codes ||
      HammingIndex::word_radius(radius, codes.n_words, 0) > static_cast<int>(most_radius))
    return best;
  for (std::size_t depth = 1; depth <= most_depth; ++depth) {
    const double cost = index_cost(codes, sample, radius, depth);
    if (cost < least) least = cost, best.depth = depth;
  }
  return best;
}

// The plan in words.
inline std::string text_of(const HammingPlan& plan, const Codes& codes, std::size_t radius) {
  if (plan.depth > 0) {
    const std::size_t r =
        static_cast<std::size_t>(HammingIndex::word_radius(radius, codes.n_words, 0));
    return "index of " + std::to_string(HammingIndex::n_blocks(r, plan.depth)) + " blocks, " +
           std::to_string(plan.depth) + " deep";
  }
  if (plan.look == Look::counted) return "all pairs, counted one by one";
  return std::string("all pairs, bit-sliced, groups of 5 bits ") +
         (plan.look == Look::folded ? "folded to 1" : "capped at 3");
}

}  // namespace clusterimg
