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

// Greys widened for the multiply-add, with their sums of squares.
struct WideImages {
  std::vector<std::int16_t> pixels;
  std::vector<std::int64_t> energy;

  WideImages(const std::uint8_t* images, std::size_t n, std::size_t n_pixels)
      : pixels(images, images + n * n_pixels), energy(n) {
    for (std::size_t k = 0; k < n; ++k)
      for (std::size_t p = 0; p < n_pixels; ++p)
        energy[k] += static_cast<std::int32_t>(pixels[k * n_pixels + p]) * pixels[k * n_pixels + p];
  }
};

class TemplateScorer {
 public:
  static constexpr std::size_t rows = 16;
  static constexpr std::size_t cols = 16;
  struct State {
    std::vector<std::int64_t> dots;
  };

  TemplateScorer(const WideImages& a, const WideImages& b, std::size_t n_pixels, double threshold)
      : a_(a), b_(b), n_pixels_(n_pixels), threshold_(threshold) {}

  State make_state() const { return {std::vector<std::int64_t>(rows * cols)}; }
  void begin(State&, Range) const {}

  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    kernels().dot_tile(&a_.pixels[r.begin * n_pixels_], r.size(), &b_.pixels[c.begin * n_pixels_],
                       c.size(), n_pixels_, state.dots.data());
    for (std::size_t i = r.begin; i < r.end; ++i)
      for (std::size_t j = c.begin; j < c.end; ++j) {
        const std::int64_t dot = state.dots[(i - r.begin) * c.size() + (j - c.begin)];
        const double score = template_score(a_.energy[i], b_.energy[j], dot);
        if (score > threshold_) emit(i, j, score);
      }
  }

 private:
  const WideImages& a_;
  const WideImages& b_;
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
