// Share of the cross-checked matches of two descriptor sets that are good; 0 without a match.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../kernels.hpp"
#include "../pairwise.hpp"

namespace clusterimg {

struct DescriptorSets {
  const std::uint64_t* words;   // (total, 4)
  const std::int64_t* offsets;  // (n + 1)
  std::size_t n;

  const std::uint64_t* set(std::size_t k) const { return words + 4 * offsets[k]; }
  std::size_t size(std::size_t k) const {
    return static_cast<std::size_t>(offsets[k + 1] - offsets[k]);
  }
};

struct MatchRule {
  bool relative;
  std::uint32_t max_distance;
};

class DescriptorScorer {
 public:
  static constexpr std::size_t rows = 8;
  static constexpr std::size_t cols = 8;
  struct State {
    std::vector<std::uint32_t> best_a, best_b;
  };

  DescriptorScorer(const DescriptorSets& a, const DescriptorSets& b, MatchRule rule,
                   double threshold)
      : a_(a), b_(b), rule_(rule), threshold_(threshold) {
    for (std::size_t k = 0; k < a.n; ++k) largest_ = std::max(largest_, a.size(k));
    for (std::size_t k = 0; k < b.n; ++k) largest_ = std::max(largest_, b.size(k));
  }

  State make_state() const {
    return {std::vector<std::uint32_t>(largest_), std::vector<std::uint32_t>(largest_)};
  }
  void begin(State&, Range) const {}

  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    for (std::size_t i = r.begin; i < r.end; ++i)
      for (std::size_t j = c.begin; j < c.end; ++j) {
        if (!emit.wants(i, j)) continue;
        const double s = score(state, i, j);
        if (s > threshold_) emit(i, j, s);
      }
  }

  double score(State& state, std::size_t i, std::size_t j) const {
    const MatchCount count =
        kernels().descriptor_pair(a_.set(i), a_.size(i), b_.set(j), b_.size(j), rule_.relative,
                                  rule_.max_distance, state.best_a.data(), state.best_b.data());
    if (count.matches == 0) return 0.0;
    return static_cast<double>(count.good) / static_cast<double>(count.matches);
  }

 private:
  DescriptorSets a_, b_;
  MatchRule rule_;
  double threshold_;
  std::size_t largest_ = 1;
};

}  // namespace clusterimg
