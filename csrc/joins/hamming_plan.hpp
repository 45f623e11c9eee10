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
#include "hamming_dense.hpp"
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
      : n_words_(codes.n_words), count_(codes.n_words <= 4 ? 2048 : 1024) {
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

// For each value of a group of 5 bits, what a bound makes of it; kernels/hamming_sliced.hpp.
constexpr std::size_t group_bits = 5;
using GroupBounds = std::array<std::uint8_t, 1 << group_bits>;

inline GroupBounds group_bounds(Look look) {
  GroupBounds bounds{};
  for (std::size_t v = 1; v < bounds.size(); ++v) {
    const std::size_t bits = bounds[v / 2] + v % 2;  // as long as nothing is capped
    bounds[v] = static_cast<std::uint8_t>(look == Look::folded ? 1 : bits);
  }
  if (look == Look::capped)
    for (std::uint8_t& bound : bounds) bound = std::min<std::uint8_t>(bound, 3);
  return bounds;
}

inline std::size_t bound_of(const GroupBounds& bounds, std::uint64_t differing) {
  std::size_t sum = 0;
  for (; differing != 0; differing >>= group_bits) sum += bounds[differing % bounds.size()];
  return sum;
}

// How often a pair meets in a bucket of `depth` blocks of a word, and how often it is then kept by
// the bound: means over the sample, so that codes that are alike by the thousand are seen. Not
// below the meetings of random codes.
struct Meetings {
  double all, kept;
};

inline Meetings meetings(const SampledPairs& sample, std::size_t word, std::size_t radius,
                         const Blocks& blocks, std::size_t depth) {
  const GroupBounds bounds =
      group_bounds(HammingIndex::capped(radius) ? Look::capped : Look::folded);
  double all = 0, kept = 0;
  for (std::size_t s = 0; s < sample.count(); ++s) {
    const std::uint64_t differing = sample.differing(s, word);
    std::size_t n_equal = 0;
    for (std::size_t b = 0; b < blocks.count(); ++b) n_equal += blocks.value(differing, b) == 0;
    const double met = choices(n_equal, depth);
    all += met;
    if (met > 0 && bound_of(bounds, differing) <= radius) kept += met;
  }
  const double of_random =
      choices(blocks.count(), depth) *
      std::pow(2.0, -64.0 * static_cast<double>(depth) / static_cast<double>(blocks.count()));
  const double n = static_cast<double>(sample.count());
  return {std::max(all / n, of_random), kept / n};
}

// What the index costs in nanoseconds.
inline double index_cost(const Codes& codes, const SampledPairs& sample, std::size_t radius,
                         std::size_t depth) {
  const double n = static_cast<double>(codes.size()), pairs = n * (n - 1) / 2;
  double cost = 0;
  for (std::size_t word = 0; word < codes.n_words; ++word) {
    const int share = HammingIndex::word_radius(radius, codes.n_words, word);
    if (share < 0) break;
    const std::size_t r = static_cast<std::size_t>(share);
    const Blocks blocks(HammingIndex::n_blocks(r, depth));
    const Meetings met = meetings(sample, word, r, blocks, depth);
    const double visits = choices(blocks.count(), depth) * n;
    const double bucket = 2 * pairs * met.all / visits;  // codes that a code meets there
    const double of_bucket = HammingIndex::pairs_cost(static_cast<std::size_t>(bucket) + 1, r);
    cost += visits * of_bucket / (bucket + 1) + pairs * met.kept * HammingIndex::kept_ns;
    const double values = static_cast<double>(blocks.n_values(0));
    cost += choices(blocks.count(), 1) * (values * HammingIndex::bucket_ns + HammingIndex::walk_ns);
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
  const GroupBounds bounds = group_bounds(look);
  std::vector<std::size_t> words(sample.count());
  std::size_t n_kept = 0;
  for (std::size_t s = 0; s < sample.count(); ++s) {
    std::size_t sum = 0, word = 0;
    for (; word < sample.n_words() && sum <= radius; ++word)
      sum += bound_of(bounds, sample.differing(s, word));
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
  constexpr double pair_ns = 0.4, word_ns = 0.35, folded_ns = 9.5, capped_ns = 18;
  const double n_words = static_cast<double>(codes.n_words);
  const double pairs = static_cast<double>(codes.pairs());
  const double side = static_cast<double>(hamming_side);
  if (look == Look::counted) return pairs * (pair_ns + word_ns * n_words);
  const Filtered seen = filtered(sample, radius, look);
  const bool capped = look == Look::capped;
  const double query_ns = codes.n_words == 1 ? HammingIndex::sliced_ns(capped)
                                             : seen.words * (capped ? capped_ns : folded_ns);
  const double tables = static_cast<double>(codes.n_a) / side * n_words * HammingIndex::table_ns;
  const double of_kept = pairs * seen.kept * (HammingIndex::kept_ns + word_ns * n_words);
  return pairs / side * query_ns + of_kept + tables;
}

// The share of pairs of the sample within the radius.
inline double share_near(const SampledPairs& sample, std::size_t radius) {
  return filtered(sample, radius, Look::counted).kept;
}

inline HammingPlan plan_of(const Codes& codes, std::size_t radius) {
  constexpr std::size_t most_depth = 4, few_words = 1 << 20, few_codes = 2000;
  HammingPlan best{0, Look::counted};
  if (codes.pairs() * codes.n_words < few_words || codes.n_words > HammingScorer::most_sliced)
    return best;
  const SampledPairs sample(codes);
  double least = look_cost(codes, sample, radius, Look::counted);
  const auto take = [&](double cost, HammingPlan plan) {
    if (cost < least) least = cost, best = plan;
  };
  for (const Look look : {Look::folded, Look::capped})
    take(look_cost(codes, sample, radius, look), {0, look});
  constexpr double dense_ns = 0.12;  // a pair; to write the edges costs the same any way
  if (codes.n_words == 1 && share_near(sample, radius) >= HammingDense::least_share)
    take(static_cast<double>(codes.pairs()) * dense_ns, {0, Look::dense});
  if (codes.size() < few_codes || !HammingIndex::serves(radius, codes.n_words)) return best;
  const double of_hits =
      static_cast<double>(codes.pairs()) * share_near(sample, radius) * HammingIndex::hit_ns;
  for (std::size_t depth = 1; depth <= most_depth; ++depth)
    take(index_cost(codes, sample, radius, depth) + of_hits, {depth, Look::counted});
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
  if (plan.look == Look::dense) return "all pairs, bit-sliced, counted exactly";
  return std::string("all pairs, bit-sliced, groups of 5 bits ") +
         (plan.look == Look::folded ? "folded to 1" : "capped at 3");
}

}  // namespace clusterimg
