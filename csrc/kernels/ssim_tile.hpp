// A fast float32 mean SSIM of two images against eight: the formula of kernels/ssim.hpp, times 4,
//   S = (4 Sa Sb + k1) (4 (N Sab - Sa Sb) + k2)
//       / ((2 Sa^2 + 2 Sb^2 + k1) (2 (N Saa - Sa^2) + 2 (N Sbb - Sb^2) + k2))
// with integer constants, k1 = 31225 (2 c1 = 31225.005) and k2 = 275290 (2 c2 = 275289.84), so that
// both factors of the numerator are exact int32 that cost next to nothing to form:
//   one multiply-add of 16-bit halves gives the change of a column sum as a row enters and the row
//   seven above it leaves, (98 a_in, -98 a_out) x (2 b_in, 2 b_out) = 4 N (a_in b_in - a_out
//   b_out); another gives (2 Sa, 1249) x (2 Sb, 25) = 4 Sa Sb + k1.
// The largest of them, 4 N Sab, is 4 * 156125025 + k1 + k2 < 2^30. ssim_tile_error (joins/ssim.hpp)
// has the bound of its error.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

constexpr std::int32_t ssim_high_row = 1249;
constexpr std::int32_t ssim_high_lane = 25;
constexpr std::int32_t ssim_k1 = ssim_high_row * ssim_high_lane;
constexpr std::int32_t ssim_k2 = 275290;

// Lays eight images side by side, with the statistics of their windows in row-major order.
//   images (lanes) of (height, width), null for none: a black image
//   column (2, width, lanes)         scratch
//   pixel (height, width, lanes)     halves 2 p and 2 p seven rows above (0 where there is none)
//   sum (windows, lanes)             halves 2 S and 25
//   factor (windows, 2, lanes)       2 S^2 + k1 / 2, then 2 (N SS - S^2) + k2 / 2
static void ssim_pack(const std::uint8_t* const* images, std::size_t height, std::size_t width,
                      std::int32_t* column, std::int32_t* pixel, std::int32_t* sum, float* factor) {
  const std::size_t above = ssim_window * width;
  lay_eight(images, height * width, pixel);
  Ints* pixels = reinterpret_cast<Ints*>(pixel);
  for (std::size_t p = 0; p < height * width; ++p)
    pixels[p] = 2 * pixels[p] | (p < above ? Ints{} : pixels[p - above] << 16);
  Ints* column_sum = reinterpret_cast<Ints*>(column);
  Ints* column_square = column_sum + width;
  const Ints* entering = pixels;
  Ints* sums = reinterpret_cast<Ints*>(sum);
  Floats* factors = reinterpret_cast<Floats*>(factor);
  for (std::size_t x = 0; x < 2 * width; ++x) column_sum[x] = Ints{};
  for (std::size_t y = 0; y < height; ++y) {
    Ints s{}, q{};
    for (std::size_t x = 0; x < width; ++x) {
      const Ints p = *entering++;
      const Ints sign = all_lanes(halves(1, -1));
      const Ints negated = (p ^ halves(0, -1)) + halves(0, 1);  // the upper half's sign turned
      column_sum[x] += multiply_halves(p, sign);
      column_square[x] += multiply_halves(p, negated);
      s += column_sum[x];
      q += column_square[x];
      if (x + 1 < ssim_window) continue;
      if (y + 1 >= ssim_window) {
        *sums++ = s | halves(0, ssim_high_lane);
        *factors++ = as_floats(s * s) * 0.5f + ssim_k1 * 0.5f;
        *factors++ = as_floats(ssim_area * q - s * s) * 0.5f + ssim_k2 * 0.5f;
      }
      s -= column_sum[x + 1 - ssim_window];
      q -= column_square[x + 1 - ssim_window];
    }
  }
}

// Takes one lane out, as a row of the tile.
//   pixel, sum, factor               as ssim_pack wrote them
//   row_pixel (height * width)       halves 98 p and -98 p seven rows above
//   row_sum (windows)                halves 2 S and 1249
//   row_factor (windows, 2)
static void ssim_unpack(const std::int32_t* pixel, const std::int32_t* sum, const float* factor,
                        std::size_t lane, std::size_t n_pixels, std::size_t n_windows,
                        std::int32_t* row_pixel, std::int32_t* row_sum, float* row_factor) {
  constexpr std::size_t L = ssim_lanes;
  for (std::size_t p = 0; p < n_pixels; ++p) {
    const std::int32_t both = pixel[p * L + lane];
    row_pixel[p] = halves(ssim_area * (both & 0xffff), -ssim_area * (both >> 16));
  }
  for (std::size_t w = 0; w < n_windows; ++w)
    row_sum[w] = halves(sum[w * L + lane] & 0xffff, ssim_high_row);
  for (std::size_t f = 0; f < 2 * n_windows; ++f) row_factor[f] = factor[f * L + lane];
}

// What the inner loop of the tile reads, at one row of pixels and of windows.
struct SsimRow {
  const std::int32_t* pixel[2];
  const std::int32_t* sum[2];
  const float* factor[2];
  const Ints* lane_pixel;
  const Ints* lane_sum;
  const Floats* lane_factor;
};

// Lets a row of pixels into column x of row image r; returns the column's sum of products.
CLUSTERIMG_INLINE Ints ssim_enter(const SsimRow& at, std::size_t r, std::size_t x, Ints* column) {
  return column[2 * x + r] += multiply_halves(all_lanes(at.pixel[r][x]), at.lane_pixel[x]);
}

// One window: the numerator and the denominator of its score.
struct SsimQuotient {
  Floats above, below;
};

CLUSTERIMG_INLINE SsimQuotient ssim_window_at(const SsimRow& at, std::size_t r, std::size_t x,
                                              Ints product) {
  const Ints means = multiply_halves(all_lanes(at.sum[r][x]), at.lane_sum[x]);
  return {as_floats(means) * as_floats(product - means),
          (all_lanes(at.factor[r][2 * x]) + at.lane_factor[2 * x]) *
              (all_lanes(at.factor[r][2 * x + 1]) + at.lane_factor[2 * x + 1])};
}

// Adds the scores of windows [first, last) of one row, of both images a, to `score`; `product`
// holds the sums of products of the windows before, `leaving` is `column` under another name, which
// keeps the compiler from holding columns in registers that it has not got.
CLUSTERIMG_INLINE void ssim_windows(const SsimRow& at, std::size_t first, std::size_t last,
                                    Ints* column, const Ints* leaving, Ints* product,
                                    Floats* score) {
  std::size_t x = first;
  for (; x + 1 < last; x += 2) {
    SsimQuotient q[2][2];
#pragma GCC unroll 2
    for (std::size_t u = 0; u < 2; ++u)
#pragma GCC unroll 2
      for (std::size_t r = 0; r < 2; ++r) {
        product[r] += ssim_enter(at, r, x + u + ssim_window - 1, column);
        q[u][r] = ssim_window_at(at, r, x + u, product[r]);
        product[r] -= leaving[2 * (x + u) + r];
      }
#pragma GCC unroll 2
    for (std::size_t r = 0; r < 2; ++r)
      score[r] += (q[0][r].above * q[1][r].below + q[1][r].above * q[0][r].below) /
                  (q[0][r].below * q[1][r].below);
  }
  for (; x < last; ++x)
    for (std::size_t r = 0; r < 2; ++r) {
      product[r] += ssim_enter(at, r, x + ssim_window - 1, column);
      const SsimQuotient q = ssim_window_at(at, r, x, product[r]);
      product[r] -= leaving[2 * x + r];
      score[r] += q.above / q.below;
    }
}

// Mean SSIM of two images against the eight lanes. Two quotients are added as one, which halves the
// divisions: n / d + m / e = (n e + m d) / (d e). With d and e between 2^32 and 2^59 no product
// leaves the range of float32.
//   row_pixel, row_sum, row_factor   as ssim_unpack wrote them, for two images or twice one
//   pixel, sum, factor               as ssim_pack wrote them
//   column (width, 2, lanes)         scratch
//   out (2, lanes)
static void ssim_tile(const std::int32_t* const* row_pixel, const std::int32_t* const* row_sum,
                      const float* const* row_factor, std::size_t height, std::size_t width,
                      const std::int32_t* pixel, const std::int32_t* sum, const float* factor,
                      std::int32_t* column, float* out) {
  constexpr std::size_t L = ssim_lanes, step = 64;  // short float32 sums keep the error bound
  const std::size_t across = width + 1 - ssim_window, down = height + 1 - ssim_window;
  Ints* columns = reinterpret_cast<Ints*>(column);
  const Ints* leaving = columns;
  __asm__("" : "+r"(leaving));
  double total[2 * L] = {};
  SsimRow at{{row_pixel[0], row_pixel[1]},       {row_sum[0], row_sum[1]},
             {row_factor[0], row_factor[1]},     reinterpret_cast<const Ints*>(pixel),
             reinterpret_cast<const Ints*>(sum), reinterpret_cast<const Floats*>(factor)};
  for (std::size_t k = 0; k < 2 * width; ++k) columns[k] = Ints{};
  for (std::size_t y = 0; y < height; ++y) {
    const bool whole = y + 1 >= ssim_window;
    Ints product[2] = {all_lanes(ssim_k1 + ssim_k2), all_lanes(ssim_k1 + ssim_k2)};
    for (std::size_t x = 0; x < (whole ? ssim_window - 1 : width); ++x)
      for (std::size_t r = 0; r < 2; ++r) {
        const Ints entered = ssim_enter(at, r, x, columns);
        if (whole) product[r] += entered;  // a whole row of columns would not fit an int32
      }
    for (std::size_t x = 0; whole && x < across; x += step) {
      Floats score[2] = {};
      ssim_windows(at, x, x + step < across ? x + step : across, columns, leaving, product, score);
      for (std::size_t k = 0; k < 2 * L; ++k) total[k] += static_cast<double>(score[k / L][k % L]);
    }
    at.lane_pixel += width;
    at.lane_sum += whole ? across : 0;
    at.lane_factor += whole ? 2 * across : 0;
    for (std::size_t r = 0; r < 2; ++r) {
      at.pixel[r] += width;
      at.sum[r] += whole ? across : 0;
      at.factor[r] += whole ? 2 * across : 0;
    }
  }
  for (std::size_t k = 0; k < 2 * L; ++k)
    out[k] = static_cast<float>(total[k] / static_cast<double>(across * down));
}

}  // namespace clusterimg::CLUSTERIMG_ISA
