// The two nearest of each row of a and of each row of b, from distances modulo 256 in bytes
// (descriptor_distances.hpp). Of a row of a it is kept where the nearest is; of a row of b only how
// far, and in which group of a (modulo 256) the first of them is: a row of a in that group that is
// as far from its nearest as the nearest itself is from its own is that one. Only where several
// are as near the first must be looked for.
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

// The same for a register of rows of b; `group` is the group of the first nearest, modulo 256.
struct Column {
  alignas(32) std::uint8_t best[32], second[32], group[32];
};

static void clear(Column& column) {
  for (std::size_t l = 0; l < 32; l += byte_lanes) {
    store(column.best + l, fill(255)), store(column.second + l, fill(255));
    store(column.group + l, fill(0));
  }
}

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
  if (block >= 32)
    store(row.high + lane,
          choose(equal(best, before), load(row.high + lane), fill(static_cast<int>(block >> 5))));
}

// What the rows of b see in a group of which they are at d[k].
static inline void see_group(Column& column, std::size_t lane, Bytes group, Bytes d0, Bytes d1,
                             Bytes d2, Bytes d3) {
  const Bytes least = lower(d0, d1), most = higher(d0, d1);
  const Bytes least2 = lower(d2, d3), most2 = higher(d2, d3);
  const Bytes nearest = lower(least, least2);
  const Bytes next = lower(higher(least, least2), lower(most, most2));
  const Bytes old = load(column.best + lane), best = lower(old, nearest);
  store(column.best + lane, best);
  store(column.second + lane, lower(load(column.second + lane), lower(next, higher(old, nearest))));
  store(column.group + lane, choose(equal(old, best), load(column.group + lane), group));
}

// 255 where a block has no row of b.
struct Beyond {
  alignas(32) std::uint8_t bytes[8][32];
  std::size_t first;  // register with such a place, 8 if there is none
};

static void find_beyond(std::size_t n_here, Beyond& beyond) {
  beyond.first = n_here < 256 ? n_here / 32 : 8;
  for (std::size_t v = beyond.first; v < 8; ++v)
    for (std::size_t l = 0; l < 32; ++l) beyond.bytes[v][l] = v * 32 + l < n_here ? 0 : 255;
}

// `planes` of the block. Of group g n_rows are rows of a.
static void match_block(const DescriptorGroup& group, std::size_t g, std::size_t n_rows,
                        const std::uint8_t* planes, std::size_t block, const Beyond& beyond,
                        Least* rows, Column* columns) {
  for (std::size_t lane = 0; lane < 32; lane += byte_lanes) {
    Bytes d[4][8];
    distances_of(group, planes + lane, d);
    for (std::size_t v = beyond.first; v < 8; ++v)
      for (std::size_t k = 0; k < 4; ++k) d[k][v] = higher(d[k][v], load(beyond.bytes[v] + lane));
    for (std::size_t k = n_rows; k < 4; ++k)
      for (std::size_t v = 0; v < 8; ++v) d[k][v] = fill(255);
    for (std::size_t k = 0; k < 4; ++k) see_block(rows[k], lane, d[k], block);
    const Bytes number = fill(static_cast<int>(g & 255));
    for (std::size_t v = 0; v < 8; ++v)
      see_group(columns[v], lane, number, d[0][v], d[1][v], d[2][v], d[3][v]);
  }
}

// The first row of a at `distance` modulo 256 of row y of b; its group modulo 256 is known.
static std::uint32_t first_at(const std::uint64_t* a, const std::uint64_t* y,
                              std::uint32_t distance, std::uint32_t group) {
  std::uint32_t i = 4 * group;
  while ((distance_of(a + i * 4, y) & 255) != distance) i += i % 4 == 3 ? 4 * 255 + 1 : 1;
  return i;
}

// What register `v` of rows of b saw, as `best` and `second` of count_matches; not yet who is
// nearest. Whether all that seem to be at 0 from their nearest are equal to it.
static bool reduce_column(const std::uint64_t* a, const std::uint64_t* b, std::size_t v,
                          std::size_t n_here, const Column& column, Nearest of_b) {
  for (std::size_t l = 0; l < n_here; ++l) {
    of_b.best[v * 32 + l] = descriptor_index_mask;
    of_b.second[v * 32 + l] = column.second[l];
  }
  for (std::size_t lane = 0; lane < n_here; lane += byte_lanes) {
    std::uint32_t zeros = sign_bits(equal(load(column.best + lane), fill(0)));
    for (; zeros != 0; zeros &= zeros - 1) {
      const std::size_t l = lane + static_cast<std::size_t>(__builtin_ctz(zeros));
      const std::uint64_t* y = b + (v * 32 + l) * 4;
      if (l < n_here && is_opposite(y, a, first_at(a, y, 0, column.group[l]))) return false;
    }
  }
  return true;
}

// Who is nearest to the rows of b, if it matters: row i of a must be as far from its nearest, row
// j, as j from its own, and the first of these.
static void match_columns(const std::uint64_t* a, std::size_t n_a, const std::uint64_t* b,
                          const Column* columns, Nearest of_a, Nearest of_b) {
  for (std::uint32_t i = 0; i < n_a; ++i) {
    const std::uint32_t j = of_a.best[i] & descriptor_index_mask;
    const std::uint32_t distance = of_a.best[i] >> descriptor_index_bits;
    const std::uint32_t group = columns[j / 32].group[j % 32];
    const std::uint32_t apart = (columns[j / 32].best[j % 32] ^ distance) | (group ^ (i / 4 & 255));
    bool first = apart == 0;
    if ((apart | (of_b.second[j] ^ distance)) == 0)
      first = first_at(a, b + j * 4, distance, group) == i;
    of_b.best[j] = first ? i : of_b.best[j];
  }
}

// Block after block of b, so that its planes stay in the first cache.
static bool descriptor_pair_fast(const std::uint64_t* a, std::size_t n_a,
                                 const DescriptorGroup* groups, const std::uint64_t* b,
                                 std::size_t n_b, const std::uint8_t* planes, Nearest of_a,
                                 Nearest of_b, Least* rows, Column* columns) {
  for (std::size_t i = 0; i < (n_a + 3) / 4 * 4; ++i) clear(rows[i]);
  for (std::size_t block = 0; block * 256 < n_b; ++block) {
    Beyond beyond;
    find_beyond(n_b - block * 256, beyond);
    for (std::size_t v = 0; v < 8; ++v) clear(columns[block * 8 + v]);
    for (std::size_t i = 0; i < n_a; i += 4)
      match_block(groups[i / 4], i / 4, n_a - i < 4 ? n_a - i : 4,
                  planes + block * block_planes * plane_bytes, block, beyond, rows + i,
                  columns + block * 8);
  }
  for (std::size_t i = 0; i < n_a; ++i) {
    reduce_row(rows[i], of_a.best + i, of_a.second + i);
    if (is_opposite(a + i * 4, b, of_a.best[i])) return false;
  }
  for (std::size_t v = 0; v * 32 < n_b; ++v)
    if (!reduce_column(a, b, v, n_b - v * 32 < 32 ? n_b - v * 32 : 32, columns[v], of_b))
      return false;
  match_columns(a, n_a, b, columns, of_a, of_b);
  return true;
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
  auto* rows = reinterpret_cast<Least*>(
      (reinterpret_cast<std::uintptr_t>(scratch + 2 * (n_a + n_b)) + 31) / 32 * 32);
  auto* columns = reinterpret_cast<Column*>(rows + (n_a + 3) / 4 * 4);
  if (n_a > 1 && n_b > 1 && n_a < (1 << 16) && n_b < (1 << 16) &&
      descriptor_pair_fast(a, n_a, groups, b, n_b, planes, of_a, of_b, rows, columns))
    return count_matches(of_a, n_a, of_b, rule);
#else
  (void)groups;
  (void)planes;
#endif
  return descriptor_pair_plain(a, n_a, b, n_b, rule, of_a, of_b);
}

}  // namespace clusterimg::CLUSTERIMG_ISA
