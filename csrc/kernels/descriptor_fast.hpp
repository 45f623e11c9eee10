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

using Bits = std::uint64_t __attribute__((vector_size(sizeof(Bytes))));

// Adds 8 n planes to counts that stay below 2^n_bits, or are modulo 256.
template <std::size_t n_bits>
static inline void add_planes(const std::uint16_t* list, std::size_t n, const std::uint8_t* planes,
                              Bits* count) {
  const auto plane = [&](std::size_t k) {
    return *reinterpret_cast<const Bits*>(planes + list[k]);
  };
  for (; n > 0; --n, list += 8) {
    Bits two[2], four[2], carry;
    count[0] = full_add(plane(0), plane(1), count[0], two[0]);
    count[0] = full_add(plane(2), plane(3), count[0], two[1]);
    count[1] = full_add(two[0], two[1], count[1], four[0]);
    count[0] = full_add(plane(4), plane(5), count[0], two[0]);
    count[0] = full_add(plane(6), plane(7), count[0], two[1]);
    count[1] = full_add(two[0], two[1], count[1], four[1]);
    count[2] = full_add(four[0], four[1], count[2], carry);
    for (std::size_t bit = 3; bit < n_bits; ++bit) {
      const Bits next = count[bit] & carry;
      count[bit] ^= carry;
      carry = next;
    }
  }
}

static inline void add_counts(const Bits* count, Bits* sum) {
  Bits carry = {};
  for (std::size_t bit = 0; bit < 8; ++bit) {
    Bits next;
    sum[bit] = full_add(count[bit], sum[bit], carry, next);
    carry = next;
  }
}

// Counts as bytes, one a row of b.
static inline void to_bytes(const Bits* count, Bytes* bytes) {
  Bytes x[8];
  for (std::size_t bit = 0; bit < 8; ++bit) x[bit] = load(count + bit);
  turn(x);
  for (std::size_t v = 0; v < 8; ++v) store(bytes + v, x[v]);
}

// The sums n_q + n_(4 + q), and as the fifth n_4 + n_5 + n_6 + n_7. A class 4 + q has at most
// 2^far_bits - 1 planes, it and class q together 2^n_bits - 1.
template <std::size_t far_bits, std::size_t n_bits>
static inline void sum_classes(const DescriptorGroup& group, const std::uint8_t* planes,
                               Bytes (*sums)[8]) {
  const std::uint16_t* list = group.planes;
  Bits far[8] = {};
  for (std::size_t q = 0; q < 4; ++q) {
    const std::size_t n_far = group.n_eights[2 * q], n_near = group.n_eights[2 * q + 1];
    Bits count[8] = {};
    add_planes<far_bits>(list, n_far, planes, count);
    add_counts(count, far);
    add_planes<n_bits>(list + 8 * n_far, n_near, planes, count);
    to_bytes(count, sums[q]);
    list += 8 * (n_far + n_near);
  }
  to_bytes(far, sums[4]);
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

// The distances of four rows to one register of b.
static inline void combine(const Bytes (*sums)[8], std::size_t v, const Bytes* differing,
                           Bytes (*d)[8]) {
  const Bytes a1 = add(sums[1][v], sums[3][v]), a2 = add(sums[2][v], sums[3][v]), a3 = sums[4][v];
  const Bytes all = add(add(sums[0][v], sums[2][v]), a1);
  d[0][v] = all;
  d[1][v] = subtract(add(all, differing[1]), add(a1, a1));
  d[2][v] = subtract(add(all, differing[2]), add(a2, a2));
  d[3][v] = subtract(add(all, differing[3]), add(a3, a3));
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

// The distances of the 4 rows of a group to the rows of a block, 255 beyond the last: d[k][v].
static inline void distances_of(const DescriptorGroup& group, const std::uint8_t* planes,
                                std::size_t n_here, std::size_t lane, Bytes (*d)[8]) {
  Bytes sums[5][8], differing[4];
  bool few = true;
  for (std::size_t q = 0; q < 4; ++q)
    few =
        few && group.n_eights[2 * q] < 8 && group.n_eights[2 * q] + group.n_eights[2 * q + 1] < 16;
  if (few)
    sum_classes<6, 7>(group, planes + lane, sums);
  else
    sum_classes<8, 8>(group, planes + lane, sums);
  for (std::size_t k = 0; k < 4; ++k) differing[k] = fill(group.differing[k]);
  for (std::size_t v = 0; v < 8; ++v) combine(sums, v, differing, d);
  if (n_here >= 256) return;
  for (std::size_t v = n_here / 32; v < 8; ++v) {
    alignas(32) std::uint8_t beyond[32];
    for (std::size_t l = 0; l < 32; ++l) beyond[l] = v * 32 + l < n_here ? 0 : 255;
    for (std::size_t k = 0; k < 4; ++k) d[k][v] = higher(d[k][v], load(beyond + lane));
  }
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
static inline void see_group(Least& column, std::size_t lane, Bytes d0, Bytes d1, Bytes d2,
                             Bytes d3, std::size_t group) {
  const Bytes least = lower(d0, d1), most = higher(d0, d1);
  const Bytes least2 = lower(d2, d3), most2 = higher(d2, d3);
  const Bytes nearest = lower(least, least2);
  const Bytes next = lower(higher(least, least2), lower(most, most2));
  const Bytes old = load(column.best + lane), now = lower(old, nearest);
  const Bytes keep = equal(now, old);
  const Bytes second = lower(load(column.second + lane), lower(next, higher(old, nearest)));
  store(column.second + lane, second);
  store(column.best + lane, now);
  store(column.low + lane,
        choose(keep, load(column.low + lane), fill(static_cast<int>(group & 255))));
  store(column.high + lane,
        choose(keep, load(column.high + lane), fill(static_cast<int>(group >> 8))));
}

// `planes` of the block; n_here rows of b are in it or after it.
static void match_block(const DescriptorGroup& group, std::size_t n_rows, std::size_t number,
                        const std::uint8_t* planes, std::size_t block, std::size_t n_here,
                        Least* rows, Least* columns) {
  for (std::size_t lane = 0; lane < 32; lane += byte_lanes) {
    Bytes d[4][8];
    distances_of(group, planes, n_here, lane, d);
    for (std::size_t k = 0; k < n_rows; ++k) see_block(rows[k], lane, d[k], block);
    for (std::size_t k = n_rows; k < 4; ++k)
      for (std::size_t v = 0; v < 8; ++v) d[k][v] = fill(255);
    for (std::size_t v = 0; v < 8 && v * 32 < n_here; ++v)
      see_group(columns[block * 8 + v], lane, d[0][v], d[1][v], d[2][v], d[3][v], number);
  }
}

// The row of a group that is the nearest of a row of b, at `distance` modulo 256.
static std::uint32_t row_of_group(const std::uint64_t* a, std::size_t n_a, const std::uint64_t* b,
                                  std::size_t first, std::uint32_t distance) {
  for (std::size_t i = first; i < first + 4 && i < n_a; ++i)
    if ((distance_of(a + i * 4, b) & 255) == distance) return static_cast<std::uint32_t>(i);
  return static_cast<std::uint32_t>(first);
}

// What the rows of b saw. Which row of its group is the nearest is asked only where a row of the
// group has it as its nearest; elsewhere there is no match whichever it is.
static bool reduce_columns(const std::uint64_t* a, std::size_t n_a, const std::uint64_t* b,
                           std::size_t n_b, const Least* columns, Nearest of_a, Nearest of_b) {
  for (std::size_t j = 0; j < n_b; ++j) {
    const Least& column = columns[j / 32];
    const std::size_t l = j % 32;
    const std::uint32_t distance = column.best[l];
    std::uint32_t first = 4 * (column.low[l] | static_cast<std::uint32_t>(column.high[l]) << 8);
    if (distance == 0) first = row_of_group(a, n_a, b + j * 4, first, 0);
    of_b.best[j] = distance << descriptor_index_bits | first;
    of_b.second[j] = column.second[l];
    if (is_opposite(b + j * 4, a, of_b.best[j])) return false;
  }
  for (std::size_t i = 0; i < n_a; ++i) {
    const std::uint32_t j = of_a.best[i] & descriptor_index_mask;
    const std::uint32_t row = of_b.best[j] & descriptor_index_mask;
    const std::uint32_t distance = of_b.best[j] >> descriptor_index_bits;
    if (row / 4 == i / 4)
      of_b.best[j] = distance << descriptor_index_bits |
                     row_of_group(a, n_a, b + j * 4, row / 4 * 4, distance);
  }
  return true;
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
      match_block(groups[first / 4], n_rows, first / 4, planes + block * block_planes * plane_bytes,
                  block, n_b - block * 256, rows, columns);
    for (std::size_t k = 0; k < n_rows; ++k) {
      const std::size_t i = first + k;
      reduce_row(rows[k], of_a.best + i, of_a.second + i);
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
  auto* columns = reinterpret_cast<Least*>(
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
