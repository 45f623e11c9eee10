// Bits that differ of codes, 64 to 4096 of them.
//
// A POPC costs as much as four other operations. Full adders save three of four: of a pair's words,
// two at a time, the sum goes on in `ones` and the carry, which weighs two, is counted.
#pragma once
#include <cstdint>

#include "counts.cuh"

namespace clusterimg::cuda {

// Adds bits of two words to those of `sum`; returns the carries. One operation each: the compiler
// by itself makes two.
__device__ inline std::uint32_t full_add(std::uint32_t& sum, std::uint32_t x, std::uint32_t y) {
  std::uint32_t carry;
#ifdef __CUDA_ARCH__
  asm("lop3.b32 %0, %1, %2, %3, 0xe8;" : "=r"(carry) : "r"(sum), "r"(x), "r"(y));
  asm("lop3.b32 %0, %0, %1, %2, 0x96;" : "+r"(sum) : "r"(x), "r"(y));
#else
  carry = (x & y) | (sum & (x | y));
  sum ^= x ^ y;
#endif
  return carry;
}

struct BitCounter {
  std::uint32_t ones = 0, twos = 0;  // bits, and a number

  __device__ void add(std::uint32_t a0, std::uint32_t b0, std::uint32_t a1, std::uint32_t b1) {
    twos += static_cast<std::uint32_t>(__popc(full_add(ones, a0 ^ b0, a1 ^ b1)));
  }
  __device__ std::uint32_t differing() const {
    return 2 * twos + static_cast<std::uint32_t>(__popc(ones));
  }
};

}  // namespace clusterimg::cuda
