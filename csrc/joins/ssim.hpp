// SSIM of images of one size. A fast float32 tile finds the pairs that may be above the threshold;
// the canonical float64 score of kernels/ssim.hpp decides and is what an edge carries.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../kernels.hpp"
#include "../pairwise.hpp"

namespace clusterimg {

// How far the float32 tile may stray from the canonical score.
// Per window, with u = 2^-24: each of the four factors comes from exact integers by at most four
// roundings (conversion, doubling, adding a constant, adding a pair); product, product and quotient
// add three. Where covariance and c2 cancel, the roundings are u times their size, and that size is
// at most the denominator's. So a window strays by less than 20 u of 1. Sums of 64 windows add 64 u
// of their mean size, at most 1; the rest is float64; the result is rounded once. 85 u < 5.1e-6.
constexpr double ssim_tile_error = 1e-5;

class SsimScorer {
 public:
  static constexpr std::size_t rows = 32;
  static constexpr std::size_t cols = ssim_lanes;
  struct Statistics {
    Scratch<std::int32_t> sum;
    Scratch<float> energy, spread;
    explicit Statistics(std::size_t n) : sum(n), energy(n), spread(n) {}
  };
  struct State {
    Pulse pulse;
    Statistics rows, one, lanes;
    Scratch<std::int16_t> pixels;
    std::vector<std::int32_t> column;
    std::vector<double> column_score;
    float out[ssim_lanes];
  };

  // `exact`: emit the canonical score of pairs above the threshold; else the float32 score of all.
  //   a (n_a, height, width), b (n_b, height, width)
  SsimScorer(const std::uint8_t* a, const std::uint8_t* b, std::size_t height, std::size_t width,
             bool exact, double threshold)
      : a_(a), b_(b), height_(height), width_(width), exact_(exact), threshold_(threshold) {}

  State make_state(Monitor& monitor) const {
    const std::size_t n = windows();
    return {Pulse(monitor),
            Statistics(rows * n),
            Statistics(n),
            Statistics(ssim_lanes * n),
            Scratch<std::int16_t>(height_ * width_ * ssim_lanes),
            std::vector<std::int32_t>(width_ * ssim_lanes),
            std::vector<double>(width_),
            {}};
  }

  void begin(State& state, Range r) const {
    const std::size_t n = windows();
    for (std::size_t k = 0; k < r.size(); ++k) {
      kernels().ssim_statistics(image(a_, r.begin + k), height_, width_, state.column.data(),
                                &state.rows.sum[k * n], &state.rows.energy[k * n],
                                &state.rows.spread[k * n]);
      state.pulse.after(4 * n);
    }
  }

  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    pack(state, c);
    const std::size_t n = windows();
    for (std::size_t i = r.begin; i < r.end; ++i) {
      const std::size_t k = (i - r.begin) * n;
      kernels().ssim_tile(image(a_, i), &state.rows.sum[k], &state.rows.energy[k],
                          &state.rows.spread[k], height_, width_, state.pixels.data(),
                          state.lanes.sum.data(), state.lanes.energy.data(),
                          state.lanes.spread.data(), state.column.data(), state.out);
      state.pulse.after(ssim_lanes * n);
      for (std::size_t j = c.begin; j < c.end; ++j) {
        double score = static_cast<double>(state.out[j - c.begin]);
        if (exact_) {
          if (!(score > threshold_ - ssim_tile_error) || !emit.wants(i, j)) continue;
          score = pair(state, image(a_, i), image(b_, j));
          if (!(score > threshold_)) continue;
        }
        emit(i, j, score);
      }
    }
  }

  // The canonical score of row i of a and row j of b.
  double score(State& state, std::size_t i, std::size_t j) const {
    return pair(state, image(a_, i), image(b_, j));
  }

 private:
  std::size_t windows() const { return (height_ - 6) * (width_ - 6); }
  const std::uint8_t* image(const std::uint8_t* images, std::size_t k) const {
    return images + k * height_ * width_;
  }
  double pair(State& state, const std::uint8_t* a, const std::uint8_t* b) const {
    state.pulse.after(8 * windows());
    return kernels().ssim_pair(a, b, height_, width_, state.column.data(),
                               state.column_score.data());
  }

  // Lays images side by side in lanes, with their statistics; lanes without an image are black.
  void pack(State& state, Range c) const {
    const std::size_t n = windows(), n_pixels = height_ * width_;
    if (c.size() < ssim_lanes) {
      std::fill_n(state.pixels.data(), n_pixels * ssim_lanes, std::int16_t{0});
      std::fill_n(state.lanes.sum.data(), n * ssim_lanes, 0);
      std::fill_n(state.lanes.energy.data(), n * ssim_lanes, 0.0f);
      std::fill_n(state.lanes.spread.data(), n * ssim_lanes, 0.0f);
    }
    for (std::size_t lane = 0; lane < c.size(); ++lane) {
      const std::uint8_t* source = image(b_, c.begin + lane);
      for (std::size_t p = 0; p < n_pixels; ++p) state.pixels[p * ssim_lanes + lane] = source[p];
      kernels().ssim_statistics(source, height_, width_, state.column.data(), state.one.sum.data(),
                                state.one.energy.data(), state.one.spread.data());
      for (std::size_t w = 0; w < n; ++w) {
        state.lanes.sum[w * ssim_lanes + lane] = state.one.sum[w];
        state.lanes.energy[w * ssim_lanes + lane] = state.one.energy[w];
        state.lanes.spread[w * ssim_lanes + lane] = state.one.spread[w];
      }
      state.pulse.after(8 * n);
    }
  }

  const std::uint8_t* a_;
  const std::uint8_t* b_;
  std::size_t height_, width_;
  bool exact_;
  double threshold_;
};

}  // namespace clusterimg
