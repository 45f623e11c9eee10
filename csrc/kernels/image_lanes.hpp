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
using Doubles = double __attribute__((vector_size(64), may_alias));
using LooseDoubles = double __attribute__((vector_size(64), may_alias, aligned(8)));

#define CLUSTERIMG_INLINE static inline __attribute__((always_inline))

CLUSTERIMG_INLINE Ints all_lanes(std::int32_t v) { return Ints{v, v, v, v, v, v, v, v}; }
CLUSTERIMG_INLINE Floats all_lanes(float v) { return Floats{v, v, v, v, v, v, v, v}; }
CLUSTERIMG_INLINE Floats as_floats(Ints v) { return __builtin_convertvector(v, Floats); }
CLUSTERIMG_INLINE Floats as_floats(Doubles v) { return __builtin_convertvector(v, Floats); }
CLUSTERIMG_INLINE Doubles as_doubles(Ints v) { return __builtin_convertvector(v, Doubles); }

// Square roots; 0 of a negative number.
CLUSTERIMG_INLINE Floats root_of(Floats v) {
  for (std::size_t lane = 0; lane < ssim_lanes; ++lane)
    v[lane] = __builtin_sqrtf(v[lane] > 0 ? v[lane] : 0.0f);
  return v;
}

CLUSTERIMG_INLINE float sum_of(Floats v) {
  return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}

CLUSTERIMG_INLINE Floats greater(Floats a, Floats b) {
#if defined(__AVX__)
  return Floats(_mm256_max_ps(__m256(a), __m256(b)));
#else
  return a > b ? a : b;
#endif
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

}  // namespace clusterimg::CLUSTERIMG_ISA
