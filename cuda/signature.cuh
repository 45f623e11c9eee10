// Slots that differ of MinHash signatures; score = (slots - differing) / slots, one float64
// division.
//
// A sketch has `planes` bits of each slot, taken from a product with an odd number, which sends
// different slots to different words: the words of a fold hold the bits of 32 slots, one plane
// each. Slots that are equal have equal bits, so what of a fold differs are slots that do. Slots
// beyond the last have bits 0 everywhere: equal.
#pragma once
#include <cstdint>

#include "counts.cuh"

namespace clusterimg::cuda {

struct SlotCounter {
  std::uint32_t n = 0;

  __device__ void add(std::uint32_t a0, std::uint32_t b0, std::uint32_t a1, std::uint32_t b1) {
    n += a0 != b0;
    n += a1 != b1;
  }
  __device__ std::uint32_t differing() const { return n; }
};

constexpr std::uint32_t slot_mix = 0x9E3779B1U;  // the top bits of the product have all of a slot's

// Sketches (n, n_folds, planes) of signatures: a warp for each fold.
__global__ void __launch_bounds__(tile_threads)
    sketch_slots(Words signatures, unsigned planes, std::uint32_t* __restrict__ sketches) {
  const unsigned lane = threadIdx.x % 32;
  const std::uint32_t n_folds = (signatures.n_words + 31) / 32;
  const std::uint64_t fold = (std::uint64_t{blockIdx.x} * tile_threads + threadIdx.x) / 32;
  if (fold >= std::uint64_t{signatures.n} * n_folds) return;  // the whole warp
  const std::uint32_t slot = static_cast<std::uint32_t>(fold % n_folds) * 32 + lane;
  const bool there = slot < signatures.n_words;
  const std::uint32_t mixed =
      there ? __ldg(signatures.words + fold / n_folds * signatures.n_words + slot) * slot_mix : 0;
  for (unsigned plane = 0; plane < planes; ++plane) {
    const std::uint32_t bits = __ballot_sync(0xffffffffU, mixed >> (31 - plane) & 1);
    if (lane == plane) sketches[fold * planes + plane] = bits;
  }
}

}  // namespace clusterimg::cuda
