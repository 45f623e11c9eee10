// Template matching of images of any sizes: the smaller slides inside the larger.
#pragma once
#include <cstddef>

#include "../pairwise.hpp"
#include "prepared_image.hpp"
#include "slide.hpp"

namespace clusterimg {

class SlidingScorer {
 public:
  static constexpr std::size_t rows = 8;
  static constexpr std::size_t cols = 1;
  struct State {
    Pulse pulse;
    PreparedImage rows[SlidingScorer::rows], col;
    Slide::Memory memory;
  };

  SlidingScorer(const RaggedImages& a, const RaggedImages& b, double threshold)
      : a_(a), b_(b), threshold_(threshold) {}

  State make_state(Monitor& monitor) const { return {Pulse(monitor), {}, {}, {}}; }
  void begin(State&, Range) const {}

  // Above every threshold but -inf there is nothing to emit where neither image fits inside.
  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    for (std::size_t i = r.begin; i < r.end; ++i) {
      if (!emit.wants(i, c.begin)) continue;
      // An error is rounded by one part in 2^52, a score by as much.
      const double s = best(state, i, c.begin, 1.0 - threshold_ + 1e-9);
      if (s > threshold_) emit(i, c.begin, s);
    }
  }

  double score(State& state, std::size_t i, std::size_t j) const { return best(state, i, j, 2.0); }

  // Slide::lower_bounds of template j in image i.
  void lower_bounds(State& state, std::size_t i, std::size_t j, float* out) const {
    state.rows[0].take(a_, i, state.pulse);
    state.col.take(b_, j, state.pulse);
    Slide(state.rows[0], state.col, 2.0, state.memory, state.pulse).lower_bounds(out);
  }

 private:
  static constexpr std::size_t largest_kept = std::size_t{1} << 18;  // pixels of an image

  static bool fits(const RaggedImages& small, std::size_t s, const RaggedImages& large,
                   std::size_t l) {
    return small.height(s) <= large.height(l) && small.width(s) <= large.width(l);
  }

  double best(State& state, std::size_t i, std::size_t j, double limit) const {
    const bool col_fits = fits(b_, j, a_, i);
    if (!col_fits && !fits(a_, i, b_, j)) return no_score;
    const bool keep = a_.height(i) * a_.width(i) <= largest_kept;
    PreparedImage &row = state.rows[keep ? i % rows : 0], &col = state.col;
    row.take(a_, i, state.pulse);
    col.take(b_, j, state.pulse);
    PreparedImage &image = col_fits ? row : col, &templ = col_fits ? col : row;
    return 1.0 - Slide(image, templ, limit, state.memory, state.pulse).least();
  }

  RaggedImages a_, b_;
  double threshold_;
};

}  // namespace clusterimg
