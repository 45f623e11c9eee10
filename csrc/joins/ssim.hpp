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
#include "ssim_tiles.hpp"

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
  struct State {
    Pulse pulse;
    SsimTiles::Work tiles;
    std::vector<std::int32_t> column;
    std::vector<double> column_score, rest;
    std::vector<float> losses;
    std::uint16_t left[ssim_rows * ssim_lanes];
    std::size_t n_left;
    SsimNumbers::Work work;
    bool rows_laid;
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
        tiles_(height, width),
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
            tiles_.make_work(),
            std::vector<std::int32_t>(3 * (width_ + 8)),
            std::vector<double>(width_ + 8),
            std::vector<double>(height_, std::numeric_limits<double>::infinity()),
            std::vector<float>(bounded_ ? groups_.blocks() * 8 : 0),
            {},
            0,
            SsimNumbers::Work(bounded_ ? groups_ : SsimGroups{7, 7, 1}),
            false};
  }

  void begin(State& state, Range r) const {
    state.rows_laid = false;
    if (bounded_) numbers_a_->prepare(r, state.work, state.pulse);
  }

  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    if (bounded_) {
      find_left(state, r, c, emit);
      if (2 * state.n_left <= r.size() * c.size()) {
        for (std::size_t k = 0; k < state.n_left; ++k)
          keep_if_above(state, r.begin + state.left[k] / cols, c.begin + state.left[k] % cols, c,
                        emit);
        return;
      }
    }
    if (!state.rows_laid) tiles_.lay_rows(a_, r, state.tiles, state.pulse);
    state.rows_laid = true;
    while (r.size() > 0 && !emit.wants(r.end - 1, c.end - 1)) --r.end;
    tiles_.score(b_, c, r.size(), state.tiles, state.pulse);
    for (std::size_t i = r.begin; i < r.end; ++i)
      for (std::size_t j = c.begin; j < c.end; ++j)
        keep(state, i, j, tiles_.mean(state.tiles, i - r.begin, j - c.begin), emit);
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
    fill_rest(state);
    state.pulse.after(16 * windows());
    const double score = kernels().ssim_pair(
        image(a_, i), image(b_, j), height_, width_, state.column.data(), state.column_score.data(),
        state.rest.data(), (threshold_ - 1e-9) * static_cast<double>(windows()));
    if (score > threshold_) emit(i, j, score);
  }

  // What the rows of windows below each row of groups sum to at most, by the losses of the groups;
  // the entries between stay infinite.
  void fill_rest(State& state) const {
    const std::size_t down = groups_.windows_down(), across = groups_.windows_across();
    const float* losses = state.losses.data() + groups_.down() * groups_.across();
    double rest = 0.0;
    std::size_t end = down;
    for (std::size_t row = groups_.down(); row > 0; --row) {
      state.rest[end] = rest;
      const std::size_t begin = ((row - 1) * down + groups_.down() - 1) / groups_.down();
      losses -= groups_.across();
      double lost = 0.0;
      for (std::size_t g = 0; g < groups_.across(); ++g) lost += static_cast<double>(losses[g]);
      rest += static_cast<double>((end - begin) * across) * (1 + ssim_loss_margin) -
              (1 - ssim_loss_share) * lost;
      end = begin;
    }
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
  SsimTiles tiles_;
  SsimGroups groups_;
  bool bounded_;
  float enough_;
  std::shared_ptr<SsimNumbers> numbers_a_, numbers_b_;
};

}  // namespace clusterimg
