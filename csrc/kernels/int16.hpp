// Registers of int16 for the kernels of template matching: the widest of the instruction set.
// Where there is none CLUSTERIMG_INT16_LANES is not defined, and the kernels are plain loops.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__AVX2__) || defined(__SSE4_1__)
#include <immintrin.h>
#define CLUSTERIMG_INT16_LANES
#endif

namespace clusterimg::CLUSTERIMG_ISA {

#if defined(__AVX2__)

using Int16s = __m256i;
constexpr std::size_t int16_lanes = 16;

static inline Int16s load16(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
static inline void store16(void* p, Int16s a) { _mm256_storeu_si256(static_cast<__m256i*>(p), a); }
// The two numbers at p, again and again.
static inline Int16s pair16(const std::int16_t* p) {
  std::int32_t both;
  __builtin_memcpy(&both, p, sizeof both);
  return _mm256_set1_epi32(both);
}
static inline Int16s add16(Int16s a, Int16s b) { return _mm256_add_epi16(a, b); }

// The bytes of a at even and at odd places.
static inline Int16s even_bytes(Int16s a) { return _mm256_and_si256(a, _mm256_set1_epi16(255)); }
static inline Int16s odd_bytes(Int16s a) { return _mm256_srli_epi16(a, 8); }

// Says that a is in a register and may have changed. GCC 12 else reads a value that is used twice
// from memory twice.
static inline void hold(Int16s& a) { __asm__("" : "+x"(a)); }

// Adds a[2k] b[2k] + a[2k + 1] b[2k + 1] to lane k of `sums`, an int32. GCC 12 else copies each sum
// before or after it adds to it, which takes a tenth of the time of a tile.
static inline void add_products(Int16s& sums, Int16s a, Int16s b) {
  __asm__("vpaddd %1, %0, %0" : "+x"(sums) : "x"(_mm256_madd_epi16(a, b)));
}

// Adds the total of each of four registers of int32 to four float64.
static inline void add_totals(const Int16s* sums, double* out) {
  const __m256i low = _mm256_hadd_epi32(sums[0], sums[1]);
  const __m256i high = _mm256_hadd_epi32(sums[2], sums[3]);
  const __m256i both = _mm256_hadd_epi32(low, high);
  const __m128i total =
      _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
  _mm256_storeu_pd(out, _mm256_add_pd(_mm256_loadu_pd(out), _mm256_cvtepi32_pd(total)));
}

// Two registers of int32 as one, with the halves of each added up.
static inline __m256i fold32(__m256i a, __m256i b) {
  return _mm256_add_epi32(_mm256_blend_epi32(a, b, 0xF0), _mm256_permute2x128_si256(a, b, 0x21));
}

// Adds the totals of two rows of four: additions across a register take twice as long.
static inline void add_row_totals(const Int16s (&sums)[2][4], double* out, std::size_t n_out) {
  const __m256i a = fold32(sums[0][0], sums[1][0]), b = fold32(sums[0][1], sums[1][1]);
  const __m256i c = fold32(sums[0][2], sums[1][2]), d = fold32(sums[0][3], sums[1][3]);
  const __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
  const __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
  const __m256i all =
      _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
  const __m256d first = _mm256_cvtepi32_pd(_mm256_castsi256_si128(all));
  const __m256d second = _mm256_cvtepi32_pd(_mm256_extracti128_si256(all, 1));
  _mm256_storeu_pd(out, _mm256_add_pd(_mm256_loadu_pd(out), first));
  _mm256_storeu_pd(out + n_out, _mm256_add_pd(_mm256_loadu_pd(out + n_out), second));
}

static inline std::int32_t total_of(Int16s sums) {
  const __m128i four =
      _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  const __m128i two = _mm_hadd_epi32(four, four);
  return _mm_cvtsi128_si32(_mm_hadd_epi32(two, two));
}

#elif defined(__SSE4_1__)

using Int16s = __m128i;
constexpr std::size_t int16_lanes = 8;

static inline Int16s load16(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
static inline void store16(void* p, Int16s a) { _mm_storeu_si128(static_cast<__m128i*>(p), a); }
static inline Int16s pair16(const std::int16_t* p) {
  std::int32_t both;
  __builtin_memcpy(&both, p, sizeof both);
  return _mm_set1_epi32(both);
}
static inline Int16s add16(Int16s a, Int16s b) { return _mm_add_epi16(a, b); }

static inline Int16s even_bytes(Int16s a) { return _mm_and_si128(a, _mm_set1_epi16(255)); }
static inline Int16s odd_bytes(Int16s a) { return _mm_srli_epi16(a, 8); }

static inline void hold(Int16s& a) { __asm__("" : "+x"(a)); }

static inline void add_products(Int16s& sums, Int16s a, Int16s b) {
  __asm__("paddd %1, %0" : "+x"(sums) : "x"(_mm_madd_epi16(a, b)));
}

static inline void add_totals(const Int16s* sums, double* out) {
  const __m128i low = _mm_hadd_epi32(sums[0], sums[1]);
  const __m128i high = _mm_hadd_epi32(sums[2], sums[3]);
  const __m128i total = _mm_hadd_epi32(low, high);
  _mm_storeu_pd(out, _mm_add_pd(_mm_loadu_pd(out), _mm_cvtepi32_pd(total)));
  _mm_storeu_pd(out + 2,
                _mm_add_pd(_mm_loadu_pd(out + 2), _mm_cvtepi32_pd(_mm_srli_si128(total, 8))));
}

static inline void add_row_totals(const Int16s (&sums)[2][4], double* out, std::size_t n_out) {
  add_totals(sums[0], out);
  add_totals(sums[1], out + n_out);
}

static inline std::int32_t total_of(Int16s sums) {
  const __m128i two = _mm_hadd_epi32(sums, sums);
  return _mm_cvtsi128_si32(_mm_hadd_epi32(two, two));
}

#endif

}  // namespace clusterimg::CLUSTERIMG_ISA
