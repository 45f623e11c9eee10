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

class DescriptorScorer {
 public:
  static constexpr std::size_t rows = 16;
  static constexpr std::size_t cols = 32;
  struct State {
    Pulse pulse;
    Scratch<DescriptorGroup> groups;  // of the rows of a band, or of one row
    Scratch<std::uint8_t> planes;
    std::vector<std::uint32_t> scratch;
  };

  DescriptorScorer(const DescriptorSets& a, const DescriptorSets& b, MatchRule rule,
                   double threshold)
      : a_(a), b_(b), rule_(rule), threshold_(threshold) {
    for (std::size_t k = 0; k < a.n; ++k) largest_ = std::max(largest_, a.size(k));
    for (std::size_t k = 0; k < b.n; ++k) largest_ = std::max(largest_, b.size(k));
    kept_ = largest_ <= most_kept ? rows : 1;
  }

  State make_state(Monitor& monitor) const {
    return {Pulse(monitor), Scratch<DescriptorGroup>(kept_ * descriptor_groups_of(largest_)),
            Scratch<std::uint8_t>(cols * descriptor_planes_bytes(largest_) + alignment),
            std::vector<std::uint32_t>(descriptor_scratch_words(largest_))};
  }
  void begin(State& state, Range r) const {
    for (std::size_t i = r.begin; kept_ > 1 && i < r.end; ++i) lay_out_row(state, i, i - r.begin);
  }

  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    for (std::size_t j = c.begin; j < c.end; ++j)
      if (emit.wants(r.begin, j)) lay_out_column(state, j, j - c.begin);
    for (std::size_t i = r.begin; i < r.end && emit.wants(i, c.end - 1); ++i) {
      const std::size_t row = kept_ > 1 ? i - r.begin : 0;
      if (kept_ == 1) lay_out_row(state, i, row);
      for (std::size_t j = c.begin; j < c.end; ++j) {
        if (!emit.wants(i, j)) continue;
        const double s = share(state, i, row, j, j - c.begin);
        if (s > threshold_) emit(i, j, s);
      }
    }
  }

  double score(State& state, std::size_t i, std::size_t j) const {
    lay_out_row(state, i, 0);
    lay_out_column(state, j, 0);
    return share(state, i, 0, j, 0);
  }

 private:
  static constexpr std::size_t alignment = 64;
  // Rows of an image up to which all images of a band stay laid out, in 170 bytes a row.
  static constexpr std::size_t most_kept = 4096;

  std::uint8_t* planes(State& state, std::size_t slot) const {
    const auto begin = reinterpret_cast<std::uintptr_t>(state.planes.data());
    return state.planes.data() + (alignment - begin % alignment) % alignment +
           slot * descriptor_planes_bytes(largest_);
  }
  DescriptorGroup* groups(State& state, std::size_t row) const {
    return state.groups.data() + row * descriptor_groups_of(largest_);
  }
  void lay_out_row(State& state, std::size_t i, std::size_t row) const {
    kernels().descriptor_groups(a_.set(i), a_.size(i), groups(state, row));
    state.pulse.after(a_.size(i) * layout_operations);
  }
  void lay_out_column(State& state, std::size_t j, std::size_t slot) const {
    kernels().descriptor_planes(b_.set(j), b_.size(j), planes(state, slot));
    state.pulse.after(b_.size(j) * layout_operations);
  }
  double share(State& state, std::size_t i, std::size_t row, std::size_t j,
               std::size_t slot) const {
    const MatchCount count =
        kernels().descriptor_pair(a_.set(i), a_.size(i), groups(state, row), b_.set(j), b_.size(j),
                                  planes(state, slot), rule_, state.scratch.data());
    state.pulse.after(a_.size(i) * b_.size(j));
    if (count.matches == 0) return 0.0;
    return static_cast<double>(count.good) / static_cast<double>(count.matches);
  }

  static constexpr std::size_t layout_operations = 100;  // of a row, in pairs of rows

  DescriptorSets a_, b_;
  MatchRule rule_;
  double threshold_;
  std::size_t largest_ = 1, kept_ = 1;
};

}  // namespace clusterimg
