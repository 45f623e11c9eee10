// Pairs of codes by a look at all of them: through the bit-sliced filter of the kernels, or counted
// one by one where so many are near that a filter would keep too much.
//
// score = equal bits / bits, one float64 division. The threshold becomes the radius, the most bits
// that similar codes differ in, by asking that very division.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../kernels.hpp"
#include "../pairwise.hpp"
#include "counts.hpp"

namespace clusterimg {

// How all pairs are looked at; kernels/hamming_sliced.hpp has the bounds.
// Dense is for codes of one word alone, else the same as counted.
enum class Look { folded, capped, counted, dense };

// The score of each count of differing bits.
inline std::vector<double> hamming_scores(std::size_t n_words) {
  const std::size_t total = 64 * n_words;
  std::vector<double> scores(total + 1);
  for (std::size_t differing = 0; differing <= total; ++differing)
    scores[differing] = static_cast<double>(total - differing) / static_cast<double>(total);
  return scores;
}

class HammingScorer {
 public:
  static constexpr std::size_t rows = hamming_side;
  static constexpr std::size_t cols = hamming_side;

  // The most words of a code whose tables, 26 KB a word, are made.
  static constexpr std::size_t most_sliced = 256;
  // Rows counted at a time: their hits stay in the cache.
  static constexpr std::size_t counted_rows = 8;
  struct State {
    Pulse pulse;
    AlignedScratch<std::uint8_t> tables, scratch;
    Scratch<HammingHit> hits;
    std::array<std::uint64_t, hamming_side / 64> joined{};  // rows known to be of one component
  };

  HammingScorer(const std::uint64_t* a, const std::uint64_t* b, std::size_t n_words,
                double threshold)
      : a_(a),
        b_(b),
        n_words_(n_words),
        total_(static_cast<std::uint32_t>(64 * n_words)),
        least_(least_count_above(threshold, total_)),
        scores_(hamming_scores(n_words)) {}

  // Whether any codes are similar, and the most bits that they then differ in.
  bool any() const { return least_ <= total_; }
  std::size_t radius() const { return total_ - least_; }

  void look(Look look) { look_ = look == Look::dense && n_words_ > 1 ? Look::counted : look; }

  State make_state(Monitor& monitor) const {
    const bool capped = look_ == Look::capped, filtered = capped || look_ == Look::folded;
    const bool dense = look_ == Look::dense;
    const std::size_t tables = filtered ? hamming_tables_bytes(n_words_, capped)
                               : dense  ? hamming_exact_bytes
                                        : 0;
    const std::size_t queries = dense ? hamming_exact_queries : counted_rows;
    return {Pulse(monitor), AlignedScratch<std::uint8_t>(tables),
            AlignedScratch<std::uint8_t>(filtered ? hamming_scratch_bytes : 0),
            Scratch<HammingHit>(filtered ? hamming_most_hits : queries * cols + 1)};
  }

  void begin(State& state, Range r) const {
    if (!any() || look_ == Look::counted) return;
    const std::uint64_t* codes = a_ + r.begin * n_words_;
    state.joined = {};
    if (look_ == Look::dense)
      kernels().hamming_exact_table(codes, r.size(), state.tables.data());
    else
      kernels().hamming_tables(codes, r.size(), n_words_, look_ == Look::capped,
                               state.tables.data());
  }

  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    if (!any()) return;
    if (look_ == Look::counted)
      scan_counted(state, r, c, emit);
    else if (look_ == Look::dense)
      scan_dense(state, r, c, emit);
    else
      scan_sliced(state, r, c, emit);
  }

  double score(State&, std::size_t i, std::size_t j) const {
    std::uint32_t count = 0;
    kernels().hamming_tile(a_ + i * n_words_, 1, b_ + j * n_words_, 1, n_words_, &count);
    return scores_[count];
  }

 private:
  template <class Emit>
  void scan_sliced(State& state, Range r, Range c, const Emit& emit) const {
    const std::size_t n =
        kernels().hamming_hits(a_ + r.begin * n_words_, r.size(), state.tables.data(),
                               look_ == Look::capped, b_ + c.begin * n_words_, c.size(), n_words_,
                               radius(), 0, state.scratch.data(), state.hits.data());
    for (std::size_t k = 0; k < n; ++k) {
      const HammingHit hit = state.hits[k];
      emit(r.begin + hit.row, c.begin + hit.query, scores_[hit.differing]);
    }
  }

  // Where most pairs are near, those of a triangle that span its components; no others have a sink
  // that asks for this look (join.hpp).
  template <class Emit>
  void scan_dense(State& state, Range r, Range c, const Emit& emit) const {
    for (std::size_t from = c.begin; from < c.end; from += hamming_exact_queries) {
      const std::size_t n =
          kernels().hamming_spanning(a_ + r.begin, r.size(), state.tables.data(), b_ + from,
                                     std::min(hamming_exact_queries, c.end - from), radius(),
                                     state.joined.data(), state.hits.data());
      for (std::size_t k = 0; k < n; ++k) {
        const std::size_t i = r.begin + state.hits[k].row, j = from + state.hits[k].query;
        emit(std::min(i, j), std::max(i, j), scores_[state.hits[k].differing]);
      }
      state.pulse.after(64 * hamming_exact_queries + n);
    }
  }

  template <class Emit>
  void scan_counted(State& state, Range r, Range c, const Emit& emit) const {
    for (std::size_t from = r.begin; from < r.end; from += counted_rows) {
      const std::size_t n = kernels().hamming_count(
          a_ + from * n_words_, std::min(counted_rows, r.end - from), b_ + c.begin * n_words_,
          c.size(), n_words_, radius(), state.hits.data());
      for (std::size_t k = 0; k < n; ++k) {
        const HammingHit hit = state.hits[k];
        emit(from + hit.row, c.begin + hit.query, scores_[hit.differing]);
      }
      state.pulse.after(counted_rows * c.size() * n_words_);
    }
  }

  const std::uint64_t* a_;
  const std::uint64_t* b_;
  std::size_t n_words_;
  std::uint32_t total_;
  std::uint32_t least_;
  Look look_ = Look::counted;
  std::vector<double> scores_;  // by differing bits
};

}  // namespace clusterimg
