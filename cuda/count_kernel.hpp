// What the kernels of counted parts share on the host: which pairs are similar, and whether all are
// counted or sieved first. Included by their *.cu alone.
#pragma once
#include <algorithm>
#include <cmath>

#include "joins/counts.hpp"
#include "launch.hpp"
#include "runtime.hpp"
#include "sieve.cuh"

namespace clusterimg::cuda {

// How sketches are folded; `joined` 0: all pairs are counted.
struct Fold {
  unsigned folded, joined;
};
constexpr Fold count_all{0, 0};
constexpr Fold folds[] = {{2, 2}, {2, 1}, {4, 1}};

struct Sketched {
  std::uint32_t n_words;  // of a sketch
  std::uint32_t n_bits;   // of its folds
  double set;             // chance that a bit of a fold is set, of two items that are not similar
};

// What a pair costs, in operations of which a multiprocessor does 64 at a time. It does 16 POPCs,
// and the sums go by its other 64. How alike pairs are is a guess: a wrong one costs time, never a
// pair.
inline double sieve_cost(Fold fold, Sketched sketched, std::uint32_t radius,
                         std::uint32_t item_words) {
  const double set = std::pow(sketched.set, fold.joined), n_bits = sketched.n_bits;
  const double mean = n_bits * set, spread = std::sqrt(n_bits * set * (1 - set)) + 1e-9;
  const double left = std::erfc((mean - radius - 0.5) / spread / std::sqrt(2.0)) / 2;
  if (left > 0.1) return 1e300;  // near sieve_few
  // Blocks stop at a chunk where all their pairs are above the radius.
  const double share = std::min(1.0, (radius + 5 * spread) / mean);
  const double words = std::min<double>(
      sketched.n_words, std::ceil(share * sketched.n_words / chunk_words) * chunk_words);
  const double of_fold = std::max(fold.folded + 0.5 * (fold.joined - 1), 4.0 / fold.joined);
  const double alone = item_words > sieve_short ? 1000 + 4.0 * item_words : 100 + 8.0 * item_words;
  return std::ceil(words / fold.folded) * of_fold + left * alone;
}

// All pairs counted, with two operations a word or slot, and given to the sink.
inline double count_cost(std::uint32_t n_words) { return 2.0 * n_words + 20; }

inline unsigned n_multiprocessors() {
  int device = 0, n = 0;
  check(cudaGetDevice(&device), "no device");
  check(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, device), "no such device");
  return static_cast<unsigned>(n);
}

template <class Counter>
class CountKernel : public Kernel {
 public:
  // Items of n_words words and that many parts.
  CountKernel(std::uint32_t n_words, std::uint32_t total, double threshold)
      : n_words_(n_words), total_(total), least_(least_count_above(threshold, total)) {}

  std::int32_t tile() const override { return count_side; }
  double operations(double, double) const override { return cost_; }

  void score(const Block& a, const Block& b, const Pairs& pairs, const Sink& sink,
             cudaStream_t stream) const override {
    if (sink.keep != Keep::matrix && !any()) return;
    const Words rows = words_of(a.values, n_words_, pairs.row, pairs.n_rows);
    const Words cols = words_of(b.values, n_words_, pairs.col, pairs.n_cols);
    const Counts counts{total_, radius()};
    if (sink.keep == Keep::matrix || fold_.joined == 0) {
      launch(count_pairs<Counter>, squares(pairs, count_side, 1), tile_threads, stream, rows, cols,
             counts, pairs, sink);
      return;
    }
    const auto sieve = fold_.folded == 4   ? sieve_pairs<Counter, 4, 1>
                       : fold_.joined == 2 ? sieve_pairs<Counter, 2, 2>
                                           : sieve_pairs<Counter, 2, 1>;
    // Several squares a block, where that leaves all multiprocessors enough of them.
    const dim3 all = squares(pairs, sieve_side, 1);
    const unsigned strip = std::clamp(all.x * all.y / (16 * n_multiprocessors()), 1U, 16U);
    const auto sketch_words = sketched(fold_.folded).n_words;
    launch(sieve, squares(pairs, sieve_side, strip), tile_threads, stream,
           words_of(sketches(a), sketch_words, pairs.row, pairs.n_rows),
           words_of(sketches(b), sketch_words, pairs.col, pairs.n_cols), rows, cols, strip, counts,
           pairs, sink);
  }

 protected:
  Fold fold() const { return fold_; }
  std::uint32_t n_words() const { return n_words_; }
  std::uint32_t total() const { return total_; }

  // Chooses how pairs are looked at.
  void choose() {
    cost_ = count_cost(n_words_);
    if (!any()) return;
    for (const Fold fold : folds) {
      const Sketched with = sketched(fold.folded);
      const double cost = sieve_cost(fold, with, radius(), n_words_);
      if (cost >= cost_ || with.n_bits > sieve_most_bits || radius() >= sieve_most_bits) continue;
      cost_ = cost;
      fold_ = fold;
    }
  }

 private:
  virtual Sketched sketched(unsigned folded) const = 0;
  virtual const void* sketches(const Block& block) const = 0;

  bool any() const { return least_ <= total_; }
  std::uint32_t radius() const { return any() ? total_ - least_ : 0; }

  static Words words_of(const void* values, std::uint32_t n_words, std::int32_t first,
                        std::int32_t n) {
    const auto* words = static_cast<const std::uint32_t*>(values);
    return {words + static_cast<std::size_t>(first) * n_words, static_cast<std::uint32_t>(n),
            n_words};
  }
  static dim3 squares(const Pairs& pairs, std::size_t side, std::size_t strip) {
    return {blocks_of(static_cast<std::size_t>(pairs.n_cols), side * strip),
            blocks_of(static_cast<std::size_t>(pairs.n_rows), side)};
  }

  std::uint32_t n_words_, total_, least_;
  Fold fold_ = count_all;
  double cost_ = 1;
};

}  // namespace clusterimg::cuda
