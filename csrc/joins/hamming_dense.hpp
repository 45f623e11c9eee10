// Pairs of codes of one word, where so many are near that to write them is most of the work. A
// first pass finds them, as bits; a second writes each edge where it belongs, once, row after row.
//
// The bits take an eighth of a byte for each pair: where one pair in 64 is near or more, and no
// others are looked for here, that is at most half of what the edges take.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../edge.hpp"
#include "../kernels.hpp"
#include "../pairwise.hpp"
#include "../parallel.hpp"
#include "hamming.hpp"
#include "hamming_index.hpp"

namespace clusterimg {

class HammingDense {
 public:
  static constexpr double least_share = 1.0 / 64;

  HammingDense(const Codes& codes, std::size_t radius)
      : codes_(codes),
        radius_(radius),
        n_bands_((codes.n_a + hamming_side - 1) / hamming_side),
        near_(n_bands_ + 1) {
    const std::size_t n_blocks = (n_cols() + hamming_side - 1) / hamming_side;
    std::size_t n = 0;
    for (std::size_t block = 0; block < n_blocks; ++block) n += rows_of(block) * words;
    masks_.resize(n);
    std::uint64_t* at = masks_.data();
    for (std::size_t block = 0; block < n_blocks; ++block) {
      blocks_.push_back(at);
      at += rows_of(block) * words;
    }
    const std::vector<double> scores = hamming_scores(1);
    scores_.resize(scores.size());
    std::memcpy(scores_.data(), scores.data(), scores.size() * sizeof(double));
  }

  Edges edges(int n_threads, Monitor& monitor) {
    for_each_unit(
        blocks_.size(), n_threads, monitor,
        [&] { return State{Pulse(monitor), AlignedScratch<std::uint8_t>(hamming_exact_bytes)}; },
        [&](std::size_t unit, State& state) {
          find(blocks_.size() - 1 - unit, state, monitor);  // in a triangle the largest first
        });
    for (std::size_t band = 0; band < n_bands_; ++band) near_[band + 1] += near_[band];
    Edges all(near_[n_bands_]);
    for_each_unit(
        n_bands_, n_threads, monitor, [&] { return Pulse(monitor); },
        [&](std::size_t band, Pulse& pulse) { write(band, all.data(), pulse); });
    return all;
  }

 private:
  static constexpr std::size_t words = hamming_side / 64;
  struct State {
    Pulse pulse;
    AlignedScratch<std::uint8_t> table;
  };

  std::size_t n_cols() const { return codes_.triangle ? codes_.n_a : codes_.n_b; }
  std::size_t rows_of(std::size_t block) const {
    return codes_.triangle ? std::min(codes_.n_a, (block + 1) * hamming_side) : codes_.n_a;
  }

  // Finds the pairs of a block of columns, a band of rows at a time.
  void find(std::size_t block, State& state, Monitor& monitor) {
    const Range cols{block * hamming_side, std::min(n_cols(), (block + 1) * hamming_side)};
    kernels().hamming_exact_table(codes_.b + cols.begin, cols.size(), state.table.data());
    for (std::size_t i = 0; i < rows_of(block); i += hamming_side) {
      const Range rows{i, std::min(rows_of(block), i + hamming_side)};
      near_[i / hamming_side + 1] += kernels().hamming_masks(
          state.table.data(), cols.size(), codes_.a + i, rows.size(), radius_,
          codes_.triangle && i == cols.begin, blocks_[block] + i * words);
      monitor.advance(pairs_of({codes_.n_a, n_cols(), codes_.triangle}, rows, cols));
      state.pulse.after(64 * rows.size());
    }
  }

  void write(std::size_t band, Edge* edges, Pulse& pulse) const {
    Edge* out = edges + near_[band];
    const Edge* last = edges + near_[band + 1];
    const std::size_t first = codes_.triangle ? band : 0;
    const std::size_t end = std::min(codes_.n_a, (band + 1) * hamming_side);
    for (std::size_t i = band * hamming_side; i < end; ++i) {
      out = kernels().hamming_write(codes_.a[i], codes_.b, blocks_.data(), first, blocks_.size(), i,
                                    scores_.data(), out, last);
      pulse.after((blocks_.size() - first) * hamming_side);
    }
  }

  Codes codes_;
  std::size_t radius_;
  std::size_t n_bands_;
  std::vector<std::uint64_t, LargeAllocator<std::uint64_t>> masks_;
  std::vector<std::uint64_t*> blocks_;          // the masks of all rows, for each 256 columns
  std::vector<std::atomic<std::size_t>> near_;  // pairs in the bands before
  std::vector<std::uint64_t> scores_;           // the bits of the double
};

}  // namespace clusterimg
