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

// Lets a row of pixels of both images into the column sums.
//   packed, square, product (width)     sums of a + 2^16 b, a^2 + b^2, 2 a b
static void ssim_enter_rows(const std::uint8_t* __restrict a, const std::uint8_t* __restrict b,
                            std::size_t width, std::int32_t* __restrict packed,
                            std::int32_t* __restrict square, std::int32_t* __restrict product) {
  for (std::size_t x = 0; x < width; ++x) {
    packed[x] += a[x] + b[x] * 65536;
    square[x] += a[x] * a[x] + b[x] * b[x];
    product[x] += 2 * a[x] * b[x];
  }
}

// The same, and takes the row seven above out.
static void ssim_exchange_rows(const std::uint8_t* __restrict a, const std::uint8_t* __restrict b,
                               const std::uint8_t* __restrict old_a,
                               const std::uint8_t* __restrict old_b, std::size_t width,
                               std::int32_t* __restrict packed, std::int32_t* __restrict square,
                               std::int32_t* __restrict product) {
  for (std::size_t x = 0; x < width; ++x) {
    packed[x] += (a[x] - old_a[x]) + (b[x] - old_b[x]) * 65536;
    square[x] += (a[x] * a[x] + b[x] * b[x]) - (old_a[x] * old_a[x] + old_b[x] * old_b[x]);
    product[x] += 2 * (a[x] * b[x] - old_a[x] * old_b[x]);
  }
}

CLUSTERIMG_INLINE Ints ssim_sum_of_seven(const std::int32_t* column) {
  Ints sum = *reinterpret_cast<const LooseInts*>(column);
#pragma GCC unroll 6
  for (std::size_t k = 1; k < ssim_window; ++k)
    sum += *reinterpret_cast<const LooseInts*>(column + k);
  return sum;
}

// Adds the scores of a row of windows, eight at a time; what is beyond the last window is of no
// use.
//   column (3, stride)     as ssim_enter_rows
static void ssim_score_row(const std::int32_t* column, std::size_t stride, std::size_t across,
                           double* score) {
  for (std::size_t x = 0; x < across; x += 8) {
    const Ints sums = ssim_sum_of_seven(column + x);
    const Ints swapped = (sums << 16) | (sums >> 16);
    const Ints squared_means = multiply_halves(sums, sums);
    const Ints means = multiply_halves(sums, swapped);
    const Ints spread = ssim_area * ssim_sum_of_seven(column + stride + x) - squared_means;
    const Ints covariance = ssim_area * ssim_sum_of_seven(column + 2 * stride + x) - means;
    const Doubles above = (as_doubles(means) + ssim_c1) * (as_doubles(covariance) + ssim_c2);
    const Doubles below = (as_doubles(squared_means) + ssim_c1) * (as_doubles(spread) + ssim_c2);
    LooseDoubles* out = reinterpret_cast<LooseDoubles*>(score + x);
    *out += above / below;
  }
}

// The canonical mean SSIM of one pair.
//   column (3, width + 8)        scratch
//   column_score (width + 8)     scratch
//   rest (down + 1), least       if not null: -inf as soon as the windows of the rows so far and at
//                                most rest[rows so far] of the others sum to no more than `least`
// Window scores are added down each column of windows first, then along the row of column sums.
//
// The columns hold sums of a + 2^16 b, of a^2 + b^2 and of 2 a b; a window's sums of the first are
// Sa and Sb in two halves of an int32, and one multiply-add makes Sa^2 + Sb^2, another 2 Sa Sb. All
// that is rounded is the four sums with c1 and c2, the products, the quotient and what is added.
static double ssim_pair(const std::uint8_t* a, const std::uint8_t* b, std::size_t height,
                        std::size_t width, std::int32_t* column, double* column_score,
                        const double* rest, double least) {
  const std::size_t across = width + 1 - ssim_window;
  const std::size_t down = height + 1 - ssim_window;
  const std::size_t stride = width + 8;
  for (std::size_t k = 0; k < 3 * stride; ++k) column[k] = 0;
  for (std::size_t x = 0; x < stride; ++x) column_score[x] = 0.0;
  for (std::size_t y = 0; y < height; ++y) {
    const std::size_t entering = y * width, leaving = entering - ssim_window * width;
    if (y < ssim_window)
      ssim_enter_rows(a + entering, b + entering, width, column, column + stride,
                      column + 2 * stride);
    else
      ssim_exchange_rows(a + entering, b + entering, a + leaving, b + leaving, width, column,
                         column + stride, column + 2 * stride);
    if (y + 1 < ssim_window) continue;
    ssim_score_row(column, stride, across, column_score);
    const std::size_t rows = y + 2 - ssim_window;
    if (!rest || rest[rows] > static_cast<double>(across * (down - rows))) continue;
    double so_far = 0.0;
    for (std::size_t x = 0; x < across; ++x) so_far += column_score[x];
    if (so_far + rest[rows] <= least) return -__builtin_inf();
  }
  double total = 0.0;
  for (std::size_t x = 0; x < across; ++x) total += column_score[x];
  return total / static_cast<double>(across * down);
}

}  // namespace clusterimg::CLUSTERIMG_ISA
