// Share of equal slots of two MinHash signatures.
//
// score = equal / slots, one float64 division. An edge list filters pairs by digests and counts
// what is left; signature_matrix.hpp counts all pairs.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../kernels.hpp"
#include "../pairwise.hpp"
#include "counts.hpp"

namespace clusterimg {

// Two sets of signatures; in a triangle b is a.
struct Signatures {
  const std::uint32_t* a;
  const std::uint32_t* b;
  std::size_t n_a, n_b, n_slots;

  double share(std::uint32_t equal) const {
    return static_cast<double>(equal) / static_cast<double>(n_slots);
  }
  std::uint32_t equal(std::size_t i, std::size_t j) const {
    std::uint32_t count = 0;
    kernels().signature_tile(a + i * n_slots, 1, b + j * n_slots, 1, n_slots, &count);
    return count;
  }
};

// The scores of listed pairs.
class SignatureScorer {
 public:
  static constexpr std::size_t rows = 64;  // of a band of NearSignatures
  struct State {};

  SignatureScorer(const Signatures& sets, double threshold) : sets_(sets), threshold_(threshold) {}

  State make_state(Monitor&) const { return {}; }
  double score(State&, std::size_t i, std::size_t j) const {
    return sets_.share(sets_.equal(i, j));
  }

  const Signatures& sets() const { return sets_; }
  double threshold() const { return threshold_; }

 private:
  Signatures sets_;
  double threshold_;
};

// The pairs above a threshold. `prepare` first.
class NearSignatures {
 public:
  static constexpr std::size_t rows = SignatureScorer::rows;
  static constexpr std::size_t cols = 256;
  struct State {
    Pulse pulse;
    std::vector<std::uint8_t> digests;
    std::vector<std::uint64_t> near;
  };

  explicit NearSignatures(const SignatureScorer& scorer)
      : sets_(scorer.sets()),
        least_(least_count_above(scorer.threshold(), static_cast<std::uint32_t>(sets_.n_slots))),
        n_blocks_((sets_.n_b + cols - 1) / cols),
        planes_(n_blocks_ * block_words()),
        first_plane_(planes_.data()) {}

  void prepare(int n_threads, Monitor& monitor) {
    for_each_unit(
        n_blocks_, n_threads, monitor, [] { return 0; },
        [&](std::size_t block, int) {
          kernels().signature_planes(sets_.b + block * cols * sets_.n_slots,
                                     std::min(cols, sets_.n_b - block * cols), sets_.n_slots,
                                     planes(block));
          monitor.check();
        });
  }

  State make_state(Monitor& monitor) const {
    return {Pulse(monitor), std::vector<std::uint8_t>(rows * signature_padded(sets_.n_slots)),
            std::vector<std::uint64_t>(rows * 4)};
  }
  void begin(State& state, Range r) const {
    kernels().signature_digests(sets_.a + r.begin * sets_.n_slots, r.size(), sets_.n_slots,
                                state.digests.data());
  }

  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    if (least_ > sets_.n_slots) return;
    kernels().signature_above(state.digests.data(), r.size(), planes(c.begin / cols), sets_.n_slots,
                              least_, state.near.data());
    for (std::size_t i = r.begin; i < r.end; ++i)
      for (std::size_t word = 0; word < 4 && c.begin + word * 64 < c.end; ++word) {
        const std::size_t first = c.begin + word * 64;
        std::uint64_t near = state.near[(i - r.begin) * 4 + word];
        if (c.end - first < 64) near &= (std::uint64_t{1} << (c.end - first)) - 1;
        for (; near != 0; near &= near - 1) {
          const std::size_t j = first + static_cast<std::size_t>(__builtin_ctzll(near));
          if (emit.wants(i, j)) count(state, i, j, emit);
        }
      }
  }

 private:
  std::size_t block_words() const { return signature_padded(sets_.n_slots) * 32; }
  std::uint64_t* planes(std::size_t block) const { return first_plane_ + block * block_words(); }

  template <class Emit>
  void count(State& state, std::size_t i, std::size_t j, const Emit& emit) const {
    const std::uint32_t equal = sets_.equal(i, j);
    if (equal >= least_) emit(i, j, sets_.share(equal));
    state.pulse.after(sets_.n_slots);
  }

  Signatures sets_;
  std::uint32_t least_;
  std::size_t n_blocks_;
  AlignedScratch<std::uint64_t> planes_;
  std::uint64_t* first_plane_;
};

}  // namespace clusterimg
