// The two nearest of each row of a and of each row of b, from distances modulo 256 in bytes
// (descriptor_distances.hpp). Of a row of a it is kept where the nearest is; of a row of b only how
// far, as a match needs no more: a row of a that is as far from its nearest as the nearest itself
// is from its own is that one. Only where several are as near the first must be looked for.
//
// Only a distance of 256 is not what it seems: it looks like 0. A row that has one seems to be at 0
// from its nearest. If the two are not equal, the pair is scored by the plain loop. If they are,
// the nearest is right (the first of all that seem to be at 0), and no rule asks how far the second
// is: at distance 0 a match is good whatever that is, under relative if the largest distance is not
// 0. Where nothing seems to be at 0, all distances are below 256 and right. Lanes where b has no
// row, and rows that fill up a group, are at 255: behind all others, and neither first nor nearer.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

namespace clusterimg::CLUSTERIMG_ISA {

#if defined(__SSE4_1__)

// The two least distances seen, lane by lane, and where the least came from (first wins).
struct Least {
  alignas(32) std::uint8_t best[32], second[32], low[32], high[32];
};

static void clear(Least& least) {
  for (std::size_t l = 0; l < 32; l += byte_lanes) {
    store(least.best + l, fill(255)), store(least.second + l, fill(255));
    store(least.low + l, fill(0)), store(least.high + l, fill(0));
  }
}

// The same without the place.
struct Distances {
  alignas(32) std::uint8_t best[32], second[32];
};

static inline std::uint32_t least_byte(__m128i low, __m128i high) {
  const __m128i least = _mm_min_epu8(low, high);
  const __m128i pairs = _mm_min_epu8(least, _mm_srli_epi16(least, 8));
  const __m128i words = _mm_and_si128(pairs, _mm_set1_epi16(255));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm_minpos_epu16(words))) & 255;
}

static inline void reduce_row(const Least& least, std::uint32_t* best, std::uint32_t* second) {
  const auto half = [](const std::uint8_t* bytes, std::size_t k) {
    return _mm_load_si128(reinterpret_cast<const __m128i*>(bytes) + k);
  };
  const __m128i low = half(least.best, 0), high = half(least.best, 1);
  const std::uint32_t nearest = least_byte(low, high);
  const __m128i wanted = _mm_set1_epi8(static_cast<char>(nearest));
  const __m128i of_low = _mm_cmpeq_epi8(low, wanted), of_high = _mm_cmpeq_epi8(high, wanted);
  auto lanes = static_cast<std::uint32_t>(_mm_movemask_epi8(of_low)) |
               static_cast<std::uint32_t>(_mm_movemask_epi8(of_high)) << 16;
  // Of what the nearest leaves, in its lane and in others, the least is the second nearest.
  const std::uint32_t others =
      least_byte(_mm_min_epu8(_mm_or_si128(low, of_low), half(least.second, 0)),
                 _mm_min_epu8(_mm_or_si128(high, of_high), half(least.second, 1)));
  *second = (lanes & (lanes - 1)) != 0 ? nearest : others;
  std::uint32_t from = ~0u;
  for (; lanes != 0; lanes &= lanes - 1) {
    const auto l = static_cast<std::uint32_t>(__builtin_ctz(lanes));
    const std::uint32_t column =
        (least.low[l] | static_cast<std::uint32_t>(least.high[l]) << 8) * 32 + l;
    from = column < from ? column : from;
  }
  *best = nearest << descriptor_index_bits | from;
}

static std::uint32_t distance_of(const std::uint64_t* x, const std::uint64_t* y) {
  std::uint32_t distance = 0;
  for (std::size_t w = 0; w < 4; ++w)
    distance += static_cast<std::uint32_t>(__builtin_popcountll(x[w] ^ y[w]));
  return distance;
}

// Whether the nearest of row `x`, which is at distance 0 modulo 256, is not equal to it.
static bool is_opposite(const std::uint64_t* x, const std::uint64_t* others, std::uint32_t best) {
  return best >> descriptor_index_bits == 0 &&
         distance_of(x, others + (best & descriptor_index_mask) * 4) != 0;
}

// What a row sees in a block.
static inline void see_block(Least& row, std::size_t lane, const Bytes* d, std::size_t block) {
  const Bytes before = load(row.best + lane);
  Bytes best = before, second = load(row.second + lane), low = load(row.low + lane);
  for (std::size_t v = 0; v < 8; ++v) {
    const Bytes now = lower(best, d[v]);
    second = lower(second, higher(best, d[v]));
    low = choose(equal(now, best), low, fill(static_cast<int>((block * 8 + v) & 255)));
    best = now;
  }
  store(row.best + lane, best);
  store(row.second + lane, second);
  store(row.low + lane, low);
  store(row.high + lane,
        choose(equal(best, before), load(row.high + lane), fill(static_cast<int>(block >> 5))));
}

// What the rows of b see in a group of which they are at d[k].
static inline void see_group(Distances& column, std::size_t lane, Bytes d0, Bytes d1, Bytes d2,
                             Bytes d3) {
  const Bytes least = lower(d0, d1), most = higher(d0, d1);
  const Bytes least2 = lower(d2, d3), most2 = higher(d2, d3);
  const Bytes nearest = lower(least, least2);
  const Bytes next = lower(higher(least, least2), lower(most, most2));
  const Bytes old = load(column.best + lane);
  store(column.best + lane, lower(old, nearest));
  store(column.second + lane, lower(load(column.second + lane), lower(next, higher(old, nearest))));
}

// `planes` of the block; n_here rows of b are in it or after it.
static void match_block(const DescriptorGroup& group, std::size_t n_rows,
                        const std::uint8_t* planes, std::size_t block, std::size_t n_here,
                        Least* rows, Distances* columns) {
  for (std::size_t lane = 0; lane < 32; lane += byte_lanes) {
    Bytes d[4][8];
    distances_of(group, planes, n_here, lane, d);
    for (std::size_t k = 0; k < n_rows; ++k) see_block(rows[k], lane, d[k], block);
    for (std::size_t k = n_rows; k < 4; ++k)
      for (std::size_t v = 0; v < 8; ++v) d[k][v] = fill(255);
    for (std::size_t v = 0; v < 8 && v * 32 < n_here; ++v)
      see_group(columns[block * 8 + v], lane, d[0][v], d[1][v], d[2][v], d[3][v]);
  }
}

// The first row of a at `distance` modulo 256 of row y of b; there is one.
static std::uint32_t first_at(const std::uint64_t* a, const std::uint64_t* y,
                              std::uint32_t distance) {
  std::uint32_t i = 0;
  while ((distance_of(a + i * 4, y) & 255) != distance) ++i;
  return i;
}

// What the rows of b saw, as `best` and `second` of count_matches; who is nearest, if it matters.
static bool reduce_columns(const std::uint64_t* a, std::size_t n_a, const std::uint64_t* b,
                           std::size_t n_b, const Distances* columns, Nearest of_a, Nearest of_b) {
  constexpr std::uint32_t unknown = descriptor_index_mask;
  for (std::size_t j = 0; j < n_b; ++j) {
    of_b.best[j] =
        static_cast<std::uint32_t>(columns[j / 32].best[j % 32]) << descriptor_index_bits | unknown;
    of_b.second[j] = columns[j / 32].second[j % 32];
  }
  for (std::uint32_t i = 0; i < n_a; ++i) {
    const std::uint32_t j = of_a.best[i] & descriptor_index_mask;
    const std::uint32_t distance = of_a.best[i] >> descriptor_index_bits;
    if (of_b.best[j] != (distance << descriptor_index_bits | unknown)) continue;
    const std::uint32_t first = of_b.second[j] > distance ? i : first_at(a, b + j * 4, distance);
    of_b.best[j] = distance << descriptor_index_bits | first;
  }
  for (std::size_t j = 0; j < n_b; ++j) {
    if (of_b.best[j] >> descriptor_index_bits != 0) continue;
    if (of_b.best[j] == unknown) of_b.best[j] = first_at(a, b + j * 4, 0);
    if (is_opposite(b + j * 4, a, of_b.best[j])) return false;
  }
  return true;
}

// Rows of a scored against one block before the next, so that its planes stay in the first cache.
constexpr std::size_t strip_rows = 32;

static bool descriptor_pair_fast(const std::uint64_t* a, std::size_t n_a,
                                 const DescriptorGroup* groups, const std::uint64_t* b,
                                 std::size_t n_b, const std::uint8_t* planes, Nearest of_a,
                                 Nearest of_b, Distances* columns) {
  for (std::size_t column = 0; column * 32 < n_b; ++column)
    for (std::size_t l = 0; l < 32; l += byte_lanes)
      store(columns[column].best + l, fill(255)), store(columns[column].second + l, fill(255));
  for (std::size_t strip = 0; strip < n_a; strip += strip_rows) {
    const std::size_t n_strip = n_a - strip < strip_rows ? n_a - strip : strip_rows;
    Least rows[strip_rows];
    for (std::size_t i = 0; i < n_strip; ++i) clear(rows[i]);
    for (std::size_t block = 0; block * 256 < n_b; ++block)
      for (std::size_t i = 0; i < n_strip; i += 4)
        match_block(groups[(strip + i) / 4], n_strip - i < 4 ? n_strip - i : 4,
                    planes + block * block_planes * plane_bytes, block, n_b - block * 256, rows + i,
                    columns);
    for (std::size_t i = strip; i < strip + n_strip; ++i) {
      reduce_row(rows[i - strip], of_a.best + i, of_a.second + i);
      if (is_opposite(a + i * 4, b, of_a.best[i])) return false;
    }
  }
  return reduce_columns(a, n_a, b, n_b, columns, of_a, of_b);
}

#else
static void descriptor_planes(const std::uint64_t*, std::size_t, std::uint8_t*) {}
static void descriptor_groups(const std::uint64_t*, std::size_t, DescriptorGroup*) {}
#endif  // __SSE4_1__

// Fast where it can be, else plain. Set a has been laid out as groups, b as planes.
static MatchCount descriptor_pair(const std::uint64_t* a, std::size_t n_a,
                                  const DescriptorGroup* groups, const std::uint64_t* b,
                                  std::size_t n_b, const std::uint8_t* planes, MatchRule rule,
                                  std::uint32_t* scratch) {
  if (n_a == 0 || n_b == 0) return {0, 0};
  const Nearest of_a{scratch, scratch + n_a};
  const Nearest of_b{scratch + 2 * n_a, scratch + 2 * n_a + n_b};
#if defined(__SSE4_1__)
  auto* columns = reinterpret_cast<Distances*>(
      (reinterpret_cast<std::uintptr_t>(scratch + 2 * (n_a + n_b)) + 31) / 32 * 32);
  if (n_a > 1 && n_b > 1 && n_a < (1 << 16) && n_b < (1 << 16) &&
      descriptor_pair_fast(a, n_a, groups, b, n_b, planes, of_a, of_b, columns))
    return count_matches(of_a, n_a, of_b, rule);
#else
  (void)groups;
  (void)planes;
#endif
  return descriptor_pair_plain(a, n_a, b, n_b, rule, of_a, of_b);
}

}  // namespace clusterimg::CLUSTERIMG_ISA
