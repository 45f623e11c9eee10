// Bits that differ of codes, 64 to 4096 of them.
//
// score = (bits - differing) / bits, one float64 division. Codes may be sieved first (sieve.cuh).
//
// A POPC costs as much as four other operations. Full adders save one of two: of a pair's words,
// two at a time, the sum goes on in `ones` and the carry, which weighs two, is counted.
//
// Roofline of the count, computed for an H100 SXM (1.48e13 LOP3 a second, a POPC counting as four):
// for 64 bits 4 LOP3 and a POPC, by the compiled loop, in the end one POPC more and some 20
// operations for the sink.
//   64 bits      24 operations of a pair    6e11 pairs/s
//   256 bits     36                         4e11
//   4096 bits    276, and staging 32        5e10
// A matrix takes 4 bytes a pair: 8e11 pairs/s of HBM, 1.6e10 of a PCIe 5 bus, which limits it.
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
