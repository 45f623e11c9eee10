// Template matching of images of one size, by exact integer sums: the score is the canonical one at
// once.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../kernels.hpp"
#include "../pairwise.hpp"

namespace clusterimg {

class TemplateScorer {
 public:
  static constexpr std::size_t rows = 128;
  static constexpr std::size_t cols = 64;
  // Pieces of at most n images for the tile of dot products, with the sums that go with them.
  struct Spread {
    Scratch<std::int16_t> memory;
    std::int16_t* greys;  // (n_pieces, n, stride), at a line of the cache: no load meets two
    std::vector<double> energy, pairs;
    Spread(std::size_t n_pieces, std::size_t n)
        : memory(n_pieces * n * stride + 32), greys(memory.data()), energy(n), pairs(n) {
      while (reinterpret_cast<std::uintptr_t>(greys) % 64 != 0) ++greys;
    }
  };
  struct State {
    Pulse pulse;
    Spread rows, cols;
    std::vector<double> dots, scores;
  };

  TemplateScorer(const std::uint8_t* a, const std::uint8_t* b, std::size_t n_pixels,
                 double threshold)
      : a_(a), b_(b), n_pixels_(n_pixels), threshold_(threshold) {}

  State make_state(Monitor& monitor) const {
    return {Pulse(monitor), Spread(std::min(n_pieces(), kept_pieces), rows), Spread(1, cols),
            std::vector<double>(rows * cols), std::vector<double>(cols)};
  }

  void begin(State& state, Range r) const {
    start(state.rows);
    if (n_pieces() > kept_pieces) return;
    for (std::size_t piece = 0; piece < n_pieces(); ++piece)
      spread(state, a_, r, piece, state.rows, piece);
  }

  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    multiply(state, r, c, emit);
    for (std::size_t i = 0; i < r.size(); ++i) {
      kernels().template_row(state.rows.energy[i], state.rows.pairs[i], state.cols.energy.data(),
                             state.cols.pairs.data(), &state.dots[i * cols], c.size(),
                             state.scores.data());
      for (std::size_t j = 0; j < c.size(); ++j)
        if (state.scores[j] > threshold_) emit(r.begin + i, c.begin + j, state.scores[j]);
    }
  }

  double score(State& state, std::size_t i, std::size_t j) const {
    const std::uint8_t *a = a_ + i * n_pixels_, *b = b_ + j * n_pixels_;
    double energy_a = 0, energy_b = 0, dot = 0, out = 0;
    for (std::size_t p = 0; p < n_pixels_; p += dot_block) {
      const std::size_t n = std::min(dot_block, n_pixels_ - p);
      energy_a += kernels().grey_dot(a + p, n, a + p, n, 1, n);
      energy_b += kernels().grey_dot(b + p, n, b + p, n, 1, n);
      dot += kernels().grey_dot(a + p, n, b + p, n, 1, n);
      state.pulse.after(n);
    }
    kernels().template_row(energy_a, energy_a, &energy_b, &energy_b, &dot, 1, &out);
    return out;
  }

 private:
  // Rows of a spread start apart from each other in the banks of the first cache.
  static constexpr std::size_t stride = dot_piece + 32;
  static constexpr std::size_t kept_pieces = 16;  // of a band of rows: 2 MB
  static constexpr std::size_t strip = 16;        // rows of a tile that stay in the first cache

  std::size_t n_pieces() const { return (n_pixels_ + dot_piece - 1) / dot_piece; }

  static void start(Spread& out) {
    std::fill(out.energy.begin(), out.energy.end(), 0.0);
    std::fill(out.pairs.begin(), out.pairs.end(), 0.0);
  }

  // Spreads a piece of some images into place `at`, and black up to a multiple of four images.
  void spread(State& state, const std::uint8_t* images, Range range, std::size_t piece, Spread& out,
              std::size_t at) const {
    const std::size_t n = std::min(dot_piece, n_pixels_ - piece * dot_piece);
    std::int16_t* to = out.greys + at * rows * stride;
    const std::uint8_t* from = images + range.begin * n_pixels_ + piece * dot_piece;
    for (std::size_t k = 0; k < range.size(); ++k)
      kernels().spread_greys(from + k * n_pixels_, n, to + k * stride, &out.energy[k],
                             &out.pairs[k]);
    for (std::size_t k = range.size(); k % 4 != 0; ++k) std::fill_n(to + k * stride, stride, 0);
    state.pulse.after(range.size() * n);
  }

  // The sums of a tile, but of no block of 4 columns that lies below the diagonal as a whole.
  template <class Emit>
  void multiply(State& state, Range r, Range c, const Emit& emit) const {
    const bool kept = n_pieces() <= kept_pieces;
    start(state.cols);
    if (!kept) start(state.rows);
    std::fill(state.dots.begin(), state.dots.end(), 0.0);
    for (std::size_t piece = 0; piece < n_pieces(); ++piece) {
      if (!kept) spread(state, a_, r, piece, state.rows, 0);
      spread(state, b_, c, piece, state.cols, 0);
      const std::size_t n = std::min(dot_piece, (n_pixels_ - piece * dot_piece + 31) / 32 * 32);
      const std::int16_t* a = state.rows.greys + (kept ? piece * rows * stride : 0);
      for (std::size_t i = 0; i < r.size(); i += strip) {
        std::size_t j = 0;
        while (j < c.size() && !emit.wants(r.begin + i, std::min(c.begin + j + 4, c.end) - 1))
          j += 4;
        const std::size_t n_a = std::min(strip, r.size() - i);
        kernels().dot_tile(a + i * stride, n_a + n_a % 2, state.cols.greys + j * stride,
                           (c.size() - std::min(j, c.size()) + 3) / 4 * 4, stride, n,
                           &state.dots[i * cols + j], cols);
        state.pulse.after(n_a * c.size() * n / 16);
      }
    }
  }

  const std::uint8_t* a_;
  const std::uint8_t* b_;
  std::size_t n_pixels_;
  double threshold_;
};

}  // namespace clusterimg
