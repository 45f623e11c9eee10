// A template in an image: sums of the patches under it, exact dot products with a few of them.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

// Greys as int16, for the multiply-add of pairs.
static void widen_greys(const std::uint8_t* greys, std::size_t n, std::int16_t* out) {
  for (std::size_t x = 0; x < n; ++x) out[x] = greys[x];
}

// The sums of the greys, and of their squares, above and left of each corner of a row of pixels.
//   sums_above, squares_above, sums, squares (n + 1)    exact: integers below 2^53
static void corner_sums(const std::uint8_t* greys, std::size_t n, const double* sums_above,
                        const double* squares_above, double* sums, double* squares) {
  std::int64_t sum = 0, square = 0;
  for (std::size_t x = 0; x <= n; ++x) {
    sums[x] = sums_above[x] + static_cast<double>(sum);
    squares[x] = squares_above[x] + static_cast<double>(square);
    if (x == n) break;
    sum += greys[x];
    square += static_cast<std::int32_t>(greys[x]) * greys[x];
  }
}

// What bounds need of the patches at n positions side by side.
//   sums_top, sums_bottom, squares_top, squares_bottom (n + width)    corners
//   mean, area        of the image, of a patch
//   energies, sums    of pixels less the mean
//   inverses          one by the root of the energy of the pixels; where that is 0, so that the
//   error
//                     is 1, a number so large that no bound is below 1
static void patch_sums(const double* sums_top, const double* sums_bottom, const double* squares_top,
                       const double* squares_bottom, std::size_t width, std::size_t n, double mean,
                       double area, float* energies, float* sums, float* inverses) {
  for (std::size_t x = 0; x < n; ++x) {
    const double sum =
        sums_bottom[x + width] - sums_bottom[x] - (sums_top[x + width] - sums_top[x]);
    const double energy =
        squares_bottom[x + width] - squares_bottom[x] - (squares_top[x + width] - squares_top[x]);
    energies[x] = static_cast<float>(energy - mean * (2.0 * sum - mean * area));
    sums[x] = static_cast<float>(sum - mean * area);
    inverses[x] = 1.0f / __builtin_sqrtf(static_cast<float>(energy));
  }
}

// The sum of greys and that of their squares, added to; n at most dot_block.
static void grey_sums(const std::uint8_t* greys, std::size_t n, double* sum, double* energy) {
  std::int32_t part = 0, squares = 0;
  for (std::size_t x = 0; x < n; ++x) {
    part += greys[x];
    squares += greys[x] * greys[x];
  }
  *sum += part;
  *energy += squares;
}

using Floats = float __attribute__((vector_size(32)));
constexpr std::size_t float_lanes = 8;

// The least of n bounds, n a multiple of 16.
static float least_bound(const float* bounds, std::size_t n) {
  Floats least[2];
  __builtin_memcpy(least, bounds, sizeof least);
  for (std::size_t at = 16; at < n; at += 16)
    for (std::size_t half = 0; half < 2; ++half) {
      Floats next;
      __builtin_memcpy(&next, bounds + at + half * float_lanes, sizeof next);
      least[half] = next < least[half] ? next : least[half];
    }
  Floats lowest = least[0] < least[1] ? least[0] : least[1];
  using Places = std::int32_t __attribute__((vector_size(32)));
  for (std::int32_t apart = 4; apart > 0; apart /= 2) {
    const Places lanes = Places{0, 1, 2, 3, 4, 5, 6, 7} ^ apart;
    const Floats other = __builtin_shuffle(lowest, lanes);
    lowest = other < lowest ? other : lowest;
  }
  return lowest[0];
}

// The exact dot products of a template with the patches at four positions side by side.
//   image    as int16, rows `stride` apart, of which the first width + 3 pixels may be read
//   templ    as int16, rows `templ_stride` apart, zeros beside it up to `width`
//   width    a multiple of 16
static void patch_dots(const std::int16_t* image, std::size_t stride, const std::int16_t* templ,
                       std::size_t templ_stride, std::size_t height, std::size_t width,
                       double* out) {
  for (std::size_t k = 0; k < 4; ++k) out[k] = 0.0;
#if defined(CLUSTERIMG_INT16_LANES)
  Int16s sums[4] = {};
  std::size_t added = 0;
  for (std::size_t v = 0; v < height; ++v, image += stride, templ += templ_stride)
    for (std::size_t start = 0; start < width; start += dot_block) {
      const std::size_t stop = start + dot_block < width ? start + dot_block : width;
      if (added + (stop - start) > dot_block) {
        add_totals(sums, out);
        for (std::size_t k = 0; k < 4; ++k) sums[k] = Int16s{};
        added = 0;
      }
      added += stop - start;
      for (std::size_t u = start; u < stop; u += int16_lanes) {
        Int16s t = load16(templ + u);
        hold(t);
#pragma GCC unroll 4
        for (std::size_t k = 0; k < 4; ++k) add_products(sums[k], load16(image + u + k), t);
      }
    }
  add_totals(sums, out);
#else
  for (std::size_t v = 0; v < height; ++v, image += stride, templ += templ_stride)
    for (std::size_t k = 0; k < 4; ++k) {
      std::int64_t dot = 0;
      for (std::size_t u = 0; u < width; ++u) dot += image[u + k] * templ[u];
      out[k] += static_cast<double>(dot);
    }
#endif
}

}  // namespace clusterimg::CLUSTERIMG_ISA
