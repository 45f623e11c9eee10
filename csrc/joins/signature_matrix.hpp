// The matrix of the shares of equal slots: all pairs are counted, in codes made for it once.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../kernels.hpp"
#include "../pairwise.hpp"
#include "signature.hpp"

namespace clusterimg {

// Signatures in codes of 16 bits, slot by slot: codes are equal where the slots are.
class SignatureCodes {
 public:
  static constexpr std::size_t most = 49152;  // so that a quarter of the codes of a slot is free

  SignatureCodes(const Signatures& sets, bool triangle)
      : sets_(sets),
        triangle_(triangle),
        n_(sets.n_a + (triangle ? 0 : sets.n_b)),
        codes_((blocks(sets.n_a) + (triangle ? 0 : blocks(sets.n_b))) * block_codes()) {}

  static bool fits(const Signatures& sets) {
    return sets.n_a + sets.n_b <= most && sets.n_slots < 65536;
  }

  void prepare(int n_threads, Monitor& monitor) {
    for_each_unit((sets_.n_slots + line - 1) / line, n_threads, monitor,
                  [&] { return State{Dictionary(n_), std::vector<std::uint32_t>(n_ * line)}; },
                  [&](std::size_t unit, State& state) {
                    const Range slots{unit * line, std::min(sets_.n_slots, (unit + 1) * line)};
                    gather(slots, state.columns.data(), monitor);
                    for (std::size_t slot = slots.begin; slot < slots.end; ++slot) {
                      const std::uint32_t* column =
                          state.columns.data() + (slot - slots.begin) * n_;
                      state.dictionary.clear();
                      number(column, sets_.n_a, slot, state.dictionary, codes_.data());
                      if (!triangle_)
                        number(column + sets_.n_a, sets_.n_b, slot, state.dictionary,
                               codes_.data() + b_begin());
                      monitor.check();
                    }
                  });
  }

  const std::int16_t* a() const { return codes_.data(); }
  const std::int16_t* b(std::size_t block) const {
    return codes_.data() + (triangle_ ? 0 : b_begin()) + block * block_codes();
  }

 private:
  static constexpr std::size_t line = 16;  // slots of a cache line, which are read together

  // A hash table with linear probing; the code of a value is its place there. It is kept so empty
  // that a look-up seldom probes twice, as far as codes of 16 bits let it.
  class Dictionary {
   public:
    explicit Dictionary(std::size_t n) {
      while (bits_ < 16 && (std::size_t{1} << bits_) < 16 * n) ++bits_;
      values_.resize(std::size_t{1} << bits_);
    }
    void clear() { std::fill(values_.begin(), values_.end(), 0); }
    // Place 0 is that of the value 0, which marks free places elsewhere.
    std::int16_t code(std::uint32_t value) {
      if (value == 0) return 0;
      std::size_t place = (value * 0x9E3779B1u) >> (32 - bits_);
      while (place == 0 || (values_[place] != 0 && values_[place] != value))
        place = (place + 1) & (values_.size() - 1);
      values_[place] = value;
      return static_cast<std::int16_t>(place);
    }

   private:
    unsigned bits_ = 4;
    std::vector<std::uint32_t> values_;
  };
  struct State {
    Dictionary dictionary;
    std::vector<std::uint32_t> columns;
  };

  static std::size_t blocks(std::size_t n) { return (n + signature_block - 1) / signature_block; }
  std::size_t block_codes() const { return sets_.n_slots * signature_block; }
  std::size_t b_begin() const { return blocks(sets_.n_a) * block_codes(); }

  // Some slots of all signatures, slot by slot.
  void gather(Range slots, std::uint32_t* columns, Monitor& monitor) const {
    for (std::size_t k = 0; k < n_; ++k) {
      const std::uint32_t* row =
          k < sets_.n_a ? sets_.a + k * sets_.n_slots : sets_.b + (k - sets_.n_a) * sets_.n_slots;
      for (std::size_t s = 0; s < slots.size(); ++s) columns[s * n_ + k] = row[slots.begin + s];
    }
    monitor.check();
  }

  void number(const std::uint32_t* column, std::size_t n, std::size_t slot, Dictionary& dictionary,
              std::int16_t* codes) const {
    for (std::size_t k = 0; k < n; ++k)
      codes[k / signature_block * block_codes() + slot * signature_block + k % signature_block] =
          dictionary.code(column[k]);
  }

  Signatures sets_;
  bool triangle_;
  std::size_t n_;
  std::vector<std::int16_t> codes_;
};

// Writes scores tile by tile into a dense matrix; in a triangle into both halves.
class TileSink {
 public:
  TileSink(float* out, const Plane& plane) : out_(out), plane_(plane) {}

  void open(std::size_t, Range) {}
  void close(std::size_t) {}

  // Scores of the pairs (i, j) of a tile, row by row, `stride` apart.
  void put_tile(Range r, Range c, const float* scores, std::size_t stride) {
    for (std::size_t i = r.begin; i < r.end; ++i) {
      const std::size_t from = plane_.triangle ? std::max(c.begin, i + 1) : c.begin;
      if (from < c.end)
        std::copy_n(scores + (i - r.begin) * stride + from - c.begin, c.end - from,
                    out_ + i * plane_.n_cols + from);
    }
    if (!plane_.triangle) return;
    for (std::size_t j = c.begin; j < c.end; ++j) {
      const float* column = scores + j - c.begin;
      float* out = out_ + j * plane_.n_cols;
      const std::size_t end = std::min(r.end, j);
      for (std::size_t i = r.begin; i < end; ++i) out[i] = column[(i - r.begin) * stride];
    }
  }

 private:
  float* out_;
  Plane plane_;
};

// All pairs, from codes, into a TileSink.
class AllSignatures {
 public:
  static constexpr std::size_t rows = 64;
  static constexpr std::size_t cols = signature_block;
  struct State {
    std::vector<std::uint16_t> counts;
    std::vector<float> scores;
  };

  AllSignatures(const Signatures& sets, const SignatureCodes& codes) : sets_(sets), codes_(codes) {}

  State make_state(Monitor&) const {
    return {std::vector<std::uint16_t>((rows + 1) * cols), std::vector<float>(rows * stride)};
  }
  void begin(State&, Range) const {}

  // A count and the number of slots are below 2^16, so a division in float32 is the division in
  // float64 rounded to float32.
  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    kernels().signature_counts(codes_.a(), r.begin, r.size(), codes_.b(c.begin / cols),
                               sets_.n_slots, state.counts.data());
    const float n_slots = static_cast<float>(sets_.n_slots);
    for (std::size_t i = 0; i < r.size(); ++i)
      for (std::size_t j = 0; j < cols; ++j)
        state.scores[i * stride + j] = static_cast<float>(state.counts[i * cols + j]) / n_slots;
    emit.sink.put_tile(r, c, state.scores.data(), stride);
  }
  double score(State&, std::size_t i, std::size_t j) const {
    return sets_.share(sets_.equal(i, j));
  }

 private:
  // Of the tile of scores: not a power of two, so that a column is spread over the cache.
  static constexpr std::size_t stride = cols + 4;

  Signatures sets_;
  const SignatureCodes& codes_;
};

}  // namespace clusterimg
