// Bit-sliced Hamming filter: one code against 256 rows at once, each row in one bit of a register.
//
// A word is cut into 13 groups of 5 bits (the last has 4). For 256 rows and each of the 32 values a
// group can have in a query, a table holds, as bit planes, a number that is at most the count of
// bits in which group and value differ:
//   folded   1 if any bit differs, one plane      (13 at most a word)
//   capped   the count, but 3 where it is 4 or 5, two planes   (39 at most a word)
// Full adders sum what a query finds in the tables. Differing bits are at least that sum, so a row
// whose sum is above the radius is not near: the filter drops no near row. Those it keeps are
// counted bit by bit (hamming_sliced_hits.hpp).
//
// kernels_isa.cpp includes hamming_planes.hpp before this file.
#pragma once
#include <cstddef>
#include <cstdint>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace clusterimg::CLUSTERIMG_ISA {

// A hot loop in a function of its own: inlined, it would share the registers with what is around
// it.
#define own_registers __attribute__((noinline))

static inline bool any_bit(const Plane256& x) {
#if defined(__AVX2__)
  const __m256i bits = reinterpret_cast<const __m256i&>(x);
  return !_mm256_testz_si256(bits, bits);
#else
  return (x[0] | x[1] | x[2] | x[3]) != 0;
#endif
}

static inline std::size_t lowest_bit(std::uint64_t x) {  // of 0: 0
#if defined(__BMI__)
  return _tzcnt_u64(x) & 63;
#else
  return x != 0 ? static_cast<std::size_t>(__builtin_ctzll(x)) : 0;
#endif
}

// The planes' bits of the first n rows.
static inline void first_rows(std::size_t n, Plane256& valid) {
  for (std::size_t l = 0; l < 4; ++l) {
    const std::size_t n_bits = n > 64 * l ? n - 64 * l : 0;
    valid[l] = n_bits < 64 ? (std::uint64_t{1} << n_bits) - 1 : ~std::uint64_t{0};
  }
}

// Where a table has what group g of a query finds: `width` planes for each value. A rotation and a
// mask make the place in bytes; compilers know the rotation, which costs less than to copy and
// shift.
template <std::size_t g, std::size_t width>
static inline __attribute__((always_inline)) const Plane256& found(const Plane256* table,
                                                                   std::uint64_t query) {
  constexpr std::size_t size = width * sizeof(Plane256);  // 32 or 64: a power of two
  constexpr std::size_t log_size = width == 1 ? 5 : 6, bit = g * group_bits;
  constexpr std::size_t n_bits = bit + group_bits <= 64 ? group_bits : 64 - bit;
  constexpr std::size_t turn = (64 + bit - log_size) % 64;
  const std::uint64_t turned = query >> turn | query << (64 - turn) % 64;
  const std::uint64_t offset = turned & (((std::size_t{1} << n_bits) - 1) * size);
  const char* at = reinterpret_cast<const char*>(table) + g * group_values * size + offset;
  return *reinterpret_cast<const Plane256*>(at);
}

typedef PlanePair<Plane256> Pair256;

// What two groups of a query find in a table, as a pair.
template <std::size_t width, std::size_t g>
static inline __attribute__((always_inline)) void found_pair(const Plane256* table,
                                                             std::uint64_t query, Pair256& pair) {
  pair_up(found<g, width>(table, query), found<g + 1, width>(table, query), pair);
}

// Adds what four groups find, from g on.
template <std::size_t width, std::size_t g>
static inline __attribute__((always_inline)) void add_found(const Plane256* table,
                                                            std::uint64_t query, Plane256& sum,
                                                            Pair256& carry) {
  Pair256 first, second;
  found_pair<width, g>(table, query, first);
  found_pair<width, g + 2>(table, query, second);
  add_pairs(first, second, sum, carry);
}

// The sum of what a query finds in a folded table, 0 to 13: four planes.
static inline __attribute__((always_inline)) void folded_sum(const Plane256* table,
                                                             std::uint64_t query, Plane256* sum) {
  Pair256 two_a, two_b, two_c, four;
  Plane256 ones = found<0, 1>(table, query), twos, fours, eights;
  add_found<1, 1>(table, query, ones, two_a);
  add_found<1, 5>(table, query, ones, two_b);
  begin_pairs(two_a, two_b, twos, four);
  add_found<1, 9>(table, query, ones, two_c);
  add_pair(two_c, twos, fours);
  add_pair(four, fours, eights);
  sum[0] = ones, sum[1] = twos, sum[2] = fours, sum[3] = eights;
}

// The sum of what a query finds in a capped table, 0 to 39: six planes.
//   one, two   of the table's first value: two pointers, so that no address is worked out twice
static inline __attribute__((always_inline)) void capped_sum(const Plane256* one,
                                                             const Plane256* two,
                                                             std::uint64_t query, Plane256* sum) {
  Pair256 two_a, two_b, two_c, four_a, four_b, four_c, four_d, eight_a, eight_b, sixteen;
  Plane256 ones = found<0, 2>(one, query), twos = found<0, 2>(two, query), fours, eights;
  add_found<2, 1>(one, query, ones, two_a);
  add_found<2, 1>(two, query, twos, four_a);
  add_found<2, 5>(one, query, ones, two_b);
  add_found<2, 5>(two, query, twos, four_b);
  add_pairs(two_a, two_b, twos, four_c);
  add_found<2, 9>(one, query, ones, two_c);
  add_found<2, 9>(two, query, twos, four_d);
  add_pair(two_c, twos, fours);
  add_pairs(four_a, four_b, fours, eight_a);
  add_pairs(four_c, four_d, fours, eight_b);
  begin_pairs(eight_a, eight_b, eights, sixteen);
  sum[0] = ones, sum[1] = twos, sum[2] = fours, sum[3] = eights;
  sum[4] = sixteen.differ, sum[5] = ~sixteen.differ & sixteen.one;
}

// The rows whose sum is not above a radius that the compiler knows: one operation for a plane.
template <std::size_t radius, std::size_t n_planes>
static inline __attribute__((always_inline)) void not_above(const Plane256* sum,
                                                            const Plane256& rows, Plane256& near) {
  Plane256 above{};
  for (std::size_t k = 0; k < n_planes; ++k)
    if ((radius >> k) & 1)
      above &= sum[k];
    else
      above |= sum[k];
  near = ~above & rows;
}

// Which queries are perhaps near a row of one word.
//   second   the table but one plane: it is handed in, so that the compiler knows nothing of it and
//            adds no addresses up that the loads can
//   near (n), which (n)   where the rows are, and the query; returns how many
template <bool capped, std::size_t radius>
static own_registers std::size_t near_words(const Plane256* table, const Plane256* second,
                                            const Plane256& rows, const std::uint64_t* queries,
                                            std::size_t n, Plane256* near, std::uint16_t* which) {
  constexpr std::size_t n_planes = capped ? 6 : 4;
  std::size_t n_near = 0;
  for (std::size_t j = 0; j < n; ++j) {
    Plane256 sum[n_planes], below;
    if constexpr (capped)
      capped_sum(table, second, queries[j], sum);
    else
      folded_sum(table, queries[j], sum);
    not_above<radius, n_planes>(sum, rows, below);
    near[n_near] = below;
    which[n_near] = static_cast<std::uint16_t>(j);
    n_near += any_bit(below);
  }
  return n_near;
}

// The same for a radius of `least` to `most`, above which there is no sum.
template <bool capped, std::size_t least = 0, std::size_t most = capped ? 39 : 13>
static std::size_t near_words_within(const Plane256* table, const Plane256& rows,
                                     const std::uint64_t* queries, std::size_t n,
                                     std::size_t radius, Plane256* near, std::uint16_t* which) {
  constexpr std::size_t middle = (least + most) / 2;
  if constexpr (least == most)
    return near_words<capped, least>(table, table + 1, rows, queries, n, near, which);
  else if (radius <= middle)
    return near_words_within<capped, least, middle>(table, rows, queries, n, radius, near, which);
  else
    return near_words_within<capped, middle + 1, most>(table, rows, queries, n, radius, near,
                                                       which);
}

// Planes of a running sum: enough for the radius and for the sum of a word.
static inline std::size_t running_planes(std::size_t radius) {
  std::size_t n = 6;
  while (radius >> n) ++n;
  return n;
}

// Adds the sum of a word to a running sum; what runs over is near no more.
template <bool capped>
static inline __attribute__((always_inline)) void add_word(const Plane256* table,
                                                           std::uint64_t query,
                                                           std::size_t n_running, Plane256* running,
                                                           Plane256& near) {
  constexpr std::size_t n_planes = capped ? 6 : 4;
  Plane256 sum[n_planes], carry, next;
  if constexpr (capped)
    capped_sum(table, table + 1, query, sum);
  else
    folded_sum(table, query, sum);
  half_add(sum[0], running[0], carry);
  for (std::size_t k = 1; k < n_planes; ++k) {
    hamming_add(sum[k], carry, running[k], next);
    carry = next;
  }
  for (std::size_t k = n_planes; k < n_running; ++k) {
    half_add(carry, running[k], next);
    carry = next;
  }
  near &= ~carry;
}

// A running sum of n planes begins at 2^n - 1 - radius, so that it runs over as soon as it is above
// the radius.
static inline void begin_running(std::size_t radius, std::size_t n, Plane256* running) {
  const std::size_t begin = (std::size_t{1} << n) - 1 - radius;
  for (std::size_t k = 0; k < n; ++k) running[k] = Plane256{} - ((begin >> k) & 1);
}

// The same for codes of a few words, whose tables fit in the cache of the second level: the running
// sum stays in registers.
template <bool capped, std::size_t n_running>
static own_registers std::size_t near_short(const Plane256* tables, const Plane256& rows,
                                            const std::uint64_t* queries, std::size_t n,
                                            std::size_t n_words, std::size_t radius, Plane256* near,
                                            std::uint16_t* which) {
  Plane256 first[n_running];
  begin_running(radius, n_running, first);
  std::size_t n_near = 0;
  for (std::size_t j = 0; j < n; ++j) {
    Plane256 running[n_running], still = rows;
    for (std::size_t k = 0; k < n_running; ++k) running[k] = first[k];
    const Plane256* table = tables;
    for (std::size_t word = 0; word < n_words; ++word) {
      add_word<capped>(table, queries[j * n_words + word], n_running, running, still);
      if (!any_bit(still)) break;
      table += bit_groups * group_values * (capped ? 2 : 1);
    }
    near[n_near] = still;
    which[n_near] = static_cast<std::uint16_t>(j);
    n_near += any_bit(still);
  }
  return n_near;
}

// The same for long codes, word after word. A query far from all rows goes no further.
//   sums (n, planes)   scratch
template <bool capped>
static own_registers std::size_t near_long(const Plane256* table, const Plane256& rows,
                                           const std::uint64_t* queries, std::size_t n,
                                           std::size_t n_words, std::size_t radius, Plane256* sums,
                                           Plane256* near, std::uint16_t* which) {
  const std::size_t n_running = running_planes(radius);
  for (std::size_t j = 0; j < n; ++j) {
    begin_running(radius, n_running, sums + j * n_running);
    near[j] = rows;
    which[j] = static_cast<std::uint16_t>(j);
  }
  std::size_t n_near = n;
  for (std::size_t word = 0; word < n_words && n_near > 0; ++word) {
    const std::size_t n_before = n_near;
    n_near = 0;
    for (std::size_t c = 0; c < n_before; ++c) {
      const std::uint16_t j = which[c];
      Plane256 still = near[c];
      add_word<capped>(table, queries[j * n_words + word], n_running, sums + j * n_running, still);
      near[n_near] = still;
      which[n_near] = j;
      n_near += any_bit(still);
    }
    table += bit_groups * group_values * (capped ? 2 : 1);
  }
  return n_near;
}

template <bool capped>
static std::size_t near_codes(const Plane256* table, const Plane256& rows,
                              const std::uint64_t* queries, std::size_t n, std::size_t n_words,
                              std::size_t radius, Plane256* scratch, Plane256* near,
                              std::uint16_t* which) {
  constexpr std::size_t few_words = 4;
  if (n_words == 1) return near_words_within<capped>(table, rows, queries, n, radius, near, which);
  if (n_words <= few_words) switch (running_planes(radius)) {
      case 6:
        return near_short<capped, 6>(table, rows, queries, n, n_words, radius, near, which);
      case 7:
        return near_short<capped, 7>(table, rows, queries, n, n_words, radius, near, which);
      case 8:
        return near_short<capped, 8>(table, rows, queries, n, n_words, radius, near, which);
    }
  return near_long<capped>(table, rows, queries, n, n_words, radius, scratch, near, which);
}

}  // namespace clusterimg::CLUSTERIMG_ISA
