// Cross-checked matches of two sets of 256-bit descriptors, as OpenCV's BFMatcher finds them.
//
// A row of a and a row of b match if each is the other's nearest; among equally near rows the one
// of lower index is the nearest. A match at distance d is good
//   absolute: if d <= max_distance
//   relative: if d < 3/4 of the largest distance of a match
//   ratio:    if d <= 3/4 of the distance to the second nearest, on both sides (Lowe 2004)
// Without a second nearest no match is good under ratio.
//
//   a (n_a, 4), b (n_b, 4)      row-major words; fewer than 2^20 rows
//   planes                      the rows of b in blocks of 32, nibble by nibble: (blocks, 64, 32)
//   scratch                     descriptor_scratch_words words (kernels.hpp)
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

namespace clusterimg::CLUSTERIMG_ISA {

// Distance and index in one integer, so that one minimum finds the nearest of lowest index.
constexpr std::uint32_t descriptor_index_bits = 20;
constexpr std::uint32_t descriptor_index_mask = (1u << descriptor_index_bits) - 1;

// For each row of a set its nearest in the other, and the distance to the second nearest.
struct Nearest {
  std::uint32_t* best;
  std::uint32_t* second;
};

static MatchCount count_matches(Nearest of_a, std::size_t n_a, Nearest of_b, MatchRule rule) {
  MatchCount count{0, 0};
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < n_a; ++i) {
    const std::uint32_t j = of_a.best[i] & descriptor_index_mask;
    if ((of_b.best[j] & descriptor_index_mask) != i) {
      of_a.best[i] = ~0u;
      continue;
    }
    const std::uint32_t distance = of_a.best[i] >> descriptor_index_bits;
    largest = distance > largest ? distance : largest;
    ++count.matches;
  }
  for (std::size_t i = 0; i < n_a; ++i) {
    if (of_a.best[i] == ~0u) continue;
    const std::uint32_t distance = of_a.best[i] >> descriptor_index_bits;
    const std::uint32_t seen_from_b = of_b.second[of_a.best[i] & descriptor_index_mask];
    const std::uint32_t second = of_a.second[i] < seen_from_b ? of_a.second[i] : seen_from_b;
    if (rule.kind == MatchRule::absolute)
      count.good += distance <= rule.max_distance;
    else if (rule.kind == MatchRule::relative)
      count.good += 4 * distance < 3 * largest;
    else
      count.good += 4 * distance <= 3 * second;
  }
  return count;
}

// Any distances, any numbers of rows. Where there is no second nearest its distance is 0.
static MatchCount descriptor_pair_plain(const std::uint64_t* a, std::size_t n_a,
                                        const std::uint64_t* b, std::size_t n_b, MatchRule rule,
                                        Nearest of_a, Nearest of_b) {
  constexpr std::uint32_t none = ~0u;
  for (std::size_t j = 0; j < n_b; ++j) of_b.best[j] = of_b.second[j] = none;
  for (std::size_t i = 0; i < n_a; ++i) {
    std::uint32_t best = none, second = none;
    for (std::size_t j = 0; j < n_b; ++j) {
      std::uint32_t distance = 0;
      for (std::size_t w = 0; w < 4; ++w)
        distance += static_cast<std::uint32_t>(__builtin_popcountll(a[i * 4 + w] ^ b[j * 4 + w]));
      const std::uint32_t far = distance << descriptor_index_bits;
      const std::uint32_t from_a = far | static_cast<std::uint32_t>(j);
      const std::uint32_t from_b = far | static_cast<std::uint32_t>(i);
      const std::uint32_t later = from_a < best ? best : from_a;
      second = later < second ? later : second;
      best = from_a < best ? from_a : best;
      const std::uint32_t later_b = from_b < of_b.best[j] ? of_b.best[j] : from_b;
      of_b.second[j] = later_b < of_b.second[j] ? later_b : of_b.second[j];
      of_b.best[j] = from_b < of_b.best[j] ? from_b : of_b.best[j];
    }
    of_a.best[i] = best;
    of_a.second[i] = n_b < 2 ? 0 : second >> descriptor_index_bits;
  }
  for (std::size_t j = 0; j < n_b; ++j)
    of_b.second[j] = n_a < 2 ? 0 : of_b.second[j] >> descriptor_index_bits;
  // Two equal lone descriptors: 4 * 0 <= 3 * 0 would call the match good.
  if (rule.kind == MatchRule::ratio && (n_a < 2 || n_b < 2)) {
    MatchCount count = count_matches(of_a, n_a, of_b, rule);
    count.good = 0;
    return count;
  }
  return count_matches(of_a, n_a, of_b, rule);
}

// Lays descriptors out for the fast path; rows that fill up the last block are zero.
static void descriptor_planes(const std::uint64_t* b, std::size_t n_b, std::uint8_t* planes) {
  const std::size_t n_blocks = (n_b + 31) / 32;
  for (std::size_t k = 0; k < n_blocks * 64 * 32; ++k) planes[k] = 0;
  for (std::size_t j = 0; j < n_b; ++j)
    for (std::size_t n = 0; n < 64; ++n)
      planes[(j / 32 * 64 + n) * 32 + j % 32] =
          static_cast<std::uint8_t>(b[j * 4 + n / 16] >> (n % 16 * 4) & 15);
}

#if defined(__SSE4_1__)

// Bits that differ between two nibbles.
#define CLUSTERIMG_POPCOUNTS(x)                                                        \
  {__builtin_popcount(x ^ 0),  __builtin_popcount(x ^ 1),  __builtin_popcount(x ^ 2),  \
   __builtin_popcount(x ^ 3),  __builtin_popcount(x ^ 4),  __builtin_popcount(x ^ 5),  \
   __builtin_popcount(x ^ 6),  __builtin_popcount(x ^ 7),  __builtin_popcount(x ^ 8),  \
   __builtin_popcount(x ^ 9),  __builtin_popcount(x ^ 10), __builtin_popcount(x ^ 11), \
   __builtin_popcount(x ^ 12), __builtin_popcount(x ^ 13), __builtin_popcount(x ^ 14), \
   __builtin_popcount(x ^ 15)}
alignas(16) static constexpr std::uint8_t nibble_distance[16][16] = {
    CLUSTERIMG_POPCOUNTS(0),  CLUSTERIMG_POPCOUNTS(1),  CLUSTERIMG_POPCOUNTS(2),
    CLUSTERIMG_POPCOUNTS(3),  CLUSTERIMG_POPCOUNTS(4),  CLUSTERIMG_POPCOUNTS(5),
    CLUSTERIMG_POPCOUNTS(6),  CLUSTERIMG_POPCOUNTS(7),  CLUSTERIMG_POPCOUNTS(8),
    CLUSTERIMG_POPCOUNTS(9),  CLUSTERIMG_POPCOUNTS(10), CLUSTERIMG_POPCOUNTS(11),
    CLUSTERIMG_POPCOUNTS(12), CLUSTERIMG_POPCOUNTS(13), CLUSTERIMG_POPCOUNTS(14),
    CLUSTERIMG_POPCOUNTS(15)};
#undef CLUSTERIMG_POPCOUNTS

#if defined(__AVX2__)
using Bytes = __m256i;
static inline Bytes load(const std::uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
static inline void store(std::uint8_t* p, Bytes v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
}
static inline Bytes fill(int v) { return _mm256_set1_epi8(static_cast<char>(v)); }
static inline Bytes look_up(const std::uint8_t* table, Bytes index) {
  const __m128i half = _mm_load_si128(reinterpret_cast<const __m128i*>(table));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(half), index);
}
static inline Bytes add(Bytes x, Bytes y) { return _mm256_adds_epu8(x, y); }
static inline Bytes either(Bytes x, Bytes y) { return _mm256_or_si256(x, y); }
static inline Bytes lower(Bytes x, Bytes y) { return _mm256_min_epu8(x, y); }
static inline Bytes higher(Bytes x, Bytes y) { return _mm256_max_epu8(x, y); }
static inline Bytes equal(Bytes x, Bytes y) { return _mm256_cmpeq_epi8(x, y); }
static inline Bytes choose(Bytes mask, Bytes yes, Bytes no) {
  return _mm256_blendv_epi8(no, yes, mask);
}
#else
using Bytes = __m128i;
static inline Bytes load(const std::uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
static inline void store(std::uint8_t* p, Bytes v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v);
}
static inline Bytes fill(int v) { return _mm_set1_epi8(static_cast<char>(v)); }
static inline Bytes look_up(const std::uint8_t* table, Bytes index) {
  return _mm_shuffle_epi8(_mm_load_si128(reinterpret_cast<const __m128i*>(table)), index);
}
static inline Bytes add(Bytes x, Bytes y) { return _mm_adds_epu8(x, y); }
static inline Bytes either(Bytes x, Bytes y) { return _mm_or_si128(x, y); }
static inline Bytes lower(Bytes x, Bytes y) { return _mm_min_epu8(x, y); }
static inline Bytes higher(Bytes x, Bytes y) { return _mm_max_epu8(x, y); }
static inline Bytes equal(Bytes x, Bytes y) { return _mm_cmpeq_epi8(x, y); }
static inline Bytes choose(Bytes mask, Bytes yes, Bytes no) {
  return _mm_blendv_epi8(no, yes, mask);
}
#endif

constexpr std::size_t byte_lanes = sizeof(Bytes);
constexpr std::size_t lane_groups = 32 / byte_lanes;  // of a block of 32 rows

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

static inline void see(Least& least, std::size_t lane, Bytes distance, std::size_t from) {
  const Bytes old = load(least.best + lane);
  const Bytes now = lower(old, distance);
  const Bytes keep = equal(now, old);
  const Bytes from_low = fill(static_cast<int>(from & 255));
  const Bytes from_high = fill(static_cast<int>(from >> 8));
  store(least.second + lane, lower(load(least.second + lane), higher(old, distance)));
  store(least.best + lane, now);
  store(least.low + lane, choose(keep, load(least.low + lane), from_low));
  store(least.high + lane, choose(keep, load(least.high + lane), from_high));
}

// Adds the distances of four rows of a to one lane group of a block of b. Bytes saturate at 255.
static inline void add_planes(const std::uint8_t (*tables)[4][16], const std::uint8_t* plane,
                              Bytes* distance) {
  Bytes d0 = fill(0), d1 = d0, d2 = d0, d3 = d0;
  for (std::size_t n = 0; n < 64; ++n) {
    const Bytes nibbles = load(plane + n * 32);
    d0 = add(d0, look_up(tables[n][0], nibbles));
    d1 = add(d1, look_up(tables[n][1], nibbles));
    d2 = add(d2, look_up(tables[n][2], nibbles));
    d3 = add(d3, look_up(tables[n][3], nibbles));
  }
  distance[0] = d0, distance[1] = d1, distance[2] = d2, distance[3] = d3;
}

static void reduce_row(const Least& least, std::uint32_t* best, std::uint32_t* second) {
  std::uint32_t nearest = ~0u, next = 255;
  for (std::uint32_t l = 0; l < 32; ++l) {
    const std::uint32_t block = least.low[l] | static_cast<std::uint32_t>(least.high[l]) << 8;
    const std::uint32_t key =
        static_cast<std::uint32_t>(least.best[l]) << descriptor_index_bits | (block * 32 + l);
    const std::uint32_t loser = (key < nearest ? nearest : key) >> descriptor_index_bits;
    nearest = key < nearest ? key : nearest;
    next = loser < next ? loser : next;
    next = least.second[l] < next ? least.second[l] : next;
  }
  *best = nearest;
  *second = next;
}

// A byte that saturated hides whether it was 255 or more, which matters where it is a nearest, or
// where a match this far would still be good against a second nearest of 256.
static bool saturated(Nearest rows, std::size_t n) {
  for (std::size_t k = 0; k < n; ++k) {
    const std::uint32_t distance = rows.best[k] >> descriptor_index_bits;
    if (distance == 255 || (rows.second[k] == 255 && 4 * distance > 3 * 255)) return true;
  }
  return false;
}

static bool descriptor_pair_fast(const std::uint64_t* a, std::size_t n_a,
                                 const std::uint8_t* planes, std::size_t n_b, Nearest of_a,
                                 Nearest of_b, Least* columns) {
  const std::size_t n_blocks = (n_b + 31) / 32;
  alignas(32) std::uint8_t beyond[32];  // 255 where the last block has no row
  for (std::size_t l = 0; l < 32; ++l) beyond[l] = (n_blocks - 1) * 32 + l < n_b ? 0 : 255;
  for (std::size_t block = 0; block < n_blocks; ++block) clear(columns[block]);
  for (std::size_t first = 0; first < n_a; first += 4) {
    const std::size_t n_rows = n_a - first < 4 ? n_a - first : 4;
    alignas(16) std::uint8_t tables[64][4][16];
    for (std::size_t k = 0; k < 4; ++k) {
      const std::uint64_t* row = a + (first + (k < n_rows ? k : 0)) * 4;
      for (std::size_t n = 0; n < 64; ++n)
        __builtin_memcpy(tables[n][k], nibble_distance[row[n / 16] >> (n % 16 * 4) & 15], 16);
    }
    Least rows[4];
    for (Least& row : rows) clear(row);
    for (std::size_t block = 0; block < n_blocks; ++block)
      for (std::size_t group = 0; group < lane_groups; ++group) {
        const std::size_t lane = group * byte_lanes;
        Bytes distance[4];
        add_planes(tables, planes + block * 64 * 32 + lane, distance);
        for (std::size_t k = 0; k < n_rows; ++k) {
          if (block + 1 == n_blocks) distance[k] = either(distance[k], load(beyond + lane));
          see(rows[k], lane, distance[k], block);
          see(columns[block], lane, distance[k], first + k);
        }
      }
    for (std::size_t k = 0; k < n_rows; ++k)
      reduce_row(rows[k], of_a.best + first + k, of_a.second + first + k);
  }
  for (std::size_t j = 0; j < n_b; ++j) {
    const Least& column = columns[j / 32];
    const std::size_t l = j % 32;
    of_b.best[j] = static_cast<std::uint32_t>(column.best[l]) << descriptor_index_bits |
                   static_cast<std::uint32_t>(column.high[l]) << 8 | column.low[l];
    of_b.second[j] = column.second[l];
  }
  return !saturated(of_a, n_a) && !saturated(of_b, n_b);
}

#endif  // __SSE4_1__

static MatchCount descriptor_pair(const std::uint64_t* a, std::size_t n_a, const std::uint64_t* b,
                                  std::size_t n_b, const std::uint8_t* planes, MatchRule rule,
                                  std::uint32_t* scratch) {
  if (n_a == 0 || n_b == 0) return {0, 0};
  const Nearest of_a{scratch, scratch + n_a};
  const Nearest of_b{scratch + 2 * n_a, scratch + 2 * n_a + n_b};
#if defined(__SSE4_1__)
  auto* columns = reinterpret_cast<Least*>(
      (reinterpret_cast<std::uintptr_t>(scratch + 2 * (n_a + n_b)) + 31) / 32 * 32);
  if (n_a > 1 && n_b > 1 && n_a < (1 << 16) && n_b < (1 << 16) &&
      descriptor_pair_fast(a, n_a, planes, n_b, of_a, of_b, columns))
    return count_matches(of_a, n_a, of_b, rule);
#endif
  return descriptor_pair_plain(a, n_a, b, n_b, rule, of_a, of_b);
}

}  // namespace clusterimg::CLUSTERIMG_ISA
