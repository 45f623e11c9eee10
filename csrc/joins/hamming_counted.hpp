// Pairs of codes by counting every one, for where so many are near that what is found costs more
// than to find it: a first pass counts the pairs of each row, a second writes each pair where it
// belongs. So an edge is written once, and memory holds the answer and nothing else.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../edge.hpp"
#include "../kernels.hpp"
#include "../pairwise.hpp"
#include "../parallel.hpp"
#include "hamming.hpp"
#include "hamming_index.hpp"

namespace clusterimg {

class HammingCount {
 public:
  HammingCount(const Codes& codes, std::size_t radius)
      : codes_(codes), radius_(radius), scores_(hamming_scores(codes.n_words)) {}

  Edges edges(int n_threads, Monitor& monitor) const {
    std::vector<std::size_t> begin(codes_.n_a + 1, 0);
    each_row(n_threads, monitor, [&](std::size_t i, Range cols, HammingHit*) {
      begin[i + 1] += kernels().hamming_tally(codes_.row(i), codes_.b + cols.begin * codes_.n_words,
                                              cols.size(), codes_.n_words, radius_);
    });
    for (std::size_t i = 0; i < codes_.n_a; ++i) begin[i + 1] += begin[i];
    Edges all(begin[codes_.n_a]);
    each_row(n_threads, monitor, [&](std::size_t i, Range cols, HammingHit* hits) {
      const std::size_t n =
          kernels().hamming_count(codes_.row(i), 1, codes_.b + cols.begin * codes_.n_words,
                                  cols.size(), codes_.n_words, radius_, hits);
      Edge* out = all.data() + begin[i];
      for (std::size_t k = 0; k < n; ++k)
        out[k] = {static_cast<std::int32_t>(i),
                  static_cast<std::int32_t>(cols.begin + hits[k].query),
                  scores_[hits[k].differing]};
      begin[i] += n;
    });
    return all;
  }

 private:
  static constexpr std::size_t rows_at_once = 32, cols_at_once = hamming_side;

  // Calls `visit` for the columns of each row, a few at a time, from left to right.
  template <class Visit>
  void each_row(int n_threads, Monitor& monitor, const Visit& visit) const {
    struct State {
      Pulse pulse;
      Scratch<HammingHit> hits;
    };
    for_each_unit(
        (codes_.n_a + rows_at_once - 1) / rows_at_once, n_threads, monitor,
        [&] { return State{Pulse(monitor), Scratch<HammingHit>(cols_at_once + 1)}; },
        [&](std::size_t band, State& state) {
          const Range r{band * rows_at_once, std::min(codes_.n_a, (band + 1) * rows_at_once)};
          const std::size_t n_cols = codes_.triangle ? codes_.n_a : codes_.n_b;
          for (std::size_t i = r.begin; i < r.end; ++i)
            for (std::size_t j = codes_.triangle ? i + 1 : 0; j < n_cols; j += cols_at_once) {
              const Range some{j, std::min(n_cols, j + cols_at_once)};
              visit(i, some, state.hits.data());
              state.pulse.after(some.size() * codes_.n_words);
            }
          const Plane plane{codes_.n_a, n_cols, codes_.triangle};
          monitor.advance(pairs_of(plane, r, {0, n_cols}) / 2);
          monitor.check();
        });
  }

  Codes codes_;
  std::size_t radius_;
  std::vector<double> scores_;
};

}  // namespace clusterimg
