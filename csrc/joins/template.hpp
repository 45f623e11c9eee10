// Template matching: images of one size by integer dot products, images of any sizes by sliding
// the smaller inside the larger. Both are exact, so the score is the canonical one at once.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
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
    std::vector<std::int16_t> pixels;
    std::vector<std::int64_t> energy;
    Wide(std::size_t n, std::size_t n_pixels) : pixels(n * n_pixels), energy(n) {}
  };
  struct State {
    Wide rows, cols;
    std::vector<std::int64_t> dots;
  };

  TemplateScorer(const std::uint8_t* a, const std::uint8_t* b, std::size_t n_pixels,
                 double threshold)
      : a_(a), b_(b), n_pixels_(n_pixels), threshold_(threshold) {}

  State make_state() const {
    return {Wide(rows, n_pixels_), Wide(cols, n_pixels_), std::vector<std::int64_t>(rows * cols)};
  }

  void begin(State& state, Range r) const { widen(a_, r, state.rows); }

  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    widen(b_, c, state.cols);
    kernels().dot_tile(state.rows.pixels.data(), r.size(), state.cols.pixels.data(), c.size(),
                       n_pixels_, state.dots.data());
    for (std::size_t i = 0; i < r.size(); ++i)
      for (std::size_t j = 0; j < c.size(); ++j) {
        const double s = template_score(state.rows.energy[i], state.cols.energy[j],
                                        state.dots[i * c.size() + j]);
        if (s > threshold_) emit(r.begin + i, c.begin + j, s);
      }
  }

  double score(State& state, std::size_t i, std::size_t j) const {
    widen(a_, {i, i + 1}, state.rows);
    widen(b_, {j, j + 1}, state.cols);
    kernels().dot_tile(state.rows.pixels.data(), 1, state.cols.pixels.data(), 1, n_pixels_,
                       state.dots.data());
    return template_score(state.rows.energy[0], state.cols.energy[0], state.dots[0]);
  }

 private:
  void widen(const std::uint8_t* images, Range range, Wide& out) const {
    const std::uint8_t* source = images + range.begin * n_pixels_;
    for (std::size_t k = 0; k < range.size(); ++k) {
      std::int64_t energy = 0;
      for (std::size_t p = 0; p < n_pixels_; ++p) {
        const std::uint8_t grey = source[k * n_pixels_ + p];
        out.pixels[k * n_pixels_ + p] = grey;
        energy += static_cast<std::int32_t>(grey) * grey;
      }
      out.energy[k] = energy;
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
    std::vector<std::int64_t> row_energy;
  };

  SlidingScorer(const RaggedImages& a, const RaggedImages& b, double threshold)
      : a_(a), b_(b), threshold_(threshold) {
    for (std::size_t k = 0; k < a.n; ++k) widest_ = std::max(widest_, a.width(k));
    for (std::size_t k = 0; k < b.n; ++k) widest_ = std::max(widest_, b.width(k));
  }

  State make_state() const { return {std::vector<std::int64_t>(widest_)}; }
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
  static bool fits(const RaggedImages& small, std::size_t s, const RaggedImages& large,
                   std::size_t l) {
    return small.height(s) <= large.height(l) && small.width(s) <= large.width(l);
  }
  static double slide(State& state, const RaggedImages& image, std::size_t i,
                      const RaggedImages& templ, std::size_t t) {
    return 1.0 - kernels().template_slide(image.image(i), image.height(i), image.width(i),
                                          templ.image(t), templ.height(t), templ.width(t),
                                          state.row_energy.data());
  }

  RaggedImages a_, b_;
  double threshold_;
  std::size_t widest_ = 1;
};

}  // namespace clusterimg
