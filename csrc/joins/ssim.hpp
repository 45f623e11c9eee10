// SSIM of images of one size. For edges a proved bound of a few numbers a pair drops most of them
// (kernels/ssim_bound.hpp); what is left goes to the canonical float64 score of kernels/ssim.hpp,
// which decides and is what an edge carries. Where too many are left, a fast float32 tile first
// finds those that may be above the threshold. A dense matrix is the tile's.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "../kernels.hpp"
#include "../pairwise.hpp"
#include "ssim_bound.hpp"

namespace clusterimg {

// How far the float32 tile may stray from the canonical score.
// Per window, with u = 2^-24: the numerator is a product of two exact integers (3 roundings), the
// denominator one of two sums of two numbers of two roundings each (7), the quotient is rounded
// once. The rounded constants change the luminance part l by at most
// 0.005 / (4 * 31225) and the other by 0.16 / (2 * 275290), since (E - P) c / (E + c)^2 <= 1/4 for
// P >= 0 and 1/2 for P >= -E: together 6 u. So a window, at most 1, strays by less than 20 u. Sums
// of 64 windows add 64 u of their mean size; the rest is float64; the result is rounded once. 85 u
// < 5.1e-6.
constexpr double ssim_tile_error = 1e-5;

class SsimScorer {
 public:
  static constexpr std::size_t rows = ssim_rows;
  static constexpr std::size_t cols = ssim_lanes;
  // Pixels, sums and factors of the windows as kernels/ssim_tile.hpp lays them out.
  struct Images {
    AlignedScratch<std::int32_t> pixel, sum;
    AlignedScratch<float> factor;
    Images(std::size_t n_pixels, std::size_t n_windows)
        : pixel(n_pixels), sum(n_windows), factor(2 * n_windows) {}
  };
  struct State {
    Pulse pulse;
    Images rows, lanes;
    AlignedScratch<std::int32_t> column;
    std::vector<double> column_score, rest;
    std::vector<float> losses;
    std::uint16_t left[ssim_rows * ssim_lanes];
    std::size_t n_left;
    SsimNumbers::Work work;
    bool rows_laid;
    double total[ssim_tile_rows * ssim_lanes];
  };

  // `exact`: emit the canonical score of pairs above the threshold; else the float32 score of all.
  //   a (n_a, height, width), b (n_b, height, width)
  SsimScorer(const std::uint8_t* a, std::size_t n_a, const std::uint8_t* b, std::size_t n_b,
             std::size_t height, std::size_t width, bool exact, double threshold)
      : a_(a),
        b_(b),
        height_(height),
        width_(width),
        exact_(exact),
        threshold_(threshold),
        groups_{height, width, group_side(width, threshold)},
        bounded_(exact && threshold >= 0.3 && windows() <= 65536) {
    const double n = static_cast<double>(windows());
    enough_ = static_cast<float>(n * (1 - threshold + ssim_loss_margin) / (1 - ssim_loss_share));
    if (!bounded_) return;
    numbers_a_ = std::make_shared<SsimNumbers>(a, n_a, groups_);
    numbers_b_ = a == b ? numbers_a_ : std::make_shared<SsimNumbers>(b, n_b, groups_);
  }

  State make_state(Monitor& monitor) const {
    return {Pulse(monitor),
            Images(rows * laid_pixels(), rows * windows()),
            Images(ssim_lanes * laid_pixels(), ssim_lanes * windows()),
            AlignedScratch<std::int32_t>(columns()),
            std::vector<double>(width_ + 8),
            std::vector<double>(height_),
            std::vector<float>(bounded_ ? groups_.blocks() * 8 : 0),
            {},
            0,
            SsimNumbers::Work(bounded_ ? groups_ : SsimGroups{7, 7, 1}),
            false,
            {}};
  }

  void begin(State& state, Range r) const {
    state.rows_laid = false;
    if (bounded_) numbers_a_->prepare(r, state.work, state.pulse);
  }

  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    if (bounded_) {
      find_left(state, r, c, emit);
      if (4 * state.n_left <= r.size() * c.size()) {
        for (std::size_t k = 0; k < state.n_left; ++k)
          keep_if_above(state, r.begin + state.left[k] / cols, c.begin + state.left[k] % cols, c,
                        emit);
        return;
      }
    }
    if (!state.rows_laid) lay_rows(state, r);
    pack(state, b_, c);
    while (r.size() > 0 && !emit.wants(r.end - 1, c.end - 1)) --r.end;
    for (std::size_t i = r.begin; i < r.end; i += ssim_tile_rows) {
      score_rows(state, i - r.begin);
      for (std::size_t k = i; k < std::min(i + ssim_tile_rows, r.end); ++k)
        for (std::size_t j = c.begin; j < c.end; ++j)
          keep(state, k, j, mean_score(state, k - i, j - c.begin), emit);
    }
  }

  // The canonical score of row i of a and row j of b.
  double score(State& state, std::size_t i, std::size_t j) const {
    return pair(state, image(a_, i), image(b_, j));
  }

  // The mean loss of the windows of a pair as the bound has it before its margins, for tests.
  // Needs a bounded join.
  double mean_loss(State& state, std::size_t i, std::size_t j) const {
    const std::size_t first_i = i / ssim_lanes * ssim_lanes, first_j = j / ssim_lanes * ssim_lanes;
    numbers_a_->prepare({first_i, i + 1}, state.work, state.pulse);
    numbers_b_->prepare({first_j, j + 1}, state.work, state.pulse);
    kernels().ssim_group_losses(numbers_a_->of(i), numbers_b_->of(j), groups_.blocks(),
                                state.losses.data());
    double sum = 0.0;
    for (const float one : state.losses) sum += static_cast<double>(one);
    return sum / static_cast<double>(windows());
  }

 private:
  // Small groups bound better and cost more; measured on photos of 24 to 64 px a side.
  static std::size_t group_side(std::size_t width, double threshold) {
    return width <= 32 || threshold < 0.68 ? 3 : 4;
  }
  // What ssim_pack, ssim_tile and ssim_pair need.
  std::size_t columns() const {
    return std::max(2 * (width_ + 8), ssim_tile_rows * (ssim_strip + 8)) * ssim_lanes;
  }
  // A strip of an image, whose columns of the tile stay in the nearest cache: `width` pixels and
  // six windows less from column x on; the strips of an image lie one after the other, as if each
  // were an image.
  struct Strip {
    std::size_t x, width, pixels_before, windows_before;
  };
  std::size_t strips() const { return (width_ - 6 + ssim_strip - 1) / ssim_strip; }
  Strip strip(std::size_t k) const {
    const std::size_t across = width_ - 6, x = k * across / strips();
    return {x, (k + 1) * across / strips() - x + 6, height_ * (x + 6 * k), (height_ - 6) * x};
  }
  std::size_t laid_pixels() const { return height_ * (width_ + 6 * (strips() - 1)); }
  std::size_t pixels() const { return height_ * width_; }
  std::size_t windows() const { return (height_ - 6) * (width_ - 6); }
  const std::uint8_t* image(const std::uint8_t* images, std::size_t k) const {
    return images + k * height_ * width_;
  }
  double pair(State& state, const std::uint8_t* a, const std::uint8_t* b) const {
    state.pulse.after(8 * windows());
    return kernels().ssim_pair(a, b, height_, width_, state.column.data(),
                               state.column_score.data(), nullptr, 0.0);
  }

  // Lists the pairs of a tile that the bound leaves.
  template <class Emit>
  void find_left(State& state, Range r, Range c, const Emit& emit) const {
    numbers_b_->prepare(c, state.work, state.pulse);
    const std::int32_t* lanes[ssim_lanes];
    for (std::size_t k = 0; k < ssim_lanes; ++k)
      lanes[k] = numbers_b_->of(std::min(c.begin + k, c.end - 1));
    while (r.size() > 0 && !emit.wants(r.end - 1, c.end - 1)) --r.end;
    state.n_left = kernels().ssim_left(numbers_a_->of(r.begin), r.size(), lanes, groups_.blocks(),
                                       enough_, state.left);
    state.pulse.after(32 * r.size() * c.size() * groups_.blocks());
  }

  // Emits a pair above the threshold; gives up where the rows of windows so far and the bound of
  // the others say that it isn't.
  template <class Emit>
  void keep_if_above(State& state, std::size_t i, std::size_t j, Range c, const Emit& emit) const {
    if (j >= c.end || !emit.wants(i, j)) return;
    kernels().ssim_group_losses(numbers_a_->of(i), numbers_b_->of(j), groups_.blocks(),
                                state.losses.data());
    const std::size_t down = groups_.windows_down(), across = groups_.windows_across();
    double rest = 0.0;
    for (std::size_t y = down; y > 0; --y) {
      const std::size_t group = (y - 1) * groups_.down() / down;
      const bool last = y == down || y * groups_.down() / down != group;
      state.rest[y] = last ? rest : std::numeric_limits<double>::infinity();
      rest += static_cast<double>(across) * (1 + ssim_loss_margin);
      if (y > 1 && (y - 2) * groups_.down() / down == group) continue;
      for (std::size_t g = 0; g < groups_.across(); ++g)
        rest -=
            (1 - ssim_loss_share) * static_cast<double>(state.losses[group * groups_.across() + g]);
    }
    state.pulse.after(16 * windows());
    const double score = kernels().ssim_pair(
        image(a_, i), image(b_, j), height_, width_, state.column.data(), state.column_score.data(),
        state.rest.data(), (threshold_ - 1e-9) * static_cast<double>(windows()));
    if (score > threshold_) emit(i, j, score);
  }

  // Lays the rows of a band for the tile, in fours; the last one fills the last four.
  void lay_rows(State& state, Range r) const {
    for (std::size_t k = 0; k < rows && k / ssim_tile_rows * ssim_tile_rows < r.size(); ++k) {
      const std::size_t of = std::min(k, r.size() - 1), four = k / ssim_tile_rows * ssim_tile_rows;
      if (k % ssim_lanes == 0)
        pack(state, a_, {r.begin + k, std::min(r.end, r.begin + k + ssim_lanes)});
      kernels().ssim_unpack(state.lanes.pixel.data(), state.lanes.sum.data(),
                            state.lanes.factor.data(), of % ssim_lanes, laid_pixels(), windows(),
                            k % ssim_tile_rows, state.rows.pixel.data() + four * laid_pixels(),
                            state.rows.sum.data() + four * windows(),
                            state.rows.factor.data() + 2 * four * windows());
      state.pulse.after(4 * windows());
    }
    state.rows_laid = true;
  }

  // Lays images side by side in lanes; lanes without an image are black.
  void pack(State& state, const std::uint8_t* images, Range c) const {
    constexpr std::size_t L = ssim_lanes;
    for (std::size_t k = 0; k < strips(); ++k) {
      const Strip at = strip(k);
      const std::uint8_t* lanes[L] = {};
      for (std::size_t n = 0; n < c.size(); ++n) lanes[n] = image(images, c.begin + n) + at.x;
      kernels().ssim_pack(lanes, width_, height_, at.width, state.column.data(),
                          state.lanes.pixel.data() + L * at.pixels_before,
                          state.lanes.sum.data() + L * at.windows_before,
                          state.lanes.factor.data() + 2 * L * at.windows_before);
    }
    state.pulse.after(8 * ssim_lanes * windows());
  }

  // Scores four rows of the band, from row `first` on, against the lanes.
  void score_rows(State& state, std::size_t first) const {
    constexpr std::size_t L = ssim_lanes, R = ssim_tile_rows;
    std::fill_n(state.total, R * L, 0.0);
    for (std::size_t k = 0; k < strips(); ++k) {
      const Strip at = strip(k);
      const std::size_t window = first * windows() + R * at.windows_before;
      kernels().ssim_tile(state.rows.pixel.data() + first * laid_pixels() + R * at.pixels_before,
                          state.rows.sum.data() + window, state.rows.factor.data() + 2 * window,
                          height_, at.width, state.lanes.pixel.data() + L * at.pixels_before,
                          state.lanes.sum.data() + L * at.windows_before,
                          state.lanes.factor.data() + 2 * L * at.windows_before,
                          state.column.data(), state.total);
      state.pulse.after(R * L * (height_ - 6) * (at.width - 6));
    }
  }

  double mean_score(const State& state, std::size_t row, std::size_t lane) const {
    const double mean = state.total[row * ssim_lanes + lane] / static_cast<double>(windows());
    return static_cast<double>(static_cast<float>(mean));
  }

  template <class Emit>
  void keep(State& state, std::size_t i, std::size_t j, double score, const Emit& emit) const {
    if (exact_) {
      if (!(score > threshold_ - ssim_tile_error) || !emit.wants(i, j)) return;
      score = pair(state, image(a_, i), image(b_, j));
      if (!(score > threshold_)) return;
    }
    emit(i, j, score);
  }

  const std::uint8_t* a_;
  const std::uint8_t* b_;
  std::size_t height_, width_;
  bool exact_;
  double threshold_;
  SsimGroups groups_;
  bool bounded_;
  float enough_;
  std::shared_ptr<SsimNumbers> numbers_a_, numbers_b_;
};

}  // namespace clusterimg
