// An upper bound of mean SSIM from a few numbers for each group of neighbouring windows: that of
// csrc/kernels/ssim_bound.hpp, which has the proof, in float32. A group loses at least
//   max(0, 1 - apart^2) |Z - Z'|^2 / (T + T') + (M - M')^2 / (E + E')
// with sums over its windows: Z of five moments and the norm of the rest, each over sqrt(48), T of
// variance + C2 / 2, M of sums
// of pixels, E of their squares + c1 / 2. `apart` is how far the ranges of
// asinh(mean / sqrt(C1 / 2)) / sqrt(2) of the two images may lie from each other.
//
// Rounding: a coordinate of Z is within 2^-21 of at most 129 a window, so that |Z - Z'| strays by e
// < 3.1e-4 a window (both images, six of them). (|D| - e)^2 >= (1 - h) |D|^2 - e^2 / h; with h =
// 2^-14 and t >= C2 that is a share of 2^-14 and 2.7e-5 a window. M is exact. Of `apart` 2e-6 where
// it matters, so 8e-6 a window, the other steps 2^-20 of their results. Bounds are summed down each
// column of groups, then across, 2^-24 of all for each of them: 2^-13 for up to 2048 groups down
// and across. Together less than ssim_loss_share and ssim_loss_margin take off.
//
// Computed: of a pair and group 27 instructions and 1.75 loads of 16 bytes, over 9 windows 3.2
// each, over 16 windows 1.8.
#pragma once
#include <cstdint>

#include "ssim_window.cuh"

namespace clusterimg::cuda {

constexpr float ssim_loss_share = 1.0f / 8192;
constexpr float ssim_loss_margin = 1.0f / 4096;

// Window x across is in group x * across / windows across; likewise down. Without groups, a column
// of windows is a column of groups, none of which loses anything.
struct SsimGroups {
  std::uint32_t across, down;
  __host__ __device__ std::size_t column(std::uint32_t group, std::uint32_t x) const {
    return (std::size_t{group} * across + x) * down * 3 * 32;
  }
};

// The first of n windows in group g of n_groups.
__host__ __device__ inline std::uint32_t first_of_group(std::uint32_t g, std::uint32_t n_groups,
                                                        std::uint32_t n) {
  return static_cast<std::uint32_t>((std::uint64_t{g} * n + n_groups - 1) / n_groups);
}

// The numbers of a group: three float4 of each of 32 images side by side.
struct SsimNumbers {
  float z[6], t, m, e, low, high;
};

__device__ __forceinline__ SsimNumbers read_numbers(const float4* __restrict__ at) {
  const float4 p = __ldg(at), q = __ldg(at + 32), r = __ldg(at + 64);
  return {{p.x, p.y, p.z, p.w, q.x, q.y}, q.z, q.w, r.x, r.y, r.z};
}

__device__ __forceinline__ float group_loss(const SsimNumbers& a, const SsimNumbers& b) {
  float square = 0;
#pragma unroll
  for (int k = 0; k < 6; ++k) {
    const float d = a.z[k] - b.z[k];
    square = __fmaf_rn(d, d, square);
  }
  const float apart = max(a.high - b.low, b.high - a.low);
  const float share = max(0.0f, __fmaf_rn(-apart, apart, 1.0f));
  const float d = a.m - b.m;
  return __fmaf_rn(__fmul_rn(share, square), reciprocal(a.t + b.t),
                   __fmul_rn(__fmul_rn(d, d), reciprocal(a.e + b.e)));
}

// Sums over the windows of a group.
struct SsimMoments {
  std::int32_t moment[5] = {}, sum = 0, low = 49 * 255, high = 0;
  double rest = 0, t = 0, e = 0;

  // A window by its first entry and its last.
  __device__ void add(const SsimEntry* entry) {
    constexpr int slope_low = 0x00fffefd, slope_high = 0x00030201;  // -3 -2 -1 0, 1 2 3
    constexpr int bend_low = static_cast<int>(0xfcfd0005), bend_high = 0x000500fd;  // x^2 - 4
    constexpr int ones = 0x01010101;
    std::int32_t m[5] = {}, s = 0, q = 0;
    for (int y = 0; y < static_cast<int>(ssim_side); ++y) {
      const int a = static_cast<int>(entry[32 * y].x), b = static_cast<int>(entry[32 * y].y);
      const int flat = __dp4a(b, ones, __dp4a(a, ones, 0));
      s += flat;
      q += __dp4a(b, b, __dp4a(a, a, 0));
      const int slope = __dp4a(b, slope_high, __dp4a(a, slope_low, 0));
      m[0] += slope;
      m[1] += (y - 3) * flat;
      m[2] += (y - 3) * slope;
      m[3] += __dp4a(b, bend_high, __dp4a(a, bend_low, 0));
      m[4] += ((y - 3) * (y - 3) - 4) * flat;
    }
    constexpr double share[5] = {1.0 / 196, 1.0 / 196, 1.0 / 784, 1.0 / 588, 1.0 / 588};
    const double variance = (q - s * s / 49.0) / 48;
    double left = 48 * variance;
    for (int k = 0; k < 5; ++k) {
      left -= share[k] * static_cast<double>(m[k]) * m[k];
      moment[k] += m[k];
    }
    rest += left > 0 ? sqrt(left / 48) : 0.0;
    t += variance + 0.5 * 7.65 * 7.65;
    s += 128 * 49;
    e += static_cast<double>(s) * s + ssim_c1 / 2;
    sum += s;
    low = min(low, s);
    high = max(high, s);
  }
};

// Numbers of a group of 32 images; blocks: (groups of 32 images, across, down).
__global__ void __launch_bounds__(32)
    ssim_number(const SsimEntry* __restrict__ entries, SsimShape shape, SsimGroups groups,
                float4* __restrict__ numbers) {
  const std::uint32_t gy = blockIdx.x % groups.down, column = blockIdx.x / groups.down;
  const std::uint32_t gx = column % groups.across, group = column / groups.across;
  SsimMoments moments;
  for (std::uint32_t x = first_of_group(gx, groups.across, shape.across());
       x < first_of_group(gx + 1, groups.across, shape.across()); ++x)
    for (std::uint32_t y = first_of_group(gy, groups.down, shape.down());
         y < first_of_group(gy + 1, groups.down, shape.down()); ++y)
      moments.add(entries + shape.column(group, x) + std::size_t{y} * 32 + threadIdx.x);
  // 1 / sqrt(48 * 196), 1 / sqrt(48 * 784), 1 / sqrt(48 * 588)
  constexpr double share[5] = {0.010309826235529031, 0.010309826235529031, 0.0051549131177645155,
                               0.0059523809523809521, 0.0059523809523809521};
  float z[5];
  for (int k = 0; k < 5; ++k) z[k] = static_cast<float>(share[k] * moments.moment[k]);
  const auto depth = [](std::int32_t s) {
    return static_cast<float>(asinh(s / (49 * 2.55 * sqrt(0.5))) * sqrt(0.5));
  };
  float4* const out = numbers + groups.column(group, gx) + std::size_t{gy} * 3 * 32 + threadIdx.x;
  out[0] = {z[0], z[1], z[2], z[3]};
  out[32] = {z[4], static_cast<float>(moments.rest), static_cast<float>(moments.t),
             static_cast<float>(moments.sum)};
  out[64] = {static_cast<float>(moments.e), depth(moments.low), depth(moments.high), 0.0f};
}

}  // namespace clusterimg::cuda
