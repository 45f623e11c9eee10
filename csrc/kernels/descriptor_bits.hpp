// How the fast path lays descriptors out (descriptor_fast.hpp says what for): rows of b as planes
// of one bit each, rows of a in fours, with the planes that each class of their bits counts.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

namespace clusterimg::CLUSTERIMG_ISA {

#if defined(__SSE4_1__)

#if defined(__AVX2__)
using Bytes = __m256i;
static inline Bytes load(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
static inline void store(void* p, Bytes v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
static inline Bytes fill(int v) { return _mm256_set1_epi8(static_cast<char>(v)); }
static inline Bytes add(Bytes x, Bytes y) { return _mm256_add_epi8(x, y); }
static inline Bytes subtract(Bytes x, Bytes y) { return _mm256_sub_epi8(x, y); }
static inline Bytes lower(Bytes x, Bytes y) { return _mm256_min_epu8(x, y); }
static inline Bytes higher(Bytes x, Bytes y) { return _mm256_max_epu8(x, y); }
static inline Bytes equal(Bytes x, Bytes y) { return _mm256_cmpeq_epi8(x, y); }
static inline Bytes choose(Bytes mask, Bytes yes, Bytes no) {
  return _mm256_blendv_epi8(no, yes, mask);
}
static inline std::uint32_t sign_bits(Bytes x) {
  return static_cast<std::uint32_t>(_mm256_movemask_epi8(x));
}
#else
using Bytes = __m128i;
static inline Bytes load(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
static inline void store(void* p, Bytes v) { _mm_storeu_si128(static_cast<__m128i*>(p), v); }
static inline Bytes fill(int v) { return _mm_set1_epi8(static_cast<char>(v)); }
static inline Bytes add(Bytes x, Bytes y) { return _mm_add_epi8(x, y); }
static inline Bytes subtract(Bytes x, Bytes y) { return _mm_sub_epi8(x, y); }
static inline Bytes lower(Bytes x, Bytes y) { return _mm_min_epu8(x, y); }
static inline Bytes higher(Bytes x, Bytes y) { return _mm_max_epu8(x, y); }
static inline Bytes equal(Bytes x, Bytes y) { return _mm_cmpeq_epi8(x, y); }
static inline Bytes choose(Bytes mask, Bytes yes, Bytes no) {
  return _mm_blendv_epi8(no, yes, mask);
}
static inline std::uint32_t sign_bits(Bytes x) {
  return static_cast<std::uint32_t>(_mm_movemask_epi8(x));
}
#endif

constexpr std::size_t byte_lanes = sizeof(Bytes);

// Turns 8 x 8 bits in each byte column: bit c of register r becomes bit r of register c.
template <unsigned shift>
static inline void swap_bits(Bytes& x, Bytes& y, Bytes mask) {
#if defined(__AVX2__)
  const Bytes swapped = _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi64(x, shift), y), mask);
  y = _mm256_xor_si256(y, swapped);
  x = _mm256_xor_si256(x, _mm256_slli_epi64(swapped, shift));
#else
  const Bytes swapped = _mm_and_si128(_mm_xor_si128(_mm_srli_epi64(x, shift), y), mask);
  y = _mm_xor_si128(y, swapped);
  x = _mm_xor_si128(x, _mm_slli_epi64(swapped, shift));
#endif
}

static inline void turn(Bytes* x) {
  const Bytes nibble = fill(0x0F), pair = fill(0x33), single = fill(0x55);
  swap_bits<4>(x[0], x[4], nibble), swap_bits<4>(x[1], x[5], nibble);
  swap_bits<4>(x[2], x[6], nibble), swap_bits<4>(x[3], x[7], nibble);
  swap_bits<2>(x[0], x[2], pair), swap_bits<2>(x[1], x[3], pair);
  swap_bits<2>(x[4], x[6], pair), swap_bits<2>(x[5], x[7], pair);
  swap_bits<1>(x[0], x[1], single), swap_bits<1>(x[2], x[3], single);
  swap_bits<1>(x[4], x[5], single), swap_bits<1>(x[6], x[7], single);
}

constexpr std::size_t plane_bytes = 32;
constexpr std::size_t total_bytes = 8 * byte_lanes;  // of one class in ClassCounts
constexpr std::size_t block_planes = 513;  // 256 bits, their opposites, and one plane of zeros

// Row 32 v + l of a block is bit v of byte l, so that counts turned to bytes are in order.
static void descriptor_planes(const std::uint64_t* b, std::size_t n_b, std::uint8_t* planes) {
  for (std::size_t first = 0; first < n_b; first += 256, planes += block_planes * plane_bytes) {
    for (std::size_t l = 0; l < 32; ++l)
      for (std::size_t half = 0; half < 32; half += byte_lanes) {
        Bytes rows[8];
        for (std::size_t v = 0; v < 8; ++v) {
          const std::size_t j = first + 32 * v + l;
          rows[v] =
              j < n_b ? load(reinterpret_cast<const std::uint8_t*>(b + 4 * j) + half) : fill(0);
        }
        turn(rows);
        alignas(32) std::uint8_t bytes[byte_lanes];
        for (std::size_t bit = 0; bit < 8; ++bit) {
          store(bytes, rows[bit]);
          for (std::size_t k = 0; k < byte_lanes; ++k)
            planes[((half + k) * 8 + bit) * plane_bytes + l] = bytes[k];
        }
      }
    for (std::size_t k = 0; k < 256 * plane_bytes; ++k)
      planes[256 * plane_bytes + k] = static_cast<std::uint8_t>(~planes[k]);
    for (std::size_t k = 0; k < plane_bytes; ++k) planes[512 * plane_bytes + k] = 0;
  }
}

// For each byte, the bytes of those of 8 words whose bits are set, moved to the front.
struct Gather {
  alignas(16) std::uint8_t from[256][16];

  constexpr Gather() : from() {
    for (std::size_t mask = 0; mask < 256; ++mask) {
      std::size_t n = 0;
      for (std::size_t bit = 0; bit < 8; ++bit)
        if (mask >> bit & 1) {
          from[mask][n++] = static_cast<std::uint8_t>(2 * bit);
          from[mask][n++] = static_cast<std::uint8_t>(2 * bit + 1);
        }
    }
  }
};
static constexpr Gather gather;

// Which plane counts bit t against r0: that of the bit, or of its opposite where r0 has it set.
static void planes_of(const std::uint64_t* r0, __m128i* offsets) {
  const __m128i bits = _mm_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128);
  __m128i plain = _mm_setr_epi16(0, 32, 64, 96, 128, 160, 192, 224);
  for (std::size_t k = 0; k < 32; ++k) {
    const auto byte = static_cast<short>(r0[k / 8] >> (k % 8 * 8) & 255);
    const __m128i set = _mm_cmpeq_epi16(_mm_and_si128(_mm_set1_epi16(byte), bits), bits);
    offsets[k] = _mm_add_epi16(
        plain, _mm_and_si128(set, _mm_set1_epi16(static_cast<short>(256 * plane_bytes))));
    plain = _mm_add_epi16(plain, _mm_set1_epi16(static_cast<short>(8 * plane_bytes)));
  }
}

// The bits of 4 classes, given as bytes of their words, to the list of each. They take turns, as
// each waits for its end. Up to 8 planes are written behind an end.
static void list_planes(const std::uint8_t (*bits)[32], const __m128i* offsets,
                        std::uint16_t (*lists)[256 + 16]) {
  std::uint16_t *end0 = lists[0], *end1 = lists[1], *end2 = lists[2], *end3 = lists[3];
  const auto put = [&](std::size_t c, std::size_t k, std::uint16_t*& end) {
    const auto* from = reinterpret_cast<const __m128i*>(gather.from[bits[c][k]]);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(end),
                     _mm_shuffle_epi8(offsets[k], _mm_load_si128(from)));
    end += __builtin_popcount(bits[c][k]);
  };
  for (std::size_t k = 0; k < 32; ++k)
    put(0, k, end0), put(1, k, end1), put(2, k, end2), put(3, k, end3);
  const __m128i zeros = _mm_set1_epi16(static_cast<short>(512 * plane_bytes));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(end0), zeros);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(end1), zeros);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(end2), zeros);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(end3), zeros);
}

// The planes of all classes, one class after another, each filled up with planes of zeros to one
// or more steps of 8. Neighbours in the order of classes differ in one row only.
static void list_classes(const std::uint64_t (*differ)[4], const __m128i* offsets,
                         DescriptorGroup& group) {
  std::size_t step = 0;
  for (std::size_t half = 0; half < 8; half += 4) {
    std::uint64_t bits[4][4];
    std::uint16_t lists[4][256 + 16];
    std::size_t n[4];
    for (std::size_t c = 0; c < 4; ++c) {
      const std::size_t p = (half + c) ^ (half + c) / 2;
      n[c] = 0;
      for (std::size_t w = 0; w < 4; ++w) {
        bits[c][w] = (p & 1 ? differ[1][w] : ~differ[1][w]) &
                     (p & 2 ? differ[2][w] : ~differ[2][w]) &
                     (p & 4 ? differ[3][w] : ~differ[3][w]);
        n[c] += static_cast<std::size_t>(__builtin_popcountll(bits[c][w]));
      }
    }
    list_planes(reinterpret_cast<const std::uint8_t (*)[32]>(bits), offsets, lists);
    for (std::size_t c = 0; c < 4; ++c)
      for (std::size_t k = 0; k == 0 || k < n[c]; k += 8, ++step) {
        group.steps[step].total = static_cast<std::uint16_t>((half + c) * total_bytes);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(group.steps[step].planes),
                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(lists[c] + k)));
      }
  }
  group.n_steps = static_cast<std::uint8_t>(step);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(group.steps[step].planes), _mm_setzero_si128());
}

// Four rows of a to a group. A last group is filled up with copies of its r0.
static void descriptor_groups(const std::uint64_t* a, std::size_t n_a, DescriptorGroup* groups) {
  for (std::size_t first = 0; first < n_a; first += 4, ++groups) {
    const std::uint64_t* r0 = a + first * 4;
    std::uint64_t differ[4][4] = {};
    for (std::size_t k = 1; k < 4 && first + k < n_a; ++k)
      for (std::size_t w = 0; w < 4; ++w) differ[k][w] = r0[w] ^ r0[4 * k + w];
    for (std::size_t k = 0; k < 4; ++k) {
      int n = 0;
      for (const std::uint64_t word : differ[k]) n += __builtin_popcountll(word);
      groups->differing[k] = static_cast<std::uint8_t>(n);
    }
    __m128i offsets[32];
    planes_of(r0, offsets);
    list_classes(differ, offsets, *groups);
  }
}

#endif  // __SSE4_1__

}  // namespace clusterimg::CLUSTERIMG_ISA
