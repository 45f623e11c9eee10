// Pairs of codes found by the bit-sliced filter, as edges. What is found is kept in half the bytes
// of an edge until all is found and counted; then each edge is written where it belongs, once.
#pragma once
#include <algorithm>
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
        parts_((n_cols() + hamming_side - 1) / hamming_side),
        band_rows_(rows_of_a_band(codes.n_a)),
        scores_(hamming_scores(codes.n_words)) {}

  Edges edges(int n_threads, Monitor& monitor) {
    for_each_unit(
        parts_.size(), n_threads, monitor, [&] { return State(codes_.n_words, capped_, monitor); },
        [&](std::size_t unit, State& state) {
          find(parts_.size() - 1 - unit, state, monitor);  // in a triangle the largest first
        });
    const std::size_t n_bands = (codes_.n_a + band_rows_ - 1) / band_rows_;
    std::vector<std::size_t> begin(n_bands + 1, 0);
    for (const std::vector<Part>& block : parts_)
      for (const Part& part : block) begin[part.band + 1] += part.n;
    for (std::size_t band = 0; band < n_bands; ++band) begin[band + 1] += begin[band];
    Edges all(begin[n_bands]);
    for_each_unit(
        n_bands, n_threads, monitor, [&] { return Pulse(monitor); },
        [&](std::size_t band, Pulse& pulse) { write(band, all.data() + begin[band], pulse); });
    return all;
  }

 private:
  // What a block found in a band of rows, or the beginning or end of it: a hit's row is the column
  // in the block, its query the row in the band.
  struct Part {
    std::size_t band;
    const HammingHit* found;
    std::size_t n;
  };
  using Chunk = std::vector<HammingHit, LargeAllocator<HammingHit>>;

  struct State {
    State(std::size_t n_words, bool capped, Monitor& monitor)
        : pulse(monitor),
          tables(hamming_tables_bytes(n_words, capped)),
          scratch(hamming_scratch_bytes),
          hits(hamming_most_hits) {}
    Pulse pulse;
    AlignedScratch<std::uint8_t> tables, scratch;
    Scratch<HammingHit> hits;
    HammingHit* at = nullptr;  // where there is room
    std::size_t room = 0, chunk = std::size_t{1} << 12;
  };

  // Some bands, of whole tiles of rows: what lists the parts grows with the columns alone. A row in
  // a band has a number of 16 bits.
  static std::size_t rows_of_a_band(std::size_t n_rows) {
    constexpr std::size_t some_bands = 256, most_tiles = (1 << 16) / hamming_side;
    const std::size_t n_tiles = (n_rows + hamming_side - 1) / hamming_side;
    const std::size_t tiles = std::max<std::size_t>(1, (n_tiles + some_bands - 1) / some_bands);
    return std::min(tiles, most_tiles) * hamming_side;
  }

  std::size_t n_cols() const { return codes_.triangle ? codes_.n_a : codes_.n_b; }

  // Finds the pairs of a block of columns, some rows at a time.
  void find(std::size_t block, State& state, Monitor& monitor) {
    const Range cols{block * hamming_side, std::min(n_cols(), (block + 1) * hamming_side)};
    const std::uint64_t* codes = codes_.b + cols.begin * codes_.n_words;
    kernels().hamming_tables(codes, cols.size(), codes_.n_words, capped_, state.tables.data());
    const std::size_t end = codes_.triangle ? cols.end : codes_.n_a;
    for (std::size_t i = 0; i < end; i += hamming_side) {
      const Range rows{i, std::min(end, i + hamming_side)};
      std::size_t n = kernels().hamming_hits(
          codes, cols.size(), state.tables.data(), capped_, codes_.row(i), rows.size(),
          codes_.n_words, radius_, i % band_rows_, state.scratch.data(), state.hits.data());
      if (codes_.triangle && i == cols.begin) n = later(state.hits.data(), n, i % band_rows_);
      keep(state, n, i / band_rows_, parts_[block]);
      monitor.advance(pairs_of({codes_.n_a, n_cols(), codes_.triangle}, rows, cols));
      state.pulse.after(16 * codes_.n_words * rows.size() + n);
    }
  }

  // Leaves the hits above the diagonal.
  static std::size_t later(HammingHit* hits, std::size_t n, std::size_t first) {
    const auto not_later = [first](const HammingHit& hit) { return first + hit.row <= hit.query; };
    return static_cast<std::size_t>(std::remove_if(hits, hits + n, not_later) - hits);
  }

  // Adds n hits to the parts of a block.
  void keep(State& state, std::size_t n, std::size_t band, std::vector<Part>& parts) {
    if (n == 0) return;
    if (state.room < n) more_room(state, n);
    HammingHit* const to = state.at;
    std::copy_n(state.hits.data(), n, to);
    state.at += n;
    state.room -= n;
    if (!parts.empty() && parts.back().band == band && parts.back().found + parts.back().n == to)
      parts.back().n += n;
    else
      parts.push_back({band, to, n});
  }

  // Chunks grow, so that a small join touches little memory and a large one has large pages.
  void more_room(State& state, std::size_t n) {
    constexpr std::size_t largest = std::size_t{1} << 19;
    state.room = std::max(state.chunk, n);
    state.chunk = std::min(largest, 4 * state.chunk);
    Chunk chunk(state.room);
    state.at = chunk.data();
    const std::lock_guard<std::mutex> hold(guard_);
    chunks_.push_back(std::move(chunk));
  }

  template <class Visit>
  void each_part(std::size_t band, Pulse& pulse, const Visit& visit) const {
    const auto before = [](const Part& part, std::size_t number) { return part.band < number; };
    for (std::size_t block = 0; block < parts_.size(); ++block) {
      const std::vector<Part>& parts = parts_[block];
      auto part = std::lower_bound(parts.begin(), parts.end(), band, before);
      for (; part != parts.end() && part->band == band; ++part) {
        visit(block * hamming_side, *part);
        pulse.after(4 * part->n);
      }
      pulse.after(16);
    }
  }

  // Writes the edges of a band: those of a row come by rising block, and there by rising column.
  void write(std::size_t band, Edge* out, Pulse& pulse) const {
    std::vector<Edge*> at(band_rows_ + 1, out);
    std::vector<std::size_t> n(band_rows_, 0);
    each_part(band, pulse, [&n](std::size_t, const Part& part) {
      for (std::size_t k = 0; k < part.n; ++k) ++n[part.found[k].query];
    });
    for (std::size_t r = 0; r < band_rows_; ++r) at[r + 1] = at[r] + n[r];
    const double* scores = scores_.data();
    each_part(band, pulse, [&](std::size_t col, const Part& part) {
      for (std::size_t k = 0; k < part.n; ++k) {
        const HammingHit hit = part.found[k];
        *at[hit.query]++ = {static_cast<std::int32_t>(band * band_rows_ + hit.query),
                            static_cast<std::int32_t>(col + hit.row), scores[hit.differing]};
      }
    });
  }

  Codes codes_;
  std::size_t radius_;
  bool capped_;
  std::vector<std::vector<Part>> parts_;  // for each 256 columns, by rising row
  std::size_t band_rows_;
  std::vector<double> scores_;
  std::vector<Chunk> chunks_;
  std::mutex guard_;
};

}  // namespace clusterimg
