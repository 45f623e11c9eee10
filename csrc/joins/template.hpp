// Template matching of images of one size, by exact integer sums: the score is the canonical one at
// once.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../kernels.hpp"
#include "../pairwise.hpp"
#include "sketch.hpp"

namespace clusterimg {

class TemplateScorer {
 public:
  static constexpr std::size_t rows = 128;
  static constexpr std::size_t cols = 64;
  // Pieces of at most n images for the tile of dot products, with the sums that go with them.
  struct Spread {
    AlignedScratch<std::int16_t> memory;
    std::int16_t* greys;  // (n_pieces, n, dot_stride)
    std::vector<double> energy, pairs;
    Spread(std::size_t n_pieces, std::size_t n)
        : memory(n_pieces * n * dot_stride), greys(memory.data()), energy(n), pairs(n) {}
  };
  struct State {
    Pulse pulse;
    Spread rows, cols;
    std::vector<double> dots, scores;
    std::vector<std::int32_t> products;  // of sketches
    std::vector<std::uint32_t> hits;  // columns that sketches leave open, of one row after another
    std::vector<std::size_t> ends;    // of each row's hits
    bool begun;                       // whether the band's rows are spread
  };

  TemplateScorer(const std::uint8_t* a, const std::uint8_t* b, std::size_t n_pixels,
                 double threshold)
      : a_(a), b_(b), n_pixels_(n_pixels), threshold_(threshold) {}

  // From now on pairs are passed over that sketches show not to be above the threshold.
  void use(const Sketches& a, const Sketches& b) {
    sketches_a_ = &a;
    sketches_b_ = &b;
  }

  State make_state(Monitor& monitor) const {
    return {Pulse(monitor),
            Spread(std::min(n_pieces(), kept_pieces), rows),
            Spread(1, cols),
            std::vector<double>(rows * cols),
            std::vector<double>(cols),
            std::vector<std::int32_t>(cols),
            std::vector<std::uint32_t>(rows * cols),
            std::vector<std::size_t>(rows),
            false};
  }

  void begin(State& state, Range) const { state.begun = false; }

  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    if (sketches_a_ != nullptr && 2 * filter(state, r, c, emit) < r.size() * c.size())
      score_hits(state, r, c, emit);
    else
      score_all(state, r, c, emit);
  }

  double score(State& state, std::size_t i, std::size_t j) const {
    const std::uint8_t *a = a_ + i * n_pixels_, *b = b_ + j * n_pixels_;
    if (a == b) return 1.0;  // no distance: no error, whatever the norm
    return score_of(dot(state, a, a), dot(state, b, b), dot(state, a, b));
  }

 private:
  static constexpr std::size_t kept_pieces = 16;  // of a band of rows: 2 MB
  // Rows of a tile that stay in the second cache; fewer at the diagonal, where they begin later.
  static constexpr std::size_t strip = 64;
  static constexpr std::size_t strip_at_diagonal = 16;

  static double score_of(double energy_a, double energy_b, double dot) {
    double out = 0;  // with a sum of squares for that of pairs it takes a common dot product
    kernels().template_row(energy_a, energy_a, &energy_b, &energy_b, &dot, 1, &out);
    return out;
  }

  double dot(State& state, const std::uint8_t* a, const std::uint8_t* b) const {
    double sum = 0;
    for (std::size_t p = 0; p < n_pixels_; p += dot_block) {
      const std::size_t n = std::min(dot_block, n_pixels_ - p);
      sum += kernels().grey_dot(a + p, b + p, n);
      state.pulse.after(n);
    }
    return sum;
  }

  // Finds the pairs of a tile that sketches leave open; returns how many.
  template <class Emit>
  std::size_t filter(State& state, Range r, Range c, const Emit& emit) const {
    const float most = static_cast<float>(1.0 - threshold_ + sketch_slack);
    std::size_t n = 0;
    for (std::size_t i = r.begin; i < r.end; ++i) {
      if (emit.wants(i, c.end - 1)) {
        kernels().sketch_row(sketches_a_->row(i), sketches_b_->lanes(c.begin),
                             (c.size() + 15) / 16 * 16, state.products.data());
        n += kernels().sketch_hits(state.products.data(), c.size(), *sketches_a_->roots(i),
                                   *sketches_a_->inverses(i), sketches_b_->roots(c.begin),
                                   sketches_b_->inverses(c.begin), most, state.hits.data() + n);
      }
      state.ends[i - r.begin] = n;
    }
    return n;
  }

  template <class Emit>
  void score_hits(State& state, Range r, Range c, const Emit& emit) const {
    for (std::size_t i = r.begin, hit = 0; i < r.end; ++i)
      for (; hit < state.ends[i - r.begin]; ++hit) {
        const std::size_t j = c.begin + state.hits[hit];
        if (!emit.wants(i, j)) continue;
        const double s = score_of(*sketches_a_->energies(i), *sketches_b_->energies(j),
                                  dot(state, a_ + i * n_pixels_, b_ + j * n_pixels_));
        if (s > threshold_) emit(i, j, s);
      }
  }

  template <class Emit>
  void score_all(State& state, Range r, Range c, const Emit& emit) const {
    if (!state.begun) spread_rows(state, r);
    multiply(state, r, c, emit);
    for (std::size_t i = 0; i < r.size(); ++i) {
      kernels().template_row(state.rows.energy[i], state.rows.pairs[i], state.cols.energy.data(),
                             state.cols.pairs.data(), &state.dots[i * cols], c.size(),
                             state.scores.data());
      for (std::size_t j = 0; j < c.size(); ++j)
        if (state.scores[j] > threshold_) emit(r.begin + i, c.begin + j, state.scores[j]);
    }
  }

  void spread_rows(State& state, Range r) const {
    start(state.rows);
    for (std::size_t piece = 0; piece < n_pieces() && n_pieces() <= kept_pieces; ++piece)
      spread(state, a_, r, piece, state.rows, piece);
    state.begun = true;
  }

  std::size_t n_pieces() const { return (n_pixels_ + dot_piece - 1) / dot_piece; }

  static void start(Spread& out) {
    std::fill(out.energy.begin(), out.energy.end(), 0.0);
    std::fill(out.pairs.begin(), out.pairs.end(), 0.0);
  }

  // Spreads a piece of some images into place `at`, and black up to a multiple of four images.
  void spread(State& state, const std::uint8_t* images, Range range, std::size_t piece, Spread& out,
              std::size_t at) const {
    const std::size_t n = std::min(dot_piece, n_pixels_ - piece * dot_piece);
    std::int16_t* to = out.greys + at * rows * dot_stride;
    const std::uint8_t* from = images + range.begin * n_pixels_ + piece * dot_piece;
    for (std::size_t k = 0; k < range.size(); ++k) {
      // A piece is too short for the CPU to see which memory comes next.
      for (std::size_t p = 0; p < n && k + 2 < range.size(); p += 64)
        __builtin_prefetch(from + (k + 2) * n_pixels_ + p);
      kernels().spread_greys(from + k * n_pixels_, n, to + k * dot_stride, &out.energy[k],
                             &out.pairs[k]);
    }
    for (std::size_t k = range.size(); k % 4 != 0; ++k)
      std::fill_n(to + k * dot_stride, dot_stride, 0);
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
      const std::int16_t* a = state.rows.greys + (kept ? piece * rows * dot_stride : 0);
      const std::size_t rows_of_strip = emit.wants(r.end - 1, c.begin) ? strip : strip_at_diagonal;
      for (std::size_t i = 0; i < r.size(); i += rows_of_strip) {
        std::size_t j = 0;
        while (j < c.size() && !emit.wants(r.begin + i, std::min(c.begin + j + 4, c.end) - 1))
          j += 4;
        const std::size_t n_a = std::min(rows_of_strip, r.size() - i);
        kernels().dot_tile(a + i * dot_stride, n_a + n_a % 2, state.cols.greys + j * dot_stride,
                           (c.size() - std::min(j, c.size()) + 3) / 4 * 4, n,
                           &state.dots[i * cols + j], cols);
        state.pulse.after(n_a * c.size() * n / 16);
      }
    }
  }

  const std::uint8_t* a_;
  const std::uint8_t* b_;
  std::size_t n_pixels_;
  double threshold_;
  const Sketches* sketches_a_ = nullptr;
  const Sketches* sketches_b_ = nullptr;
};

// The pairs of a plane above a threshold, most of which sketches may show to be unlike.
template <class Sink>
void score_sketched(TemplateScorer scorer, const std::uint8_t* a, const std::uint8_t* b,
                    std::size_t height, std::size_t width, const Plane& plane, Sink& sink,
                    int n_threads, Monitor& monitor) {
  const Sketches rows(a, plane.n_rows, height, width, n_threads, monitor);
  if (plane.triangle) {
    scorer.use(rows, rows);
    score_pairs(plane, scorer, sink, n_threads, monitor);
    return;
  }
  const Sketches cols(b, plane.n_cols, height, width, n_threads, monitor);
  scorer.use(rows, cols);
  score_pairs(plane, scorer, sink, n_threads, monitor);
}

}  // namespace clusterimg
