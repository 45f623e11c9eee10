// Differing bits of codes, 64 to 4096 of them.
//
// A carry-save adder per pair takes two words x, y of the xor: ones <- ones ^ x ^ y, and the
// majority of the three weighs two; its POPC is the only one for 64 bits.
#pragma once
#include <cstdint>

#include "counts.cuh"

namespace clusterimg::cuda {

struct BitCounter {
  std::uint32_t ones = 0, pairs = 0;

  __device__ void add(std::uint32_t a0, std::uint32_t b0, std::uint32_t a1, std::uint32_t b1) {
    const std::uint32_t x = a0 ^ b0, y = a1 ^ b1;
    pairs += static_cast<std::uint32_t>(__popc((ones & x) | (ones & y) | (x & y)));
    ones ^= x ^ y;
  }
  __device__ std::uint32_t differing() const {
    return 2 * pairs + static_cast<std::uint32_t>(__popc(ones));
  }
};

}  // namespace clusterimg::cuda
