// Mean SSIM (Wang, Bovik, Sheikh and Simoncelli 2004) with a uniform 7 x 7 window and sample
// covariance, K1 = 0.01, K2 = 0.03, data range 255, over all windows inside the image:
// scikit-image's structural_similarity(a, b) on uint8.
//
// With the integer window sums Sa, Sb, Saa, Sbb, Sab over N = 49 pixels, numerator and denominator
// are scaled by N^2 and N (N - 1), so that everything but C1 and C2 is an exact int32:
//   S = (2 Sa Sb + c1) (2 (N Sab - Sa Sb) + c2)
//       / ((Sa^2 + Sb^2 + c1) ((N Saa - Sa^2) + (N Sbb - Sb^2) + c2))
//   c1 = N^2 (K1 255)^2,   c2 = N (N - 1) (K2 255)^2
// The largest of them, N Saa, is 49 * 49 * 255^2 = 156125025.
//
// ssim_pair is the canonical score, which alone decides at a threshold: float64, one order of
// operations. ssim_tile is a fast float32 score for many pairs; it stays within
// ssim_tile_error (joins/ssim.hpp) of the canonical one.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

constexpr std::size_t ssim_window = 7;
constexpr std::int32_t ssim_area = 49;
constexpr double ssim_c1 = (0.01 * 255) * (0.01 * 255) * (49 * 49);
constexpr double ssim_c2 = (0.03 * 255) * (0.03 * 255) * (49 * 48);

// Window statistics of one image, windows in row-major order.
//   image (height, width), at least 7 x 7
//   column (2, width)           scratch
//   sum (windows)               Sa
//   energy (windows)            Sa^2 + c1 / 2
//   spread (windows)            N Saa - Sa^2 + c2 / 2
static void ssim_statistics(const std::uint8_t* image, std::size_t height, std::size_t width,
                            std::int32_t* column, std::int32_t* sum, float* energy, float* spread) {
  std::int32_t* column_sum = column;
  std::int32_t* column_square = column + width;
  for (std::size_t x = 0; x < 2 * width; ++x) column[x] = 0;
  std::size_t window = 0;
  for (std::size_t y = 0; y < height; ++y) {
    const std::uint8_t* entering = image + y * width;
    for (std::size_t x = 0; x < width; ++x) {
      column_sum[x] += entering[x];
      column_square[x] += entering[x] * entering[x];
    }
    if (y + 1 < ssim_window) continue;
    std::int32_t s = 0, q = 0;
    for (std::size_t x = 0; x < width; ++x) {
      s += column_sum[x];
      q += column_square[x];
      if (x + 1 < ssim_window) continue;
      sum[window] = s;
      energy[window] = static_cast<float>(s * s) + static_cast<float>(ssim_c1 / 2);
      spread[window] = static_cast<float>(ssim_area * q - s * s) + static_cast<float>(ssim_c2 / 2);
      ++window;
      s -= column_sum[x + 1 - ssim_window];
      q -= column_square[x + 1 - ssim_window];
    }
    const std::uint8_t* leaving = image + (y + 1 - ssim_window) * width;
    for (std::size_t x = 0; x < width; ++x) {
      column_sum[x] -= leaving[x];
      column_square[x] -= leaving[x] * leaving[x];
    }
  }
}

// Mean SSIM of one image a against ssim_lanes images b, lane by lane.
//   a (height, width); sum_a, energy_a, spread_a (windows)
//   b (height, width, lanes); sum_b, energy_b, spread_b (windows, lanes)
//   column (width, lanes)       scratch
//   out (lanes)
static void ssim_tile(const std::uint8_t* __restrict__ a, const std::int32_t* __restrict__ sum_a,
                      const float* __restrict__ energy_a, const float* __restrict__ spread_a,
                      std::size_t height, std::size_t width, const std::int16_t* __restrict__ b,
                      const std::int32_t* __restrict__ sum_b, const float* __restrict__ energy_b,
                      const float* __restrict__ spread_b, std::int32_t* __restrict__ column,
                      float* __restrict__ out) {
  constexpr std::size_t L = ssim_lanes;
  const std::size_t across = width + 1 - ssim_window;
  const std::size_t down = height + 1 - ssim_window;
  double total[L] = {};
  for (std::size_t k = 0; k < width * L; ++k) column[k] = 0;
  for (std::size_t y = 0; y < height; ++y) {
    const std::uint8_t* a_in = a + y * width;
    const std::int16_t* b_in = b + y * width * L;
    if (y < ssim_window) {
      for (std::size_t x = 0; x < width; ++x)
        for (std::size_t l = 0; l < L; ++l) column[x * L + l] += a_in[x] * b_in[x * L + l];
    } else {
      const std::uint8_t* a_out = a_in - ssim_window * width;
      const std::int16_t* b_out = b_in - ssim_window * width * L;
      for (std::size_t x = 0; x < width; ++x)
        for (std::size_t l = 0; l < L; ++l)
          column[x * L + l] += a_in[x] * b_in[x * L + l] - a_out[x] * b_out[x * L + l];
    }
    if (y + 1 < ssim_window) continue;
    std::int32_t product[L] = {};
    for (std::size_t x = 0; x + 1 < ssim_window; ++x)
      for (std::size_t l = 0; l < L; ++l) product[l] += column[x * L + l];
    float row[L] = {};
    const std::size_t first = (y + 1 - ssim_window) * across;
    for (std::size_t x = 0; x < across; ++x) {
      const std::size_t window = first + x;
      const std::int32_t sa = sum_a[window];
      const float ea = energy_a[window];
      const float va = spread_a[window];
      const std::int32_t* sb = sum_b + window * L;
      const float* eb = energy_b + window * L;
      const float* vb = spread_b + window * L;
      const std::int32_t* entering = column + (x + ssim_window - 1) * L;
      const std::int32_t* leaving = column + x * L;
      for (std::size_t l = 0; l < L; ++l) {
        product[l] += entering[l];
        const std::int32_t means = sa * sb[l];
        const std::int32_t covariance = ssim_area * product[l] - means;
        const float above = (2.0f * static_cast<float>(means) + static_cast<float>(ssim_c1)) *
                            (2.0f * static_cast<float>(covariance) + static_cast<float>(ssim_c2));
        const float below = (ea + eb[l]) * (va + vb[l]);
        row[l] += above / below;
        product[l] -= leaving[l];
      }
      if (x % 64 == 63 || x + 1 == across)  // short float32 sums keep the error bound
        for (std::size_t l = 0; l < L; ++l) {
          total[l] += static_cast<double>(row[l]);
          row[l] = 0.0f;
        }
    }
  }
  for (std::size_t l = 0; l < L; ++l)
    out[l] = static_cast<float>(total[l] / static_cast<double>(across * down));
}

// The canonical mean SSIM of one pair.
//   column (5, width), column_score (width)    scratch
// Window scores are added down each column of windows first, then along the row of column sums.
static double ssim_pair(const std::uint8_t* a, const std::uint8_t* b, std::size_t height,
                        std::size_t width, std::int32_t* column, double* column_score) {
  const std::size_t across = width + 1 - ssim_window;
  const std::size_t down = height + 1 - ssim_window;
  std::int32_t* ca = column;
  std::int32_t* cb = ca + width;
  std::int32_t* caa = cb + width;
  std::int32_t* cbb = caa + width;
  std::int32_t* cab = cbb + width;
  for (std::size_t k = 0; k < 5 * width; ++k) column[k] = 0;
  for (std::size_t x = 0; x < width; ++x) column_score[x] = 0.0;
  for (std::size_t y = 0; y < height; ++y) {
    const std::uint8_t* pa = a + y * width;
    const std::uint8_t* pb = b + y * width;
    for (std::size_t x = 0; x < width; ++x) {
      ca[x] += pa[x];
      cb[x] += pb[x];
      caa[x] += pa[x] * pa[x];
      cbb[x] += pb[x] * pb[x];
      cab[x] += pa[x] * pb[x];
    }
    if (y + 1 < ssim_window) continue;
    for (std::size_t x = 0; x < across; ++x) {
      std::int32_t sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
      for (std::size_t u = x; u < x + ssim_window; ++u) {
        sa += ca[u];
        sb += cb[u];
        saa += caa[u];
        sbb += cbb[u];
        sab += cab[u];
      }
      const double above =
          (2.0 * (sa * sb) + ssim_c1) * (2.0 * (ssim_area * sab - sa * sb) + ssim_c2);
      const double below = ((sa * sa + sb * sb) + ssim_c1) *
                           (((ssim_area * saa - sa * sa) + (ssim_area * sbb - sb * sb)) + ssim_c2);
      column_score[x] += above / below;
    }
    const std::uint8_t* oa = pa - (ssim_window - 1) * width;
    const std::uint8_t* ob = pb - (ssim_window - 1) * width;
    for (std::size_t x = 0; x < width; ++x) {
      ca[x] -= oa[x];
      cb[x] -= ob[x];
      caa[x] -= oa[x] * oa[x];
      cbb[x] -= ob[x] * ob[x];
      cab[x] -= oa[x] * ob[x];
    }
  }
  double total = 0.0;
  for (std::size_t x = 0; x < across; ++x) total += column_score[x];
  return total / static_cast<double>(across * down);
}

}  // namespace clusterimg::CLUSTERIMG_ISA
