// Template matching of images of any sizes: the smaller slides inside the larger. Positions that a
// bound proves no better than one already seen are passed over; the others are scored by exact
// integer sums, so the score is the canonical one at once.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
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

// An image with the sums that kernels/sliding.hpp needs of it, in memory that is used again.
class Pyramid {
 public:
  static constexpr std::size_t sides[] = {4, 8, 16};  // of the squares of each level
  std::size_t height = 0, width = 0, stride = 0;
  double energy = 0;

  const std::int16_t* greys() const { return greys_.data(); }
  const float* level(std::size_t at) const { return levels_[at].data(); }
  const double* corners() const { return corners_.data(); }

  // Takes another image, or keeps the one it has.
  void take(const RaggedImages& images, std::size_t k, Pulse& pulse) {
    if (source_ == images.image(k) && height == images.height(k) && width == images.width(k))
      return;
    source_ = images.image(k);
    height = images.height(k);
    width = images.width(k);
    stride = (width + 63) / 16 * 16;
    n_levels_ = 0;
    grow(greys_, height * stride);
    grow(corners_, (height + 1) * (width + 1));
    std::fill_n(corners_.begin(), width + 1, 0.0);
    for (std::size_t y = 0; y < height; ++y) {
      std::int16_t* row = &greys_[y * stride];
      double* corner = &corners_[y * (width + 1)];
      kernels().widen_greys(source_ + y * width, width, row);
      std::fill_n(row + width, stride - width, std::int16_t{0});
      kernels().square_corners(source_ + y * width, width, corner, corner + width + 1);
      pulse.after(2 * width);
    }
    energy = corners_[(height + 1) * (width + 1) - 1];
  }

  // Adds the sums of the first n levels; no side of a square may be longer than the image's.
  void build(std::size_t n, Pulse& pulse) {
    for (; n_levels_ < n; ++n_levels_) {
      const std::size_t side = sides[n_levels_];
      grow(levels_[n_levels_], (height - side + 1) * stride);
      for (std::size_t y = 0; y + side <= height; ++y) {
        sum_row(n_levels_, y);
        pulse.after(width);
      }
    }
  }

 private:
  template <class T>
  static void grow(std::vector<T>& values, std::size_t n) {
    if (values.size() < n) values.resize(n);
  }

  void sum_row(std::size_t at, std::size_t y) {
    float* out = &levels_[at][y * stride];
    if (at == 0) {
      grow(column_, width);
      kernels().quad_sums(&greys_[y * stride], stride, width, column_.data(), out);
    } else {
      const std::size_t half = sides[at - 1];
      const float* above = &levels_[at - 1][y * stride];
      kernels().double_sums(above, above + half * stride, half, width - 2 * half + 1, out);
    }
  }

  const std::uint8_t* source_ = nullptr;
  std::size_t n_levels_ = 0;
  std::vector<std::int16_t> greys_, column_;
  std::vector<double> corners_;
  std::vector<float> levels_[3];
};

// The search for the position of the least error of one template in one image.
class Slide {
 public:
  struct Memory {
    std::vector<float> inverse, bounds;  // of each position, rows `lanes` apart
  };

  // Errors of `limit` or more need not be told apart.
  Slide(Pyramid& image, Pyramid& templ, double limit, Memory& memory, Pulse& pulse)
      : image_(image),
        templ_(templ),
        rows_(image.height - templ.height + 1),
        places_(image.width - templ.width + 1),
        lanes_((places_ + chunk - 1) / chunk * chunk),
        cut_(std::min(1.0, limit)),
        memory_(memory),
        pulse_(pulse) {}

  // The least error, or 1 if that is `limit` or more.
  double least() {
    if (templ_.energy == 0.0) return black();
    prepare();
    std::size_t level = 0;
    while (level < 3 && 2 * Pyramid::sides[level] <= std::min(templ_.height, templ_.width)) ++level;
    image_.build(level, pulse_);
    templ_.build(level, pulse_);
    while (level-- > 0) {
      bound(level);
      score(best_bound());
    }
    for (std::size_t at = 0; at < rows_ * lanes_; at += 4)
      if (may_be_less(at, 4)) score(at);
    return least_;
  }

 private:
  static constexpr std::size_t chunk = 16;  // positions that one call bounds

  const double* corners(std::size_t y) const { return image_.corners() + y * (image_.width + 1); }

  // All errors of a black template are 0 or 1.
  double black() {
    const std::size_t w = templ_.width;
    for (std::size_t y = 0; y < rows_; ++y) {
      const double *top = corners(y), *bottom = corners(y + templ_.height);
      for (std::size_t x = 0; x < places_; ++x)
        if (bottom[x + w] - bottom[x] == top[x + w] - top[x]) return 0.0;
      pulse_.after(places_);
    }
    return 1.0;
  }

  void prepare() {
    memory_.inverse.resize(rows_ * lanes_);
    memory_.bounds.assign(rows_ * lanes_, 0.0f);
    for (std::size_t y = 0; y < rows_; ++y) {
      kernels().inverse_norms(corners(y), corners(y + templ_.height), templ_.width, places_,
                              templ_.energy, &memory_.inverse[y * lanes_]);
      std::fill_n(&memory_.inverse[y * lanes_ + places_], lanes_ - places_, 0.0f);
      no_place(y);
      pulse_.after(4 * places_);
    }
  }

  // Nothing is at the lanes after the last position of a row.
  void no_place(std::size_t y) {
    std::fill_n(&memory_.bounds[y * lanes_ + places_], lanes_ - places_, 2.0f);
  }

  bool may_be_less(std::size_t at, std::size_t n) const {
    bool less = false;
    for (std::size_t k = at; k < at + n; ++k)
      less |= static_cast<double>(memory_.bounds[k]) * slack_ < cut_;
    return less;
  }

  // Bounds by the squares of a level, where the last ones leave it open.
  void bound(std::size_t level) {
    const std::size_t k = Pyramid::sides[level], m = templ_.height / k, n = templ_.width / k;
    const double slack = 1.0 - static_cast<double>(m + n + 16) * 0x1p-23;
    for (std::size_t y = 0; y < rows_; ++y) {
      for (std::size_t x = 0; x < places_; x += chunk) {
        const std::size_t at = y * lanes_ + x;
        if (!may_be_less(at, chunk)) continue;
        kernels().square_bounds(image_.level(level) + y * image_.stride + x, image_.stride,
                                templ_.level(level), templ_.stride, k, m, n, &memory_.inverse[at],
                                &memory_.bounds[at]);
        pulse_.after(m * n * 4);
      }
      no_place(y);
    }
    slack_ = std::min(slack_, slack);
  }

  std::size_t best_bound() const {
    const auto least =
        std::min_element(memory_.bounds.begin(), memory_.bounds.begin() + rows_ * lanes_);
    return static_cast<std::size_t>(least - memory_.bounds.begin()) / 4 * 4;
  }

  // The exact errors of four positions.
  void score(std::size_t at) {
    const std::size_t y = at / lanes_, x = at % lanes_;
    double dots[4];
    const std::size_t width = (templ_.width + 15) / 16 * 16;
    kernels().patch_dots(image_.greys() + y * image_.stride + x, image_.stride, templ_.greys(),
                         templ_.stride, templ_.height, width, dots);
    const double *top = corners(y) + x, *bottom = corners(y + templ_.height) + x;
    for (std::size_t k = 0; k < 4 && x + k < places_; ++k) {
      const std::size_t end = k + templ_.width;
      const double energy = bottom[end] - bottom[k] - (top[end] - top[k]);
      const double norm = std::sqrt(templ_.energy * energy);
      if (norm == 0.0) continue;
      const double error = (templ_.energy + energy - 2.0 * dots[k]) / norm;
      least_ = std::min(least_, error);
    }
    for (std::size_t k = 0; k < 4; ++k) memory_.bounds[at + k] = 2.0f;
    cut_ = std::min(cut_, least_);
    pulse_.after(templ_.height * width);
  }

  Pyramid& image_;
  Pyramid& templ_;
  std::size_t rows_, places_, lanes_;
  double cut_, least_ = 1.0, slack_ = 1.0;
  Memory& memory_;
  Pulse& pulse_;
};

class SlidingScorer {
 public:
  static constexpr std::size_t rows = 1;
  static constexpr std::size_t cols = 1;
  struct State {
    Pulse pulse;
    Pyramid row, col;
    Slide::Memory memory;
  };

  SlidingScorer(const RaggedImages& a, const RaggedImages& b, double threshold)
      : a_(a), b_(b), threshold_(threshold) {}

  State make_state(Monitor& monitor) const { return {Pulse(monitor), {}, {}, {}}; }
  void begin(State&, Range) const {}

  // Above every threshold but -inf there is nothing to emit where neither image fits inside.
  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    if (!emit.wants(r.begin, c.begin)) return;
    // An error is rounded by one part in 2^52, a score by as much.
    const double s = best(state, r.begin, c.begin, 1.0 - threshold_ + 1e-9);
    if (s > threshold_) emit(r.begin, c.begin, s);
  }

  double score(State& state, std::size_t i, std::size_t j) const { return best(state, i, j, 2.0); }

 private:
  static bool fits(const RaggedImages& small, std::size_t s, const RaggedImages& large,
                   std::size_t l) {
    return small.height(s) <= large.height(l) && small.width(s) <= large.width(l);
  }

  double best(State& state, std::size_t i, std::size_t j, double limit) const {
    const bool col_fits = fits(b_, j, a_, i);
    if (!col_fits && !fits(a_, i, b_, j)) return no_score;
    state.row.take(a_, i, state.pulse);
    state.col.take(b_, j, state.pulse);
    Pyramid &image = col_fits ? state.row : state.col, &templ = col_fits ? state.col : state.row;
    return 1.0 - Slide(image, templ, limit, state.memory, state.pulse).least();
  }

  RaggedImages a_, b_;
  double threshold_;
};

}  // namespace clusterimg
