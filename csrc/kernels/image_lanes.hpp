// Eight images side by side: vectors of eight int32 or float32, one image to a lane, written with
// the compiler's vector extension so that one source serves every instruction set.
#pragma once
#include <cstddef>
#include <cstdint>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

// GCC warns, at the end of the source, of vectors wider than the instruction set; here they only
// pass through functions that are always inlined.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace clusterimg::CLUSTERIMG_ISA {

using Ints = std::int32_t __attribute__((vector_size(32), may_alias));
using Shorts = std::int16_t __attribute__((vector_size(32), may_alias));
using Floats = float __attribute__((vector_size(32), may_alias));
using LooseFloats = float __attribute__((vector_size(32), may_alias, aligned(4)));
using LooseInts = std::int32_t __attribute__((vector_size(32), may_alias, aligned(4)));
using LooseShorts = std::int16_t __attribute__((vector_size(32), may_alias, aligned(2)));
using Doubles = double __attribute__((vector_size(64), may_alias));
using LooseDoubles = double __attribute__((vector_size(64), may_alias, aligned(8)));

#define CLUSTERIMG_INLINE static inline __attribute__((always_inline))

CLUSTERIMG_INLINE Ints all_lanes(std::int32_t v) { return Ints{v, v, v, v, v, v, v, v}; }
CLUSTERIMG_INLINE Floats all_lanes(float v) { return Floats{v, v, v, v, v, v, v, v}; }
CLUSTERIMG_INLINE Floats as_floats(Ints v) { return __builtin_convertvector(v, Floats); }
CLUSTERIMG_INLINE Floats as_floats(Doubles v) { return __builtin_convertvector(v, Floats); }
CLUSTERIMG_INLINE Doubles as_doubles(Ints v) { return __builtin_convertvector(v, Doubles); }

CLUSTERIMG_INLINE Floats greater(Floats a, Floats b) {
#if defined(__AVX__)
  return Floats(_mm256_max_ps(__m256(a), __m256(b)));
#else
  return a > b ? a : b;
#endif
}

// Square roots; 0 of a negative number.
CLUSTERIMG_INLINE Floats root_of(Floats v) {
  v = greater(v, Floats{});
#if defined(__AVX__)
  return Floats(_mm256_sqrt_ps(__m256(v)));
#else
  for (std::size_t lane = 0; lane < ssim_lanes; ++lane) v[lane] = __builtin_sqrtf(v[lane]);
  return v;
#endif
}

// The sums over the lanes of four vectors.
CLUSTERIMG_INLINE void sums_of(const Floats* v, float* out) {
  const Floats low = __builtin_shufflevector(v[0], v[1], 0, 8, 1, 9, 4, 12, 5, 13) +
                     __builtin_shufflevector(v[0], v[1], 2, 10, 3, 11, 6, 14, 7, 15);
  const Floats high = __builtin_shufflevector(v[2], v[3], 0, 8, 1, 9, 4, 12, 5, 13) +
                      __builtin_shufflevector(v[2], v[3], 2, 10, 3, 11, 6, 14, 7, 15);
  const Floats all = __builtin_shufflevector(low, high, 0, 1, 8, 9, 4, 5, 12, 13) +
                     __builtin_shufflevector(low, high, 2, 3, 10, 11, 6, 7, 14, 15);
  for (std::size_t k = 0; k < 4; ++k) out[k] = all[k] + all[k + 4];
}

// The products of the low and of the high 16-bit halves of each lane, added.
CLUSTERIMG_INLINE Ints multiply_halves(Ints a, Ints b) {
#if defined(__AVX2__)
  return Ints(_mm256_madd_epi16(__m256i(a), __m256i(b)));
#elif defined(__SSE2__)
  __m128i x[2], y[2];
  __builtin_memcpy(x, &a, sizeof a);
  __builtin_memcpy(y, &b, sizeof b);
  for (int half = 0; half < 2; ++half) x[half] = _mm_madd_epi16(x[half], y[half]);
  __builtin_memcpy(&a, x, sizeof a);
  return a;
#else
  return ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}

// Two halves as one lane.
CLUSTERIMG_INLINE std::int32_t halves(std::int32_t low, std::int32_t high) {
  return static_cast<std::int32_t>((static_cast<std::uint32_t>(high) << 16) |
                                   (static_cast<std::uint32_t>(low) & 0xffffU));
}

// The eight bytes of a word, the lowest first.
CLUSTERIMG_INLINE Ints widened(std::uint64_t bytes) {
#if defined(__AVX2__)
  return Ints(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(bytes))));
#else
  Ints v;
  for (std::size_t k = 0; k < ssim_lanes; ++k)
    v[k] = static_cast<std::int32_t>(bytes >> (8 * k) & 255);
  return v;
#endif
}

// Exchanges the bits of `mask` in a with those of b that are `shift` higher.
CLUSTERIMG_INLINE void exchange(std::uint64_t& a, std::uint64_t& b, int shift, std::uint64_t mask) {
  const std::uint64_t differing = ((a >> shift) ^ b) & mask;
  a ^= differing << shift;
  b ^= differing;
}

// Lays eight images of n bytes side by side, a null one as zeros: 8 x 8 bytes are transposed at a
// time, by halves, quarters and bytes.
//   lanes (n, lanes)
static void lay_eight(const std::uint8_t* const* images, std::size_t n, std::int32_t* lanes) {
  Ints* out = reinterpret_cast<Ints*>(lanes);
  for (std::size_t p = 0; p < n; p += 8) {
    const std::size_t count = n - p < 8 ? n - p : 8;
    std::uint64_t row[8] = {};
#pragma GCC unroll 8
    for (std::size_t k = 0; k < 8; ++k) {
      if (!images[k]) continue;
      if (count == 8)
        __builtin_memcpy(row + k, images[k] + p, 8);
      else
        __builtin_memcpy(row + k, images[k] + p, count);
    }
#pragma GCC unroll 4
    for (std::size_t k = 0; k < 4; ++k) exchange(row[k], row[k + 4], 32, 0xffffffffU);
#pragma GCC unroll 4
    for (std::size_t k = 0; k < 4; ++k) {
      const std::size_t of = k / 2 * 4 + k % 2;
      exchange(row[of], row[of + 2], 16, 0x0000ffff0000ffffU);
    }
#pragma GCC unroll 4
    for (std::size_t k = 0; k < 8; k += 2) exchange(row[k], row[k + 1], 8, 0x00ff00ff00ff00ffU);
    for (std::size_t k = 0; k < count; ++k) out[p + k] = widened(row[k]);
  }
}

}  // namespace clusterimg::CLUSTERIMG_ISA
