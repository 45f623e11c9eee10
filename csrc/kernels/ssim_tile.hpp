// A fast float32 mean SSIM of four images against eight: the formula of kernels/ssim.hpp, times 4,
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
//   stride                           from a row of an image to the next, `width` or more
//   column (2, width, lanes)         scratch
//   pixel (height, width, lanes)     halves 2 p and 2 p seven rows above (0 where there is none)
//   sum (windows, lanes)             halves 2 S and 25
//   factor (windows, 2, lanes)       2 S^2 + k1 / 2, then 2 (N SS - S^2) + k2 / 2
static void ssim_pack(const std::uint8_t* const* images, std::size_t stride, std::size_t height,
                      std::size_t width, std::int32_t* column, std::int32_t* pixel,
                      std::int32_t* sum, float* factor) {
  const std::size_t above = ssim_window * width;
  const std::size_t pieces = stride == width ? 1 : height;
  for (std::size_t y = 0; y < pieces; ++y) {
    const std::uint8_t* piece[ssim_lanes];
    for (std::size_t k = 0; k < ssim_lanes; ++k)
      piece[k] = images[k] ? images[k] + y * stride : nullptr;
    lay_eight(piece, height / pieces * width, pixel + y * width * ssim_lanes);
  }
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

// Takes the first or the last four lanes out, as the rows of a tile.
//   pixel, sum, factor               as ssim_pack wrote them
//   row_pixel (height * width, 4)    halves 98 p and -98 p seven rows above
//   row_sum (windows, 4)             halves 2 S and 1249
//   row_factor (windows, 2, 4)
static void ssim_unpack(const std::int32_t* pixel, const std::int32_t* sum, const float* factor,
                        bool last, std::size_t n_pixels, std::size_t n_windows,
                        std::int32_t* row_pixel, std::int32_t* row_sum, float* row_factor) {
  using FourInts = std::int32_t __attribute__((vector_size(16), may_alias));
  using FourPairs = std::int16_t __attribute__((vector_size(16), may_alias));
  constexpr FourPairs share{49, -49, 49, -49, 49, -49, 49, -49};
  const FourPairs* pixels = reinterpret_cast<const FourPairs*>(pixel) + last;
  const FourInts* sums = reinterpret_cast<const FourInts*>(sum) + last;
  const FourInts* factors = reinterpret_cast<const FourInts*>(factor) + last;
  for (std::size_t p = 0; p < n_pixels; ++p)
    reinterpret_cast<FourPairs*>(row_pixel)[p] = pixels[2 * p] * share;
  for (std::size_t w = 0; w < n_windows; ++w)
    reinterpret_cast<FourInts*>(row_sum)[w] = (sums[2 * w] & 0xffff) | ssim_high_row << 16;
  for (std::size_t f = 0; f < 2 * n_windows; ++f)
    reinterpret_cast<FourInts*>(row_factor)[f] = factors[2 * f];
}

// What the inner loop of the tile reads, at one row of pixels and of windows.
struct SsimRow {
  const std::int32_t* pixel;
  const std::int32_t* sum;
  const float* factor;
  const Ints* lane_pixel;
  const Ints* lane_sum;
  const Floats* lane_factor;
};

#define CLUSTERIMG_EACH_ROW _Pragma("GCC unroll 4") for (std::size_t r = 0; r < ssim_tile_rows; ++r)

// Lets a row of pixels into column x of the four images, whose sums of products so far are `column`
// and those of the window that the column enters `product`.
CLUSTERIMG_INLINE void ssim_enter(const SsimRow& at, std::size_t x, Ints* column, Ints* product) {
  constexpr std::size_t R = ssim_tile_rows;
  CLUSTERIMG_EACH_ROW {
    const Ints sum =
        column[R * x + r] + multiply_halves(all_lanes(at.pixel[R * x + r]), at.lane_pixel[x]);
    column[R * x + r] = sum;
    product[r] += sum;
  }
}

// The scores of window x; its first column leaves `product`.
CLUSTERIMG_INLINE void ssim_score_window(const SsimRow& at, std::size_t x, const Ints* leaving,
                                         Ints* product, Floats* score) {
  constexpr std::size_t R = ssim_tile_rows;
  CLUSTERIMG_EACH_ROW {
    const Ints means = multiply_halves(all_lanes(at.sum[R * x + r]), at.lane_sum[x]);
    const Floats above = as_floats(means) * as_floats(product[r] - means);
    product[r] -= leaving[R * x + r];
    score[r] = above / ((all_lanes(at.factor[R * 2 * x + r]) + at.lane_factor[2 * x]) *
                        (all_lanes(at.factor[R * (2 * x + 1) + r]) + at.lane_factor[2 * x + 1]));
  }
}

// Adds the scores of the first `n` windows of a row to `total`. A column is let in one window
// ahead, while the processor divides. `leaving` is `column` under another name, which keeps the
// compiler from holding columns in registers that it has not got.
static void ssim_add_windows(const SsimRow& at, std::size_t n, Ints* column, const Ints* leaving,
                             double* total) {
  Ints product[ssim_tile_rows];
  Floats sum[ssim_tile_rows] = {}, score[ssim_tile_rows];
  CLUSTERIMG_EACH_ROW product[r] = all_lanes(ssim_k1 + ssim_k2);
#pragma GCC unroll 1
  for (std::size_t x = 0; x < ssim_window; ++x) ssim_enter(at, x, column, product);
#pragma GCC unroll 1
  for (std::size_t x = 0; x + 1 < n; ++x) {
    ssim_score_window(at, x, leaving, product, score);
    ssim_enter(at, x + ssim_window, column, product);
    CLUSTERIMG_EACH_ROW sum[r] += score[r];
  }
  ssim_score_window(at, n - 1, leaving, product, score);
  CLUSTERIMG_EACH_ROW {
    LooseDoubles* out = reinterpret_cast<LooseDoubles*>(total + r * ssim_lanes);
    *out += __builtin_convertvector(sum[r] + score[r], Doubles);
  }
}

// Adds the scores of all windows of four images against the eight lanes to `total`.
//   row_pixel, row_sum, row_factor   as ssim_unpack wrote them
//   pixel, sum, factor               as ssim_pack wrote them; at most ssim_strip windows across, so
//                                    that the short sums in float32 keep the error bound
//   column (width, 4, lanes)         scratch
//   total (4, lanes)
static void ssim_tile(const std::int32_t* row_pixel, const std::int32_t* row_sum,
                      const float* row_factor, std::size_t height, std::size_t width,
                      const std::int32_t* pixel, const std::int32_t* sum, const float* factor,
                      std::int32_t* column, double* total) {
  constexpr std::size_t R = ssim_tile_rows;
  const std::size_t across = width + 1 - ssim_window;
  Ints* columns = reinterpret_cast<Ints*>(column);
  const Ints* leaving = columns;
  __asm__("" : "+r"(leaving));
  SsimRow at{row_pixel,
             row_sum,
             row_factor,
             reinterpret_cast<const Ints*>(pixel),
             reinterpret_cast<const Ints*>(sum),
             reinterpret_cast<const Floats*>(factor)};
  for (std::size_t k = 0; k < R * width; ++k) columns[k] = Ints{};
  for (std::size_t y = 0; y < height; ++y, at.pixel += R * width, at.lane_pixel += width) {
    if (y + 1 < ssim_window) {
      for (std::size_t x = 0; x < width; ++x) {
        Ints no_window[R] = {};  // anew for each column: those of a wide image would overflow it
        ssim_enter(at, x, columns, no_window);
      }
      continue;
    }
    ssim_add_windows(at, across, columns, leaving, total);
    at.sum += R * across;
    at.factor += 2 * R * across;
    at.lane_sum += across;
    at.lane_factor += 2 * across;
  }
}

}  // namespace clusterimg::CLUSTERIMG_ISA
