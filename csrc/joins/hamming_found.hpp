// Pairs of codes found by the bit-sliced filter, as edges. What is found is kept in half the bytes
// of an edge until all is found and counted; then each edge is written where it belongs, once.
//
// 256 rows lie in the bits of registers and all columns are looked up in them, so that a band of
// rows is found whole and the columns of each row come by rising number.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "../edge.hpp"
#include "../kernels.hpp"
#include "../pairwise.hpp"
#include "../parallel.hpp"
#include "hamming.hpp"
#include "hamming_index.hpp"

namespace clusterimg {

class HammingFound {
 public:
  HammingFound(const Codes& codes, std::size_t radius, Look look)
      : codes_(codes),
        radius_(radius),
        capped_(look == Look::capped),
        parts_((codes.n_a + hamming_side - 1) / hamming_side),
        scores_(hamming_scores(codes.n_words)) {}

  Edges edges(int n_threads, Monitor& monitor) {
    for_each_unit(
        parts_.size(), n_threads, monitor, [&] { return State(codes_.n_words, capped_, monitor); },
        [&](std::size_t band, State& state) { find(band, state, monitor); });
    std::vector<std::size_t> begin(parts_.size() + 1, 0);
    for (std::size_t band = 0; band < parts_.size(); ++band) {
      begin[band + 1] = begin[band];
      for (const Part& part : parts_[band]) begin[band + 1] += part.n;
    }
    Edges all(begin[parts_.size()]);
    for_each_unit(
        parts_.size(), n_threads, monitor, [&] { return Pulse(monitor); },
        [&](std::size_t band, Pulse& pulse) { write(band, all.data() + begin[band], pulse); });
    return all;
  }

 private:
  // A query has a number of 16 bits: so many columns are numbered from one on.
  static constexpr std::size_t cols_at_once = 1 << 16;

  // What a band of rows found in some columns: a hit's row is that in the band, its query the
  // column from `col` on.
  struct Part {
    std::size_t col;
    const HammingHit* found;
    std::size_t n;
  };
  using Chunk = std::vector<HammingHit, LargeAllocator<HammingHit>>;

  struct State {
    State(std::size_t n_words, bool capped, Monitor& monitor)
        : pulse(monitor),
          tables(hamming_tables_bytes(n_words, capped)),
          scratch(hamming_scratch_bytes) {}
    Pulse pulse;
    AlignedScratch<std::uint8_t> tables, scratch;
    HammingHit* at = nullptr;  // where there is room
    std::size_t room = 0, chunk = 2 * hamming_most_hits;
  };

  // Finds the pairs of a band of rows, some columns at a time.
  void find(std::size_t band, State& state, Monitor& monitor) {
    const Range rows{band * hamming_side, std::min(codes_.n_a, (band + 1) * hamming_side)};
    kernels().hamming_tables(codes_.row(rows.begin), rows.size(), codes_.n_words, capped_,
                             state.tables.data());
    const std::size_t begin = codes_.triangle ? rows.begin : 0;
    const std::size_t end = codes_.triangle ? codes_.n_a : codes_.n_b;
    for (std::size_t j = begin; j < end; j += hamming_side) {
      const Range cols{j, std::min(end, j + hamming_side)};
      const std::size_t first = (j - begin) % cols_at_once;
      if (state.room < hamming_most_hits) more_room(state);
      std::size_t n =
          kernels().hamming_hits(codes_.row(rows.begin), rows.size(), state.tables.data(), capped_,
                                 codes_.b + j * codes_.n_words, cols.size(), codes_.n_words,
                                 radius_, first, state.scratch.data(), state.at);
      if (codes_.triangle && j == begin) n = above_diagonal(state.at, n);
      keep(state, n, j - first, parts_[band]);
      monitor.advance(pairs_of({codes_.n_a, codes_.n_b, codes_.triangle}, rows, cols));
      state.pulse.after(16 * codes_.n_words * cols.size() + n);
    }
  }

  // Leaves the hits above the diagonal.
  static std::size_t above_diagonal(HammingHit* hits, std::size_t n) {
    const auto is_not = [](const HammingHit& hit) { return hit.query <= hit.row; };
    return static_cast<std::size_t>(std::remove_if(hits, hits + n, is_not) - hits);
  }

  // Adds n hits, which stand where there was room, to the parts of a band.
  static void keep(State& state, std::size_t n, std::size_t col, std::vector<Part>& parts) {
    if (n == 0) return;
    const HammingHit* const found = state.at;
    state.at += n;
    state.room -= n;
    if (!parts.empty() && parts.back().col == col && parts.back().found + parts.back().n == found)
      parts.back().n += n;
    else
      parts.push_back({col, found, n});
  }

  // Chunks grow, so that a small join touches little memory and a large one has large pages.
  void more_room(State& state) {
    constexpr std::size_t largest = 16 * hamming_most_hits;
    state.room = state.chunk;
    state.chunk = std::min(largest, 4 * state.chunk);
    Chunk chunk(state.room);
    state.at = chunk.data();
    const std::lock_guard<std::mutex> hold(guard_);
    chunks_.push_back(std::move(chunk));
  }

  // Writes the edges of a band.
  void write(std::size_t band, Edge* out, Pulse& pulse) const {
    std::array<std::size_t, hamming_side> n{};
    for (const Part& part : parts_[band]) {
      for (std::size_t k = 0; k < part.n; ++k) ++n[part.found[k].row];
      pulse.after(2 * part.n);
    }
    std::array<Edge*, hamming_side> at;
    for (std::size_t r = 0; r < hamming_side; ++r) at[r] = out, out += n[r];
    const double* scores = scores_.data();
    const std::size_t first = band * hamming_side;
    for (const Part& part : parts_[band]) {
      for (std::size_t k = 0; k < part.n; ++k) {
        const HammingHit hit = part.found[k];
        *at[hit.row]++ = {static_cast<std::int32_t>(first + hit.row),
                          static_cast<std::int32_t>(part.col + hit.query), scores[hit.differing]};
      }
      pulse.after(4 * part.n);
    }
  }

  Codes codes_;
  std::size_t radius_;
  bool capped_;
  std::vector<std::vector<Part>> parts_;  // for each 256 rows, by rising column
  std::vector<double> scores_;
  std::vector<Chunk> chunks_;
  std::mutex guard_;
};

}  // namespace clusterimg
