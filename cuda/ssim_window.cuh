// What a window of SSIM needs of one image alone, prepared.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernel.hpp"

namespace clusterimg::cuda {

constexpr std::uint32_t ssim_side = 7;

// The constants of the canonical formula.
constexpr double ssim_c1 = (0.01 * 255) * (0.01 * 255) * (49 * 49);
constexpr double ssim_c2 = (0.03 * 255) * (0.03 * 255) * (49 * 48);

// What is prepared of an image, for each window column x and row of pixels y:
//   x, y    pixels x..x+3 and x+4..x+6 of the row, less 128, as signed bytes; the eighth is 0
//   z, w    Sb' and V as float32, of the window whose last row is y; of no meaning above the first
// Entries of 32 images are side by side: (groups of 32, across, height, 32).
using SsimEntry = uint4;

struct SsimShape {
  std::uint32_t height, width;
  __host__ __device__ std::uint32_t across() const { return width + 1 - ssim_side; }
  __host__ __device__ std::uint32_t down() const { return height + 1 - ssim_side; }
  __host__ __device__ std::size_t windows() const { return std::size_t{across()} * down(); }
  __host__ __device__ std::size_t column(std::uint32_t group, std::uint32_t x) const {
    return (std::size_t{group} * across() + x) * height * 32;
  }
};

// 1 / d within 2^-23, for normal numbers.
__device__ inline float reciprocal(float d) {
#ifdef __CUDA_ARCH__
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(d));
  return r;
#else
  return 1.0f / d;
#endif
}

__device__ inline float ssim_nan() { return __uint_as_float(0x7fc00000); }

// The sums of a window of one image: of the pixels less 128, and of their squares.
struct SsimSums {
  std::int32_t sum, square;
};

__device__ inline void add_row(std::uint32_t low, std::uint32_t high, std::int32_t sign,
                               SsimSums& sums) {
  constexpr int ones = 0x01010101;
  const int a = static_cast<int>(low), b = static_cast<int>(high);
  sums.sum += sign * __dp4a(b, ones, __dp4a(a, ones, 0));
  sums.square += sign * __dp4a(b, b, __dp4a(a, a, 0));
}

// Entries of a window column of an image a lane; blocks: (groups of 32 images, across).
__global__ void __launch_bounds__(32)
    ssim_prepare(const std::uint8_t* __restrict__ images, std::uint32_t n, SsimShape shape,
                 SsimEntry* __restrict__ entries) {
  const std::uint32_t x = blockIdx.x % shape.across(), group = blockIdx.x / shape.across();
  const std::uint32_t image = 32 * group + threadIdx.x;
  const std::uint8_t* const pixels =
      images + std::size_t{image < n ? image : n - 1} * shape.height * shape.width + x;
  SsimEntry* const out = entries + shape.column(group, x) + threadIdx.x;
  SsimSums sums{0, 0};
  for (std::uint32_t y = 0; y < shape.height; ++y) {
    const std::uint8_t* const row = pixels + std::size_t{y} * shape.width;
    std::uint32_t word[2] = {0, 0};
    for (unsigned p = 0; p < ssim_side; ++p) word[p / 4] |= (__ldg(row + p) ^ 0x80U) << 8 * (p % 4);
    add_row(word[0], word[1], 1, sums);
    if (y >= ssim_side) {
      const SsimEntry above = out[std::size_t{y - ssim_side} * 32];
      add_row(above.x, above.y, -1, sums);
    }
    const double variance = (49 * sums.square - sums.sum * sums.sum) / 98.0 + ssim_c2 / 196;
    out[std::size_t{y} * 32] = {word[0], word[1], __float_as_uint(static_cast<float>(sums.sum)),
                                __float_as_uint(static_cast<float>(variance))};
  }
}

}  // namespace clusterimg::cuda
