// Distances of descriptors, bit-sliced: 256 rows of b side by side, one bit each in a plane.
//
// Four rows of a are scored at once (Four Russians). At each of the 256 bits the rows r1, r2, r3
// either agree with r0 or not: 8 classes of bits. For a row of b let n_p be the bits of class p in
// which it differs from r0, and size_p the bits of the class. Then
//   distance to r0 = sum of n_p
//   distance to rk = sum of n_p where rk agrees with r0, and of size_p - n_p where it does not
//                  = distance to r0 - 2 A_k + S_k,
// A_k and S_k the sums of n_p and of size_p over the classes where rk differs from r0. So 256 bits
// are counted for four distances. They are counted by full adders on planes: 5 operations for a
// bit of 256 rows of b. The counts are then turned from planes to bytes, and the rest is done in
// bytes, modulo 256.
//
// A distance of 256 looks like 0, and the lanes where b has no row are given 255. Where a result
// may come from either, `doubtful` says so, and the pair is scored by the plain loop.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__SSE4_1__)
#include <immintrin.h>

namespace clusterimg::CLUSTERIMG_ISA {

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

// The bits of each class, for four rows of a. A last group is filled up with copies of its r0.
static void descriptor_groups(const std::uint64_t* a, std::size_t n_a, DescriptorGroup* groups) {
  for (std::size_t first = 0; first < n_a; first += 4, ++groups) {
    const std::uint64_t* r0 = a + first * 4;
    std::uint16_t* out = groups->planes;
    for (std::size_t k = 0; k < 4; ++k) groups->differing[k] = 0;
    for (std::size_t p = 0; p < 8; ++p) {
      std::uint16_t* const begin = out;
      for (std::size_t w = 0; w < 4; ++w) {
        std::uint64_t bits = ~std::uint64_t{0};
        for (std::size_t k = 1; k < 4; ++k) {
          const std::uint64_t differ = first + k < n_a ? r0[w] ^ r0[4 * k + w] : 0;
          bits &= p >> (k - 1) & 1 ? differ : ~differ;
        }
        for (std::size_t k = 1; k < 4; ++k)
          if (p >> (k - 1) & 1)
            groups->differing[k] =
                static_cast<std::uint8_t>(groups->differing[k] + __builtin_popcountll(bits));
        for (; bits != 0; bits &= bits - 1) {
          const auto bit = static_cast<unsigned>(__builtin_ctzll(bits));
          const std::size_t plane = w * 64 + bit + (r0[w] >> bit & 1) * 256;
          *out++ = static_cast<std::uint16_t>(plane * plane_bytes);
        }
      }
      while ((out - begin) % 8 != 0) *out++ = 512 * plane_bytes;
      groups->n_eights[p] = static_cast<std::uint8_t>((out - begin) / 8);
    }
  }
}

using Bits = std::uint64_t __attribute__((vector_size(sizeof(Bytes))));

static inline Bits full_add(Bits x, Bits y, Bits z, Bits& carry) {
  const Bits differ = x ^ y;
  carry = (x & y) | (differ & z);
  return differ ^ z;
}

// Counts, modulo 256, of the bits in 8 n planes: one byte a row of b.
static inline void count_planes(const std::uint16_t* list, std::size_t n,
                                const std::uint8_t* planes, Bytes* counts) {
  Bits c0 = {}, c1 = {}, c2 = {}, c3 = {}, c4 = {}, c5 = {}, c6 = {}, c7 = {};
  const auto plane = [&](std::size_t k) {
    return *reinterpret_cast<const Bits*>(planes + list[k]);
  };
  for (; n > 0; --n, list += 8) {
    Bits two[2], four[2], carry, next;
    c0 = full_add(c0, plane(0), plane(1), two[0]);
    c0 = full_add(c0, plane(2), plane(3), two[1]);
    c1 = full_add(c1, two[0], two[1], four[0]);
    c0 = full_add(c0, plane(4), plane(5), two[0]);
    c0 = full_add(c0, plane(6), plane(7), two[1]);
    c1 = full_add(c1, two[0], two[1], four[1]);
    c2 = full_add(c2, four[0], four[1], carry);
    next = c3 & carry, c3 ^= carry, carry = next;
    next = c4 & carry, c4 ^= carry, carry = next;
    next = c5 & carry, c5 ^= carry, carry = next;
    next = c6 & carry, c6 ^= carry, carry = next;
    c7 ^= carry;
  }
  Bytes x[8] = {(Bytes)c0, (Bytes)c1, (Bytes)c2, (Bytes)c3,
                (Bytes)c4, (Bytes)c5, (Bytes)c6, (Bytes)c7};
  turn(x);
  for (std::size_t v = 0; v < 8; ++v) counts[v] = x[v];
}

// The two least distances seen, lane by lane, and where the least came from (first wins).
struct Least {
  alignas(32) std::uint8_t best[32], second[32], low[32], high[32];
};

static void clear(Least& least) {
  for (std::size_t l = 0; l < 32; ++l) {
    least.best[l] = least.second[l] = 255;
    least.low[l] = least.high[l] = 0;
  }
}

// `next` is the second least of what was seen together with `distance`.
static inline void see(Least& least, std::size_t lane, Bytes distance, Bytes next, Bytes from_low,
                       Bytes from_high) {
  const Bytes old = load(least.best + lane);
  const Bytes now = lower(old, distance);
  const Bytes keep = equal(now, old);
  next = lower(next, higher(old, distance));
  store(least.second + lane, lower(load(least.second + lane), next));
  store(least.best + lane, now);
  store(least.low + lane, choose(keep, load(least.low + lane), from_low));
  store(least.high + lane, choose(keep, load(least.high + lane), from_high));
}

// The distances of four rows from the counts of the classes of one register of b.
static inline void distances_of(const Bytes (*counts)[8], std::size_t v, const Bytes* differing,
                                Bytes* distance) {
  const Bytes n4 = counts[4][v], n5 = counts[5][v], n6 = counts[6][v], n7 = counts[7][v];
  const Bytes e0 = add(counts[0][v], n4), e1 = add(counts[1][v], n5);
  const Bytes e2 = add(counts[2][v], n6), e3 = add(counts[3][v], n7);
  const Bytes a1 = add(e1, e3), a2 = add(e2, e3), a3 = add(add(n4, n5), add(n6, n7));
  const Bytes all = add(add(e0, e2), a1);
  distance[0] = all;
  distance[1] = subtract(add(all, differing[1]), add(a1, a1));
  distance[2] = subtract(add(all, differing[2]), add(a2, a2));
  distance[3] = subtract(add(all, differing[3]), add(a3, a3));
}

static inline std::uint32_t least_byte(const std::uint8_t* bytes) {
  const __m128i* halves = reinterpret_cast<const __m128i*>(bytes);
  const __m128i least = _mm_min_epu8(_mm_load_si128(halves), _mm_load_si128(halves + 1));
  const __m128i pairs = _mm_min_epu8(least, _mm_srli_epi16(least, 8));
  const __m128i low = _mm_and_si128(pairs, _mm_set1_epi16(255));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm_minpos_epu16(low))) & 255;
}

static void reduce_row(Least& least, std::uint32_t* best, std::uint32_t* second) {
  const std::uint32_t nearest = least_byte(least.best);
  const __m128i* halves = reinterpret_cast<const __m128i*>(least.best);
  const __m128i wanted = _mm_set1_epi8(static_cast<char>(nearest));
  const auto low = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_load_si128(halves), wanted));
  const auto high = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_load_si128(halves + 1), wanted));
  std::uint32_t from = ~0u, last = 0;
  for (auto lanes = static_cast<std::uint32_t>(low | high << 16); lanes != 0; lanes &= lanes - 1) {
    last = static_cast<std::uint32_t>(__builtin_ctz(lanes));
    const std::uint32_t column =
        (least.low[last] | static_cast<std::uint32_t>(least.high[last]) << 8) * 32 + last;
    from = column < from ? column : from;
  }
  *best = nearest << descriptor_index_bits | from;
  least.best[last] = 255;  // of what is left, the least is the second, whichever lane it was
  const std::uint32_t others = least_byte(least.best), below = least_byte(least.second);
  *second = others < below ? others : below;
}

static std::uint32_t distance_of(const std::uint64_t* x, const std::uint64_t* y) {
  std::uint32_t distance = 0;
  for (std::size_t w = 0; w < 4; ++w)
    distance += static_cast<std::uint32_t>(__builtin_popcountll(x[w] ^ y[w]));
  return distance;
}

// Whether the nearest of row `x` among `others` may be other than `best` and `second` say.
static bool doubtful(const std::uint64_t* x, const std::uint64_t* others, std::size_t n,
                     std::uint32_t best, std::uint32_t second) {
  const std::uint32_t distance = best >> descriptor_index_bits;
  if (distance == 255 || (second == 255 && 4 * distance > 3 * 255)) return true;
  if (distance != 0) return false;
  if (distance_of(x, others + (best & descriptor_index_mask) * 4) != 0) return true;
  std::size_t n_equal = second == 0 ? 0 : 2;
  for (std::size_t k = 0; k < n && n_equal < 2; ++k) n_equal += distance_of(x, others + k * 4) == 0;
  return n_equal < 2;
}

static void see_block(const DescriptorGroup& group, std::size_t n_rows, std::size_t number,
                      const std::uint8_t* planes, std::size_t block, std::size_t lane,
                      std::size_t n_b, Least* rows, Least* columns) {
  Bytes counts[8][8], differing[4];
  const std::uint16_t* list = group.planes;
  for (std::size_t p = 0; p < 8; ++p) {
    count_planes(list, group.n_eights[p], planes + lane, counts[p]);
    list += 8 * group.n_eights[p];
  }
  for (std::size_t k = 0; k < 4; ++k) differing[k] = fill(group.differing[k]);
  const Bytes low = fill(static_cast<int>(number & 255));
  const Bytes high = fill(static_cast<int>(number >> 8));
  for (std::size_t v = 0; v < 8 && block * 256 + v * 32 < n_b; ++v) {
    const std::size_t column = block * 8 + v;
    Bytes d[4];
    distances_of(counts, v, differing, d);
    if (column * 32 + 32 > n_b) {
      alignas(32) std::uint8_t beyond[32];
      for (std::size_t l = 0; l < 32; ++l) beyond[l] = column * 32 + l < n_b ? 0 : 255;
      for (Bytes& distance : d) distance = higher(distance, load(beyond + lane));
    }
    const Bytes from_low = fill(static_cast<int>(column & 255));
    const Bytes from_high = fill(static_cast<int>(column >> 8));
    for (std::size_t k = 0; k < 4; ++k)
      if (k < n_rows)
        see(rows[k], lane, d[k], fill(255), from_low, from_high);
      else
        d[k] = fill(255);
    const Bytes least = lower(d[0], d[1]), most = higher(d[0], d[1]);
    const Bytes least2 = lower(d[2], d[3]), most2 = higher(d[2], d[3]);
    const Bytes next = lower(higher(least, least2), lower(most, most2));
    see(columns[column], lane, lower(least, least2), next, low, high);
  }
}

// The row of a group that is the nearest of a row of b.
static std::uint32_t row_of_group(const std::uint64_t* a, std::size_t n_a, const std::uint64_t* b,
                                  std::size_t group, std::uint32_t distance) {
  for (std::size_t i = group * 4; i < group * 4 + 4 && i < n_a; ++i)
    if ((distance_of(a + i * 4, b) & 255) == distance) return static_cast<std::uint32_t>(i);
  return 0;  // all are beyond 255, which is doubtful
}

static bool descriptor_pair_fast(const std::uint64_t* a, std::size_t n_a,
                                 const DescriptorGroup* groups, const std::uint64_t* b,
                                 std::size_t n_b, const std::uint8_t* planes, Nearest of_a,
                                 Nearest of_b, Least* columns) {
  for (std::size_t column = 0; column * 32 < n_b; ++column) clear(columns[column]);
  for (std::size_t first = 0; first < n_a; first += 4) {
    const std::size_t n_rows = n_a - first < 4 ? n_a - first : 4;
    Least rows[4];
    for (Least& row : rows) clear(row);
    for (std::size_t block = 0; block * 256 < n_b; ++block)
      for (std::size_t lane = 0; lane < 32; lane += byte_lanes)
        see_block(groups[first / 4], n_rows, first / 4, planes + block * block_planes * plane_bytes,
                  block, lane, n_b, rows, columns);
    for (std::size_t k = 0; k < n_rows; ++k) {
      const std::size_t i = first + k;
      reduce_row(rows[k], of_a.best + i, of_a.second + i);
      if (doubtful(a + i * 4, b, n_b, of_a.best[i], of_a.second[i])) return false;
    }
  }
  for (std::size_t j = 0; j < n_b; ++j) {
    const Least& column = columns[j / 32];
    const std::size_t l = j % 32, group = column.low[l] | std::size_t{column.high[l]} << 8;
    of_b.best[j] = std::uint32_t{column.best[l]} << descriptor_index_bits |
                   row_of_group(a, n_a, b + j * 4, group, column.best[l]);
    of_b.second[j] = column.second[l];
    if (doubtful(b + j * 4, a, n_a, of_b.best[j], of_b.second[j])) return false;
  }
  return true;
}

}  // namespace clusterimg::CLUSTERIMG_ISA

#endif  // __SSE4_1__
