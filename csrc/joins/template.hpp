// Template matching: images of one size by integer dot products, images of any sizes by sliding
// the smaller inside the larger. Both are exact, so the score is the canonical one at once.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "../kernels.hpp"
#include "../pairwise.hpp"

namespace clusterimg {

// As template_error in kernels/template.hpp, for whole images.
inline double template_score(std::int64_t energy_a, std::int64_t energy_b, std::int64_t dot) {
  const double distance = static_cast<double>(energy_a + energy_b - 2 * dot);
  const double norm = std::sqrt(static_cast<double>(energy_a) * static_cast<double>(energy_b));
  if (norm == 0.0) return distance == 0.0 ? 1.0 : 0.0;
  return 1.0 - std::min(1.0, distance / norm);
}

class TemplateScorer {
 public:
  static constexpr std::size_t rows = 32;
  static constexpr std::size_t cols = 16;
  // Greys of a few images, widened for the multiply-add of pairs, with their sums of squares.
  struct Wide {
    Scratch<std::int16_t> pixels;
    std::vector<std::int64_t> energy;
    Wide(std::size_t n, std::size_t n_pixels) : pixels(n * n_pixels), energy(n) {}
  };
  struct State {
    Pulse pulse;
    Wide rows, cols;
    std::vector<std::int64_t> dots;
  };

  TemplateScorer(const std::uint8_t* a, const std::uint8_t* b, std::size_t n_pixels,
                 double threshold)
      : a_(a), b_(b), n_pixels_(n_pixels), threshold_(threshold) {}

  State make_state(Monitor& monitor) const {
    return {Pulse(monitor), Wide(rows, n_pixels_), Wide(cols, n_pixels_),
            std::vector<std::int64_t>(rows * cols)};
  }

  void begin(State& state, Range r) const { widen(a_, r, state.rows, state.pulse); }

  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    widen(b_, c, state.cols, state.pulse);
    dot(state, r.size(), c.size());
    for (std::size_t i = 0; i < r.size(); ++i)
      for (std::size_t j = 0; j < c.size(); ++j) {
        const double s = template_score(state.rows.energy[i], state.cols.energy[j],
                                        state.dots[i * c.size() + j]);
        if (s > threshold_) emit(r.begin + i, c.begin + j, s);
      }
  }

  double score(State& state, std::size_t i, std::size_t j) const {
    widen(a_, {i, i + 1}, state.rows, state.pulse);
    widen(b_, {j, j + 1}, state.cols, state.pulse);
    dot(state, 1, 1);
    return template_score(state.rows.energy[0], state.cols.energy[0], state.dots[0]);
  }

 private:
  void dot(State& state, std::size_t n_a, std::size_t n_b) const {
    std::fill_n(state.dots.begin(), n_a * n_b, 0);
    for (std::size_t p = 0; p < n_pixels_; p += dot_block) {
      const std::size_t n = std::min(dot_block, n_pixels_ - p);
      kernels().dot_tile(state.rows.pixels.data() + p, n_a, state.cols.pixels.data() + p, n_b,
                         n_pixels_, n, state.dots.data());
      state.pulse.after(n_a * n_b * n);
    }
  }

  void widen(const std::uint8_t* images, Range range, Wide& out, Pulse& pulse) const {
    const std::uint8_t* source = images + range.begin * n_pixels_;
    for (std::size_t k = 0; k < range.size(); ++k) {
      std::int64_t energy = 0;
      for (std::size_t p = 0; p < n_pixels_; ++p) {
        const std::uint8_t grey = source[k * n_pixels_ + p];
        out.pixels[k * n_pixels_ + p] = grey;
        energy += static_cast<std::int32_t>(grey) * grey;
      }
      out.energy[k] = energy;
      pulse.after(n_pixels_);
    }
  }

  const std::uint8_t* a_;
  const std::uint8_t* b_;
  std::size_t n_pixels_;
  double threshold_;
};

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
