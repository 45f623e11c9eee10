// Template matching of images of any sizes: the smaller slides inside the larger, by exact integer
// sums, so the score is the canonical one at once.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "../kernels.hpp"
#include "../pairwise.hpp"

namespace clusterimg {

// Images of any sizes, one after another.
struct RaggedImages {
  const std::uint8_t* pixels;
  const std::int64_t* offsets;  // (n + 1)
  const std::int32_t* shapes;   // (n, 2) height, width
  std::size_t n;

  const std::uint8_t* image(std::size_t k) const { return pixels + offsets[k]; }
  std::size_t height(std::size_t k) const { return static_cast<std::size_t>(shapes[2 * k]); }
  std::size_t width(std::size_t k) const { return static_cast<std::size_t>(shapes[2 * k + 1]); }
};

class SlidingScorer {
 public:
  static constexpr std::size_t rows = 1;
  static constexpr std::size_t cols = 1;
  struct State {
    Pulse pulse;
    std::vector<std::int64_t> energy;
  };

  SlidingScorer(const RaggedImages& a, const RaggedImages& b, double threshold)
      : a_(a), b_(b), threshold_(threshold) {
    for (std::size_t k = 0; k < a.n; ++k) widest_ = std::max(widest_, a.width(k));
    for (std::size_t k = 0; k < b.n; ++k) widest_ = std::max(widest_, b.width(k));
  }

  State make_state(Monitor& monitor) const {
    return {Pulse(monitor), std::vector<std::int64_t>(widest_)};
  }
  void begin(State&, Range) const {}

  // Above every threshold but -inf there is nothing to emit where neither image fits inside.
  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    if (!emit.wants(r.begin, c.begin)) return;
    const double s = score(state, r.begin, c.begin);
    if (s > threshold_) emit(r.begin, c.begin, s);
  }

  double score(State& state, std::size_t i, std::size_t j) const {
    if (fits(b_, j, a_, i)) return slide(state, a_, i, b_, j);
    if (fits(a_, i, b_, j)) return slide(state, b_, j, a_, i);
    return no_score;
  }

 private:
  static constexpr std::size_t products_at_once = 5000000;

  static bool fits(const RaggedImages& small, std::size_t s, const RaggedImages& large,
                   std::size_t l) {
    return small.height(s) <= large.height(l) && small.width(s) <= large.width(l);
  }

  // One less the least error over all positions, scored some at a time: one pair may take minutes.
  static double slide(State& state, const RaggedImages& large, std::size_t l,
                      const RaggedImages& small, std::size_t s) {
    const std::uint8_t* image = large.image(l);
    const std::uint8_t* templ = small.image(s);
    const std::size_t width = large.width(l), height = large.height(l);
    const std::size_t templ_width = small.width(s), templ_height = small.height(s);
    const std::size_t across = width - templ_width + 1, area = templ_width * templ_height;
    const std::size_t span = 1 + products_at_once / area;
    std::int64_t* energy = state.energy.data();  // of each column under the template
    const auto add_rows = [&](const std::uint8_t* rows, std::size_t n_rows, std::size_t n) {
      for (std::size_t y = 0; y < n_rows; ++y) kernels().add_squares(rows + y * n, n, 1, energy);
    };

    std::fill_n(energy, width, 0);
    add_rows(templ, templ_height, templ_width);
    const std::int64_t templ_energy =
        std::accumulate(energy, energy + templ_width, std::int64_t{0});
    std::fill_n(energy, width, 0);
    add_rows(image, templ_height, width);
    double least = 1.0;
    for (std::size_t y = 0;; ++y, image += width) {
      for (std::size_t x = 0; x < across; x += span) {
        const std::size_t n = std::min(span, across - x);
        least = std::min(least, kernels().template_span(image + x, width, n, templ, templ_height,
                                                        templ_width, templ_energy, energy + x));
        state.pulse.after(n * area);
      }
      if (y + templ_height == height) return 1.0 - least;
      kernels().add_squares(image, width, -1, energy);
      kernels().add_squares(image + templ_height * width, width, 1, energy);
    }
  }

  RaggedImages a_, b_;
  double threshold_;
  std::size_t widest_ = 1;
};

}  // namespace clusterimg
