// Products of bytes by a warp: the tensor cores' m16n8k32 for unsigned 8-bit factors.
#pragma once
#include <cstdint>

namespace clusterimg::cuda {

// Adds a (16, 32) times b (32, 8) to c (16, 8), modulo 2^32. Every lane of the warp calls it; with
// g = lane / 4 and t = lane % 4 it holds, four bytes to a word,
//   a0, a1   words t of rows g, g + 8 of a;   a2, a3   words t + 4 of these rows
//   b0, b1   words t and t + 4 of column g of b
//   c0, c1   columns 2 t, 2 t + 1 of row g of c;   c2, c3   of row g + 8
__device__ inline void mma_u8(std::uint32_t& c0, std::uint32_t& c1, std::uint32_t& c2,
                              std::uint32_t& c3, std::uint32_t a0, std::uint32_t a1,
                              std::uint32_t a2, std::uint32_t a3, std::uint32_t b0,
                              std::uint32_t b1) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c0), "+r"(c1), "+r"(c2), "+r"(c3)
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#else  // what the instruction does, for a machine without it
  const int g = static_cast<int>(threadIdx.x % 32) / 4, t = static_cast<int>(threadIdx.x % 4);
  for (int k = 0; k < 4; ++k) {
    const std::uint32_t top[2] = {__shfl_sync(0xffffffffU, a0, 4 * g + k),
                                  __shfl_sync(0xffffffffU, a2, 4 * g + k)};
    const std::uint32_t low[2] = {__shfl_sync(0xffffffffU, a1, 4 * g + k),
                                  __shfl_sync(0xffffffffU, a3, 4 * g + k)};
    const std::uint32_t left[2] = {__shfl_sync(0xffffffffU, b0, 8 * t + k),
                                   __shfl_sync(0xffffffffU, b1, 8 * t + k)};
    const std::uint32_t right[2] = {__shfl_sync(0xffffffffU, b0, 8 * t + 4 + k),
                                    __shfl_sync(0xffffffffU, b1, 8 * t + 4 + k)};
    for (int half = 0; half < 2; ++half) {
      c0 = __dp4a(top[half], left[half], c0);
      c1 = __dp4a(top[half], right[half], c1);
      c2 = __dp4a(low[half], left[half], c2);
      c3 = __dp4a(low[half], right[half], c3);
    }
  }
#endif
}

}  // namespace clusterimg::cuda
