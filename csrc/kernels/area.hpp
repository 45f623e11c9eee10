// Rows of a grey image made narrower by area, 16 rows at a time: the horizontal pass of OpenCV's
// INTER_AREA, bit for bit.
//
// OpenCV adds, from the left, the products of pixels and float weights. So each sum keeps that
// order; rows lie in lanes, for which the pixels are turned on their side first.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace clusterimg::CLUSTERIMG_ISA {

typedef std::uint8_t AreaBytes __attribute__((vector_size(16)));
typedef std::uint16_t AreaWords __attribute__((vector_size(16)));
typedef std::int32_t AreaInts __attribute__((vector_size(16)));
typedef float AreaFloats __attribute__((vector_size(16)));

static inline AreaBytes area_load(const std::uint8_t* from) {
  AreaBytes bytes;
  __builtin_memcpy(&bytes, from, sizeof bytes);
  return bytes;
}

// The bytes of a and b in turn: those of the first halves, and those of the second.
static inline AreaBytes area_low(AreaBytes a, AreaBytes b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

static inline AreaBytes area_high(AreaBytes a, AreaBytes b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                 31);
}

// 16 columns of 16 rows, from rows `stride` bytes apart -> columns (16, 16).
static inline void area_turn(const std::uint8_t* rows, std::size_t stride, std::uint8_t* columns) {
  AreaBytes a[16], b[16];
  for (std::size_t r = 0; r < 16; ++r) a[r] = area_load(rows + r * stride);
  for (int round = 0; round < 4; ++round) {
    for (std::size_t r = 0; r < 8; ++r) {
      b[2 * r] = area_low(a[r], a[r + 8]);
      b[2 * r + 1] = area_high(a[r], a[r + 8]);
    }
    for (std::size_t r = 0; r < 16; ++r) a[r] = b[r];
  }
  __builtin_memcpy(columns, a, sizeof a);
}

#if defined(__AVX2__)

static inline __m256 area_widened(const std::uint8_t* pixels) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(pixels));
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
}

// The weighted sum of some columns, for 16 rows.
static inline void area_sum(const std::uint8_t* columns, const float* weights, std::size_t n,
                            float* out) {
  __m256 low = _mm256_setzero_ps(), high = low;
  for (std::size_t t = 0; t < n; ++t) {
    const __m256 weight = _mm256_broadcast_ss(weights + t);
    low = _mm256_add_ps(low, _mm256_mul_ps(area_widened(columns + 16 * t), weight));
    high = _mm256_add_ps(high, _mm256_mul_ps(area_widened(columns + 16 * t + 8), weight));
  }
  _mm256_storeu_ps(out, low);
  _mm256_storeu_ps(out + 8, high);
}

#else

static inline AreaFloats area_widened(AreaWords words, bool second_half) {
  const AreaWords zero = {};
  const AreaWords wide = second_half
                             ? __builtin_shufflevector(words, zero, 4, 12, 5, 13, 6, 14, 7, 15)
                             : __builtin_shufflevector(words, zero, 0, 8, 1, 9, 2, 10, 3, 11);
  return __builtin_convertvector(reinterpret_cast<AreaInts>(wide), AreaFloats);
}

static inline void area_sum(const std::uint8_t* columns, const float* weights, std::size_t n,
                            float* out) {
  const AreaBytes zero = {};
  AreaFloats sums[4] = {};
  for (std::size_t t = 0; t < n; ++t) {
    const AreaBytes bytes = area_load(columns + 16 * t);
    const AreaWords low = reinterpret_cast<AreaWords>(area_low(bytes, zero));
    const AreaWords high = reinterpret_cast<AreaWords>(area_high(bytes, zero));
    sums[0] += area_widened(low, false) * weights[t];
    sums[1] += area_widened(low, true) * weights[t];
    sums[2] += area_widened(high, false) * weights[t];
    sums[3] += area_widened(high, true) * weights[t];
  }
  __builtin_memcpy(out, sums, sizeof sums);
}

#endif

// image: the first of 16 rows of `width` pixels -> out (n_out, 16): the sum of count[k] columns
// from first[k] on, weighted, for each row.
//   weights     those of all k, one after another
//   columns (width, 16)   scratch
static void area_rows(const std::uint8_t* image, std::size_t width, const std::int32_t* first,
                      const std::int32_t* count, const float* weights, std::size_t n_out,
                      std::uint8_t* columns, float* out) {
  std::size_t x = 0;
  for (; x + 16 <= width; x += 16) area_turn(image + x, width, columns + 16 * x);
  for (; x < width; ++x)
    for (std::size_t r = 0; r < 16; ++r) columns[16 * x + r] = image[r * width + x];
  for (std::size_t k = 0; k < n_out; ++k) {
    const std::size_t n = static_cast<std::size_t>(count[k]);
    area_sum(columns + 16 * static_cast<std::size_t>(first[k]), weights, n, out + 16 * k);
    weights += n;
  }
}

}  // namespace clusterimg::CLUSTERIMG_ISA
