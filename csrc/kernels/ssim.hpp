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
// operations. kernels/ssim_tile.hpp has a fast float32 score for many pairs.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

constexpr std::size_t ssim_window = 7;
constexpr std::int32_t ssim_area = 49;
constexpr double ssim_c1 = (0.01 * 255) * (0.01 * 255) * (49 * 49);
constexpr double ssim_c2 = (0.03 * 255) * (0.03 * 255) * (49 * 48);

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
