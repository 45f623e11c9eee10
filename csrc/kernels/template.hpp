// Template matching of images of one size by exact integer sums (OpenCV's TM_SQDIFF_NORMED).
//
// The error of a template T against a patch P of its size is
//   (sum T^2 + sum P^2 - 2 sum T P) / sqrt(sum T^2 * sum P^2),   at most 1;
// where the norm is 0 it is 0 if patch and template are equal, else 1. All three sums are exact
// integers, and the formula is evaluated once in float64: the same bits on every machine. A float64
// holds every sum exactly (2^53 / 255^2 is 10^11 pixels).
//
// Many dot products at once (dot_tile) take half the multiplications by Winograd's identity
//   (a0 + b1) (a1 + b0) = a0 b0 + a1 b1 + a0 a1 + b0 b1
// whose last two terms belong to one image each. With pairs(a) = sum (a0 + a1)^2 of an image,
//   sum a^2 + sum b^2 - 2 sum a b = pairs(a) + pairs(b) - 2 sum (a0 + b1) (a1 + b0).
// A multiply-add of two int16 then serves four pixels instead of two, for two more additions. These
// are what a CPU has more units for: 32 multiplications a cycle instead of 26 on Zen 3.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

// Sets apart the even and the odd pixels of 32, with their sum of squares and that of their pairs.
static inline void spread_32(const std::uint8_t* greys, std::int16_t* out, std::int32_t* squares,
                             std::int32_t* pairs) {
  for (std::size_t k = 0; k < 16; ++k) {
    const std::int32_t even = greys[2 * k], odd = greys[2 * k + 1];
    out[k] = static_cast<std::int16_t>(even);
    out[16 + k] = static_cast<std::int16_t>(odd);
    *squares += even * even + odd * odd;
    *pairs += (even + odd) * (even + odd);
  }
}

// Sets apart the even and the odd pixels of a piece of an image, 16 of each by turns.
//   greys (n)                          n at most dot_piece
//   out   n rounded up to 32; zeros after the last
//   energy, pairs                      the sums of the head of this file, added to
static void spread_greys(const std::uint8_t* greys, std::size_t n, std::int16_t* out,
                         double* energy, double* pairs) {
  std::size_t p = 0;
  std::int32_t squares = 0, both = 0;
#if defined(CLUSTERIMG_INT16_LANES)
  Int16s square_sums[2] = {}, pair_sums = {};
  for (; p + 32 <= n; p += 32)
    for (std::size_t half = 0; half < 16; half += int16_lanes) {
      const Int16s bytes = load16(greys + p + 2 * half);
      const Int16s even = even_bytes(bytes), odd = odd_bytes(bytes), sum = add16(even, odd);
      store16(out + p + half, even);
      store16(out + p + half + 16, odd);
      add_products(square_sums[0], even, even);
      add_products(square_sums[1], odd, odd);
      add_products(pair_sums, sum, sum);
    }
  squares = total_of(square_sums[0]) + total_of(square_sums[1]);
  both = total_of(pair_sums);
#endif
  for (; p < n; p += 32) {
    std::uint8_t last[32] = {};
    for (std::size_t k = 0; k < 32 && p + k < n; ++k) last[k] = greys[p + k];
    spread_32(last, out + p, &squares, &both);
  }
  *energy += squares;
  *pairs += both;
}

// Adds sum (a0 + b1) (a1 + b0) of two rows of a and four of b, held in registers.
static inline void dot_two_by_four(const std::int16_t* a, const std::int16_t* b, std::size_t n,
                                   double* out, std::size_t n_out) {
#if defined(CLUSTERIMG_INT16_LANES)
  Int16s sums[2][4] = {};
  for (std::size_t p = 0; p < n; p += 32)
    for (std::size_t half = p; half < p + 16; half += int16_lanes) {
      const Int16s even0 = load16(a + half), odd0 = load16(a + half + 16);
      const Int16s even1 = load16(a + dot_stride + half), odd1 = load16(a + dot_stride + half + 16);
#pragma GCC unroll 4
      for (std::size_t j = 0; j < 4; ++j) {
        Int16s even = load16(b + j * dot_stride + half),
               odd = load16(b + j * dot_stride + half + 16);
        hold(even);
        hold(odd);
        add_products(sums[0][j], add16(even0, odd), add16(odd0, even));
        add_products(sums[1][j], add16(even1, odd), add16(odd1, even));
      }
    }
  add_row_totals(sums, out, n_out);
#else
  for (std::size_t i = 0; i < 2; ++i)
    for (std::size_t j = 0; j < 4; ++j) {
      const std::int16_t *x = a + i * dot_stride, *y = b + j * dot_stride;
      std::int32_t sum = 0;
      for (std::size_t p = 0; p < n; p += 32)
        for (std::size_t k = p; k < p + 16; ++k) sum += (x[k] + y[k + 16]) * (x[k + 16] + y[k]);
      out[i * n_out + j] += sum;
    }
#endif
}

// Adds sum (a0 + b1) (a1 + b0) of pieces of images as spread_greys leaves them.
//   a (n_a, dot_stride), n_a even; b (n_b, dot_stride), n_b a multiple of 4
//   n        pixels, a multiple of 32, at most dot_piece
//   out (n_a, n_out)                   exact; only the first n_b columns
static void dot_tile(const std::int16_t* a, std::size_t n_a, const std::int16_t* b, std::size_t n_b,
                     std::size_t n, double* out, std::size_t n_out) {
  constexpr std::size_t kept = 8;  // rows of b, half of the first cache, while all of a pass by
  for (std::size_t first = 0; first < n_b; first += kept)
    for (std::size_t i = 0; i < n_a; i += 2)
      for (std::size_t j = first; j < first + kept && j < n_b; j += 4)
        dot_two_by_four(a + i * dot_stride, b + j * dot_stride, n, out + i * n_out + j, n_out);
}

// The scores of one image against several. Every step rounds as the plain ones below do; compilers
// leave comparisons that may trap as branches.
//   energy, pairs                      of that image
//   energies, all_pairs (n)            of the others
//   dots (n)                           sum (a0 + b1) (a1 + b0)
static void template_row(double energy, double pairs, const double* energies,
                         const double* all_pairs, const double* dots, std::size_t n, double* out) {
  std::size_t j = 0;
#if defined(__AVX2__)
  const __m256d zero = _mm256_setzero_pd(), one = _mm256_set1_pd(1.0);
  for (; j + 4 <= n; j += 4) {
    const __m256d both = _mm256_add_pd(_mm256_set1_pd(pairs), _mm256_loadu_pd(all_pairs + j));
    const __m256d dot = _mm256_loadu_pd(dots + j);
    const __m256d distance = _mm256_sub_pd(both, _mm256_add_pd(dot, dot));
    const __m256d norm =
        _mm256_sqrt_pd(_mm256_mul_pd(_mm256_set1_pd(energy), _mm256_loadu_pd(energies + j)));
    const __m256d flat = _mm256_and_pd(_mm256_cmp_pd(distance, zero, _CMP_NEQ_UQ), one);
    const __m256d error = _mm256_blendv_pd(_mm256_div_pd(distance, norm), flat,
                                           _mm256_cmp_pd(norm, zero, _CMP_EQ_OQ));
    _mm256_storeu_pd(out + j, _mm256_sub_pd(one, _mm256_min_pd(error, one)));
  }
#endif
  for (; j < n; ++j) {
    const double distance = pairs + all_pairs[j] - 2.0 * dots[j];
    const double norm = __builtin_sqrt(energy * energies[j]);
    const double ratio = distance / norm;
    const double flat = distance == 0.0 ? 0.0 : 1.0;
    const double error = norm == 0.0 ? flat : ratio;
    out[j] = 1.0 - (error < 1.0 ? error : 1.0);
  }
}

// The exact dot product of two rows of greys; n at most dot_block.
static double grey_dot(const std::uint8_t* a, const std::uint8_t* b, std::size_t n) {
  std::int32_t dot = 0;
  std::size_t p = 0;
#if defined(CLUSTERIMG_INT16_LANES)
  Int16s evens = {}, odds = {};
  for (; p + 2 * int16_lanes <= n; p += 2 * int16_lanes) {
    Int16s x = load16(a + p), y = load16(b + p);
    hold(x);
    hold(y);
    add_products(evens, even_bytes(x), even_bytes(y));
    add_products(odds, odd_bytes(x), odd_bytes(y));
  }
  dot = total_of(evens) + total_of(odds);
#endif
  for (; p < n; ++p) dot += a[p] * b[p];
  return dot;
}

}  // namespace clusterimg::CLUSTERIMG_ISA
