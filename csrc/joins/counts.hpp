// A scorer of kernels that count equal parts, such as slots of a signature.
//
// score = equal / total, one float64 division. The threshold becomes the least count whose score is
// above it once, by asking that very division, so an exact multiple decides as the definition does.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../kernels.hpp"
#include "../pairwise.hpp"

namespace clusterimg {

// The least count 0..total with count / total > threshold, or total + 1.
inline std::uint32_t least_count_above(double threshold, std::uint32_t total) {
  std::uint32_t low = 0, high = total + 1;
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    if (static_cast<double>(middle) / static_cast<double>(total) > threshold)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

// Word is a part, or 64 bits; Tile fills counts for rows of n_words words.
template <class Word>
class CountScorer {
 public:
  static constexpr std::size_t rows = 64;
  static constexpr std::size_t cols = 256;
  struct State {
    std::vector<std::uint32_t> counts;
  };
  using Tile = void (*)(const Word*, std::size_t, const Word*, std::size_t, std::size_t,
                        std::uint32_t*);

  // `counts_equal`: the tile counts equal parts; else it counts differing ones.
  CountScorer(const Word* a, const Word* b, std::size_t n_words, std::uint32_t total, Tile tile,
              bool counts_equal, double threshold)
      : a_(a),
        b_(b),
        n_words_(n_words),
        total_(total),
        tile_(tile),
        counts_equal_(counts_equal),
        least_(least_count_above(threshold, total)) {}

  State make_state(Monitor&) const { return {std::vector<std::uint32_t>(rows * cols)}; }
  void begin(State&, Range) const {}

  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    if (least_ > total_) return;
    std::uint32_t* counts = state.counts.data();
    tile_(a_ + r.begin * n_words_, r.size(), b_ + c.begin * n_words_, c.size(), n_words_, counts);
    for (std::size_t i = 0; i < r.size(); ++i)
      for (std::size_t j = 0; j < c.size(); ++j) {
        const std::uint32_t equal = equal_parts(counts[i * c.size() + j]);
        if (equal >= least_) emit(r.begin + i, c.begin + j, share(equal));
      }
  }

  double score(State&, std::size_t i, std::size_t j) const {
    std::uint32_t count = 0;
    tile_(a_ + i * n_words_, 1, b_ + j * n_words_, 1, n_words_, &count);
    return share(equal_parts(count));
  }

 private:
  std::uint32_t equal_parts(std::uint32_t count) const {
    return counts_equal_ ? count : total_ - count;
  }
  double share(std::uint32_t equal) const {
    return static_cast<double>(equal) / static_cast<double>(total_);
  }

  const Word* a_;
  const Word* b_;
  std::size_t n_words_;
  std::uint32_t total_;
  Tile tile_;
  bool counts_equal_;
  std::uint32_t least_;
};

}  // namespace clusterimg
