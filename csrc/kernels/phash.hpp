// The passes of the perceptual hash: Pillow's 8-bit resampling and the low corner of a DCT.
//
// Pillow resamples rows, then columns, with weights of 22 fractional bits, and rounds to 8 bits
// after each pass. The sums are exact int32, so any order of additions gives Pillow's bytes.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace clusterimg::CLUSTERIMG_ISA {

constexpr int resample_bits = 32 - 8 - 2;

static inline std::uint8_t resample_round(std::uint32_t total) {
  const std::int32_t grey = static_cast<std::int32_t>(total) >> resample_bits;
  return static_cast<std::uint8_t>(grey < 0 ? 0 : grey > 255 ? 255 : grey);
}

// The widened pixels of a row, and n_taps zeros, for weights that stand past its end.
static inline void resample_widen(const std::uint8_t* pixels, std::size_t width, std::size_t n_taps,
                                  std::int16_t* row) {
  for (std::size_t x = 0; x < width; ++x) row[x] = pixels[x];
  for (std::size_t t = 0; t < n_taps; ++t) row[width + t] = 0;
}

#if defined(__AVX2__)

// The weighted sums of four rows `stride` apart: one load of the weights serves all.
static inline __m128i resample_four(const std::int16_t* row, std::size_t stride,
                                    const std::int16_t* high, const std::int16_t* low,
                                    std::size_t n_taps) {
  __m256i high_total[4], low_total[4];
  for (int r = 0; r < 4; ++r) high_total[r] = low_total[r] = _mm256_setzero_si256();
  for (std::size_t t = 0; t < n_taps; t += 16) {
    const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(high + t));
    const __m256i l = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(low + t));
    for (std::size_t r = 0; r < 4; ++r) {
      const std::int16_t* at = row + r * stride + t;
      const __m256i pixels = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
      high_total[r] = _mm256_add_epi32(high_total[r], _mm256_madd_epi16(pixels, h));
      low_total[r] = _mm256_add_epi32(low_total[r], _mm256_madd_epi16(pixels, l));
    }
  }
  // A whole sum fits 32 bits, though parts of it may not: they wrap, and so does their sum.
  __m256i total[4];
  for (int r = 0; r < 4; ++r)
    total[r] = _mm256_add_epi32(_mm256_slli_epi32(high_total[r], 11), low_total[r]);
  const __m256i halves = _mm256_hadd_epi32(_mm256_hadd_epi32(total[0], total[1]),
                                           _mm256_hadd_epi32(total[2], total[3]));
  return _mm_add_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
}

// Four columns of out, for the first n of four rows.
static inline void resample_block(const std::int16_t* row, std::size_t stride,
                                  const std::int32_t* first, const std::int16_t* high,
                                  const std::int16_t* low, std::size_t n_taps, std::size_t n,
                                  std::size_t n_out, std::uint8_t* out) {
  const __m128i half = _mm_set1_epi32(1 << (resample_bits - 1));
  __m128i grey[4];  // one column each
  for (std::size_t k = 0; k < 4; ++k) {
    const __m128i total =
        resample_four(row + first[k], stride, high + k * n_taps, low + k * n_taps, n_taps);
    grey[k] = _mm_srai_epi32(_mm_add_epi32(total, half), resample_bits);
  }
  const __m128i columns =
      _mm_packus_epi16(_mm_packs_epi32(grey[0], grey[1]), _mm_packs_epi32(grey[2], grey[3]));
  const __m128i rows = _mm_shuffle_epi8(
      columns, _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  std::uint8_t bytes[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes), rows);
  for (std::size_t r = 0; r < n; ++r) __builtin_memcpy(out + r * n_out, bytes + 4 * r, 4);
}

#else

static inline void resample_block(const std::int16_t* row, std::size_t stride,
                                  const std::int32_t* first, const std::int16_t* high,
                                  const std::int16_t* low, std::size_t n_taps, std::size_t n,
                                  std::size_t n_out, std::uint8_t* out) {
  for (std::size_t r = 0; r < n; ++r)
    for (std::size_t k = 0; k < 4; ++k) {
      const std::int16_t* pixels = row + r * stride + first[k];
      const std::int16_t* h = high + k * n_taps;
      const std::int16_t* l = low + k * n_taps;
      std::int32_t high_total = 0, low_total = 0;
      for (std::size_t t = 0; t < n_taps; ++t) {
        high_total += pixels[t] * h[t];
        low_total += pixels[t] * l[t];
      }
      // The whole sum fits 32 bits, though the shifted half may not.
      const std::uint32_t total =
          (static_cast<std::uint32_t>(high_total) << 11) + static_cast<std::uint32_t>(low_total);
      out[r * n_out + k] = resample_round(total + (1u << (resample_bits - 1)));
    }
}

#endif

// image (height, width) -> out (height, n_out): column k of out weighs n_taps columns of image from
// first[k] on. A weight is high * 2^11 + low, so that both halves fit the 16-bit multiply-add.
//   first (n_out), n_out a multiple of 4
//   high, low (n_out, n_taps), n_taps a multiple of 16, unused weights zero
//   row (4, width + n_taps)    scratch
static void resample_rows(const std::uint8_t* image, std::size_t height, std::size_t width,
                          const std::int32_t* first, const std::int16_t* high,
                          const std::int16_t* low, std::size_t n_taps, std::size_t n_out,
                          std::int16_t* row, std::uint8_t* out) {
  const std::size_t stride = width + n_taps;
  for (std::size_t top = 0; top < height; top += 4) {
    const std::size_t n = height - top < 4 ? height - top : 4;
    for (std::size_t r = 0; r < 4; ++r)  // past the end the last row again
      resample_widen(image + (top + (r < n ? r : n - 1)) * width, width, n_taps, row + r * stride);
    for (std::size_t k = 0; k < n_out; k += 4)
      resample_block(row, stride, first + k, high + k * n_taps, low + k * n_taps, n_taps, n, n_out,
                     out + top * n_out + k);
  }
}

#if defined(__AVX2__)

// 16 columns of the weighted sum of n rows `width` apart.
static inline void resample_sum(const std::uint8_t* image, std::size_t width,
                                const std::int16_t* high, const std::int16_t* low, std::size_t n,
                                std::uint8_t* out) {
  __m256i left = _mm256_set1_epi32(1 << (resample_bits - 1)), right = left;
  for (std::size_t t = 0; t < n; ++t) {
    const __m256i weight = _mm256_set1_epi32(high[t] * (1 << 11) + low[t]);
    const __m128i pixels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(image + t * width));
    const __m256i first = _mm256_cvtepu8_epi32(pixels);
    const __m256i second = _mm256_cvtepu8_epi32(_mm_srli_si128(pixels, 8));
    left = _mm256_add_epi32(left, _mm256_mullo_epi32(first, weight));
    right = _mm256_add_epi32(right, _mm256_mullo_epi32(second, weight));
  }
  left = _mm256_srai_epi32(left, resample_bits);
  right = _mm256_srai_epi32(right, resample_bits);
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(left, right), 0xd8);
  _mm_storeu_si128(
      reinterpret_cast<__m128i*>(out),
      _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}

#endif

// image (height, width) -> out (n_out, width), likewise by rows; count[k] rows from first[k] on.
//   total (width)    scratch
static void resample_columns(const std::uint8_t* image, std::size_t width,
                             const std::int32_t* first, const std::int32_t* count,
                             const std::int16_t* high, const std::int16_t* low, std::size_t n_taps,
                             std::size_t n_out, std::int32_t* total, std::uint8_t* out) {
  for (std::size_t k = 0; k < n_out; ++k, high += n_taps, low += n_taps, out += width) {
    const std::uint8_t* rows = image + static_cast<std::size_t>(first[k]) * width;
    const std::size_t n = static_cast<std::size_t>(count[k]);
    std::size_t begin = 0;
#if defined(__AVX2__)
    for (; begin + 16 <= width; begin += 16)
      resample_sum(rows + begin, width, high, low, n, out + begin);
#endif
    for (std::size_t x = begin; x < width; ++x) total[x] = 1 << (resample_bits - 1);
    for (std::size_t t = 0; t < n; ++t) {
      const std::int32_t weight = high[t] * (1 << 11) + low[t];
      for (std::size_t x = begin; x < width; ++x) total[x] += rows[t * width + x] * weight;
    }
    for (std::size_t x = begin; x < width; ++x)
      out[x] = resample_round(static_cast<std::uint32_t>(total[x]));
  }
}

#if defined(__AVX2__)
typedef double ResampleDoubles __attribute__((vector_size(32)));
#else
typedef double ResampleDoubles __attribute__((vector_size(16)));
#endif

// out[r][c] = sum over i of a[r * row + i * step] * b[i * n_columns + c], from i = 0 on: the order
// of the additions is part of the result. n_rows a multiple of 4, n_columns of 8.
static inline void sum_products(const double* a, std::size_t row, std::size_t step, const double* b,
                                std::size_t n, std::size_t n_rows, std::size_t n_columns,
                                double* out) {
  constexpr std::size_t lanes = sizeof(ResampleDoubles) / sizeof(double);
  for (std::size_t r = 0; r < n_rows; r += 4)
    for (std::size_t c = 0; c < n_columns; c += 2 * lanes) {
      ResampleDoubles left[4] = {}, right[4] = {};
      for (std::size_t i = 0; i < n; ++i) {
        ResampleDoubles low, high;
        __builtin_memcpy(&low, b + i * n_columns + c, sizeof low);
        __builtin_memcpy(&high, b + i * n_columns + c + lanes, sizeof high);
        for (std::size_t k = 0; k < 4; ++k) {
          left[k] += a[(r + k) * row + i * step] * low;
          right[k] += a[(r + k) * row + i * step] * high;
        }
      }
      for (std::size_t k = 0; k < 4; ++k) {
        __builtin_memcpy(out + (r + k) * n_columns + c, &left[k], sizeof left[k]);
        __builtin_memcpy(out + (r + k) * n_columns + c + lanes, &right[k], sizeof right[k]);
      }
    }
}

// The n_low x n_low corner of the unnormalised DCT-II of a square image, float64.
//   image (size, size), size and n_low multiples of 8
//   cosines (size, n_low): 2 cos(pi k (2 n + 1) / (2 size))
//   pixels (size, size), rows (n_low, size)   scratch
static void low_frequencies(const std::uint8_t* image, std::size_t size, const double* cosines,
                            std::size_t n_low, double* pixels, double* rows, double* out) {
  for (std::size_t k = 0; k < size * size; ++k) pixels[k] = image[k];
  sum_products(cosines, 1, n_low, pixels, size, n_low, size, rows);
  sum_products(rows, size, 1, cosines, size, n_low, n_low, out);
}

}  // namespace clusterimg::CLUSTERIMG_ISA
