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

using QuadInts = std::int32_t __attribute__((vector_size(16)));
using Quads = double __attribute__((vector_size(32)));
using LooseQuads = double __attribute__((vector_size(32), may_alias, aligned(8)));

// Pixels of two images, one to each half of a lane, from eight bytes of each.
CLUSTERIMG_INLINE Shorts ssim_zip(std::uint64_t a, std::uint64_t b) {
#if defined(__AVX2__)
  const __m128i first = _mm_cvtsi64_si128(static_cast<long long>(a));
  const __m128i second = _mm_cvtsi64_si128(static_cast<long long>(b));
  return Shorts(_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(first, second)));
#elif defined(__SSE2__)
  const __m128i both = _mm_unpacklo_epi8(_mm_cvtsi64_si128(static_cast<long long>(a)),
                                         _mm_cvtsi64_si128(static_cast<long long>(b)));
  const __m128i zipped[2] = {_mm_unpacklo_epi8(both, _mm_setzero_si128()),
                             _mm_unpackhi_epi8(both, _mm_setzero_si128())};
  Shorts v;
  __builtin_memcpy(&v, zipped, sizeof v);
  return v;
#else
  return Shorts(widened(a) | widened(b) << 16);
#endif
}

// The halves of each lane exchanged; none is negative.
CLUSTERIMG_INLINE Ints ssim_swapped(Ints v) {
#if defined(__AVX2__)
  const Shorts s = Shorts(v);
  return Ints(__builtin_shufflevector(s, s, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
#else
  return (v << 16) | (v >> 16);
#endif
}

// 49 in every half, of which the compiler does not know that it could be shifts and additions.
CLUSTERIMG_INLINE Shorts ssim_areas() {
  Ints areas = all_lanes(halves(ssim_area, ssim_area));
#if defined(__AVX2__)
  __asm__("" : "+x"(areas));
#endif
  return Shorts(areas);
}

CLUSTERIMG_INLINE std::uint64_t ssim_word(const std::uint8_t* bytes) {
  std::uint64_t word;
  __builtin_memcpy(&word, bytes, sizeof word);
  return word;
}

// The last bytes of a row, from x on, as a word; no byte outside the row is read.
CLUSTERIMG_INLINE std::uint64_t ssim_last_word(const std::uint8_t* row, std::size_t x,
                                               std::size_t width) {
  if (width >= 8) return ssim_word(row + width - 8) >> (8 * (x + 8 - width));
  std::uint64_t word = 0;
  __builtin_memcpy(&word, row, ssim_window);
  return word;
}

// Lets eight pixels of both images into the column sums and takes those seven rows above out:
// in^2 - out^2 = (in - out) (in + out), and the sum of both such crosswise products is
// 2 a_in b_in - 2 a_out b_out.
//   in, out                  halves a and b
//   column (3, stride)       halves of the sums of a and of b; 49 (a^2 + b^2); 98 a b
CLUSTERIMG_INLINE void ssim_exchange(Shorts in, Shorts out, std::int32_t* column,
                                     std::size_t stride) {
  const Shorts change = in - out, sum = (in + out) * ssim_areas();
  LooseShorts* sums = reinterpret_cast<LooseShorts*>(column);
  LooseInts* squares = reinterpret_cast<LooseInts*>(column + stride);
  LooseInts* products = reinterpret_cast<LooseInts*>(column + 2 * stride);
  *sums += change;
  *squares += multiply_halves(Ints(change), Ints(sum));
  *products += multiply_halves(Ints(change), ssim_swapped(Ints(sum)));
}

// The same for a row of pixels; `above` is how far the row that leaves is before it, 0 for none.
static void ssim_exchange_rows(const std::uint8_t* a, const std::uint8_t* b, std::size_t above,
                               std::size_t width, std::int32_t* column, std::size_t stride) {
  std::size_t x = 0;
  if (above == 0)
    for (; x + 8 <= width; x += 8)
      ssim_exchange(ssim_zip(ssim_word(a + x), ssim_word(b + x)), Shorts{}, column + x, stride);
  else
    for (; x + 8 <= width; x += 8)
      ssim_exchange(ssim_zip(ssim_word(a + x), ssim_word(b + x)),
                    ssim_zip(ssim_word(a - above + x), ssim_word(b - above + x)), column + x,
                    stride);
  if (x == width) return;
  const Shorts in = ssim_zip(ssim_last_word(a, x, width), ssim_last_word(b, x, width));
  const Shorts out = above == 0 ? Shorts{}
                                : ssim_zip(ssim_last_word(a - above, x, width),
                                           ssim_last_word(b - above, x, width));
  ssim_exchange(in, out, column + x, stride);
}

CLUSTERIMG_INLINE Ints ssim_sum_of_seven(const std::int32_t* column) {
  Ints sum = *reinterpret_cast<const LooseInts*>(column);
#pragma GCC unroll 6
  for (std::size_t k = 1; k < ssim_window; ++k)
    sum += *reinterpret_cast<const LooseInts*>(column + k);
  return sum;
}

CLUSTERIMG_INLINE QuadInts low_half(Ints v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3); }
CLUSTERIMG_INLINE QuadInts high_half(Ints v) { return __builtin_shufflevector(v, v, 4, 5, 6, 7); }
CLUSTERIMG_INLINE Quads as_quads(QuadInts v) {
#if defined(__AVX__)
  return Quads(_mm256_cvtepi32_pd(__m128i(v)));
#else
  return __builtin_convertvector(v, Quads);
#endif
}

CLUSTERIMG_INLINE Quads ssim_quotients(QuadInts means, QuadInts covariance, QuadInts squared_means,
                                       QuadInts spread) {
  const Quads above = (as_quads(means) + ssim_c1) * (as_quads(covariance) + ssim_c2);
  const Quads below = (as_quads(squared_means) + ssim_c1) * (as_quads(spread) + ssim_c2);
  return above / below;
}

// Adds the scores of a row of windows, eight at a time; what is beyond the last window is of no
// use.
//   column (3, stride)     as ssim_exchange
static void ssim_score_row(const std::int32_t* column, std::size_t stride, std::size_t across,
                           double* score) {
  for (std::size_t x = 0; x < across; x += 8) {
    const Ints sums = ssim_sum_of_seven(column + x);
    const Ints squared_means = multiply_halves(sums, sums);
    const Ints means = multiply_halves(sums, ssim_swapped(sums));
    const Ints spread = ssim_sum_of_seven(column + stride + x) - squared_means;
    const Ints covariance = ssim_sum_of_seven(column + 2 * stride + x) - means;
    LooseQuads* out = reinterpret_cast<LooseQuads*>(score + x);
    out[0] += ssim_quotients(low_half(means), low_half(covariance), low_half(squared_means),
                             low_half(spread));
    out[1] += ssim_quotients(high_half(means), high_half(covariance), high_half(squared_means),
                             high_half(spread));
  }
}

// The sum of n scores, in an order that is quick.
static double ssim_about(const double* score, std::size_t n) {
  Quads even{}, odd{};
  std::size_t x = 0;
  for (; x + 8 <= n; x += 8) {
    even += *reinterpret_cast<const LooseQuads*>(score + x);
    odd += *reinterpret_cast<const LooseQuads*>(score + x + 4);
  }
  even += odd;
  double sum = (even[0] + even[1]) + (even[2] + even[3]);
  for (; x < n; ++x) sum += score[x];
  return sum;
}

// The canonical mean SSIM of one pair.
//   column (3, width + 8)        scratch
//   column_score (width + 8)     scratch
//   rest (down + 1), least       if not null: -inf as soon as the windows of the rows so far and at
//                                most rest[rows so far] of the others sum to no more than `least`
// Window scores are added down each column of windows first, then along the row of column sums.
//
// The columns hold sums of a and b in two halves of an int32, 49 (a^2 + b^2) and 98 a b; a window's
// sums of the first are Sa and Sb, and one multiply-add makes Sa^2 + Sb^2, another 2 Sa Sb. All
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
    ssim_exchange_rows(a + y * width, b + y * width, y < ssim_window ? 0 : ssim_window * width,
                       width, column, stride);
    if (y + 1 < ssim_window) continue;
    ssim_score_row(column, stride, across, column_score);
    const std::size_t rows = y + 2 - ssim_window;
    if (!rest || rest[rows] > static_cast<double>(across * (down - rows))) continue;
    if (ssim_about(column_score, across) + rest[rows] <= least) return -__builtin_inf();
  }
  double total = 0.0;
  for (std::size_t x = 0; x < across; ++x) total += column_score[x];
  return total / static_cast<double>(across * down);
}

}  // namespace clusterimg::CLUSTERIMG_ISA
