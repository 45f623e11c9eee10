// Pairs of codes of one word where many are near: which rows are near a query, as bits, without a
// bound, and the edges that such bits stand for.
//
// For a group of 5 bits a table holds the count of differing bits itself: a one and a pair of twos,
// three planes (40 KB). 13 of them are summed by adders of pairs, some 145 operations for 256
// pairs; so nothing has to be counted again but the score of a pair that is near.
//
// kernels_isa.cpp includes hamming_sliced.hpp before this file.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

// The upper planes of the count that group g of a query finds: its twos.
template <std::size_t g>
static inline __attribute__((always_inline)) void found_twos(const Plane256* table,
                                                             std::uint64_t query, Pair256& pair) {
  pair.differ = found<g, 2>(table + 1, query);
  pair.one = found<g, 1>(table + 2 * bit_groups * group_values, query);
}

// Adds the twos of two groups.
template <std::size_t g, std::size_t h>
static inline __attribute__((always_inline)) void add_twos(const Plane256* table,
                                                           std::uint64_t query, Plane256& twos,
                                                           Pair256& four) {
  Pair256 first, second;
  found_twos<g>(table, query, first);
  found_twos<h>(table, query, second);
  add_pairs(first, second, twos, four);
}

// Adds the twos of a group and those that were carried.
template <std::size_t g>
static inline __attribute__((always_inline)) void add_twos(const Plane256* table,
                                                           std::uint64_t query,
                                                           const Pair256& carried, Plane256& twos,
                                                           Pair256& four) {
  Pair256 first;
  found_twos<g>(table, query, first);
  add_pairs(first, carried, twos, four);
}

// In how many bits the rows differ from a query, 0 to 64: seven planes.
static inline __attribute__((always_inline)) void exact_sum(const Plane256* table,
                                                            std::uint64_t query, Plane256* sum) {
  Plane256 ones = found<0, 2>(table, query), twos{}, fours, eights;
  Pair256 two, four_a, four_b, eight_a, eight_b, sixteen_a, sixteen_b, last;
  add_found<2, 1>(table, query, ones, two);
  add_twos<0, 1>(table, query, twos, four_a);
  add_twos<2, 3>(table, query, twos, four_b);
  begin_pairs(four_a, four_b, fours, eight_a);
  add_twos<4>(table, query, two, twos, four_a);
  add_found<2, 5>(table, query, ones, two);
  add_twos<5, 6>(table, query, twos, four_b);
  add_pairs(four_a, four_b, fours, eight_b);
  begin_pairs(eight_a, eight_b, eights, sixteen_a);
  add_twos<7>(table, query, two, twos, four_a);
  add_twos<8, 9>(table, query, twos, four_b);
  add_pairs(four_a, four_b, fours, eight_a);
  add_found<2, 9>(table, query, ones, two);
  add_twos<10, 11>(table, query, twos, four_a);
  add_twos<12>(table, query, two, twos, four_b);
  add_pairs(four_a, four_b, fours, eight_b);
  add_pairs(eight_a, eight_b, eights, sixteen_b);
  begin_pairs(sixteen_a, sixteen_b, sum[4], last);
  sum[0] = ones, sum[1] = twos, sum[2] = fours, sum[3] = eights;
  sum[5] = last.differ, sum[6] = ~last.differ & last.one;
}

// `below` stays where a number's lower planes are not above the radius's: one plane more.
static inline __attribute__((always_inline)) void compare(const Plane256& plane,
                                                          const Plane256& radius_bit,
                                                          Plane256& below) {
  const Plane256 either = radius_bit | below;
  below = (radius_bit & below) | (~plane & either);
}

// Which of up to 256 rows differ from each query in at most `radius` bits.
//   tables      of the rows, as hamming_exact_table makes them
//   later       only rows of a higher number than the query's
//   masks (n, 4)   bit r of word l: row 64 l + r; returns how many bits there are
static std::size_t hamming_masks(const std::uint8_t* tables, std::size_t n_rows,
                                 const std::uint64_t* queries, std::size_t n, std::size_t radius,
                                 bool later, std::uint64_t* masks) {
  const Plane256* table = reinterpret_cast<const Plane256*>(tables);
  Plane256 valid, bit[7];
  first_rows(n_rows, valid);
  for (std::size_t k = 0; k < 7; ++k) bit[k] = Plane256{} - ((radius >> k) & 1);
  std::size_t n_near = 0;
  for (std::size_t j = 0; j < n; ++j) {
    Plane256 sum[7];
    exact_sum(table, queries[j], sum);
    Plane256 below = bit[0] | ~sum[0];
    for (std::size_t k = 1; k < 7; ++k) compare(sum[k], bit[k], below);
    below &= valid;
    if (later) {
      Plane256 before;
      first_rows(j + 1, before);
      below &= ~before;
    }
    for (std::size_t l = 0; l < 4; ++l) {
      masks[4 * j + l] = below[l];
      n_near += static_cast<std::size_t>(__builtin_popcountll(below[l]));
    }
  }
  return n_near;
}

// The rows and the queries that are connected by the pairs within a radius, through fewer of them.
// Some rows are known to be connected with each other. A query near any of these is near one of
// them in what comes out; so the rest of them are connected with it too, and need no pair.
//   n        at most hamming_exact_queries
//   joined   the rows known to be connected, as bits; rows that become so are added
//   hits     room for a pair of each row and query; returns how many
static std::size_t hamming_spanning(const std::uint64_t* rows, std::size_t n_rows,
                                    const std::uint8_t* tables, const std::uint64_t* queries,
                                    std::size_t n, std::size_t radius, std::uint64_t* joined,
                                    HammingHit* hits) {
  std::uint64_t masks[4 * hamming_exact_queries];
  hamming_masks(tables, n_rows, queries, n, radius, false, masks);
  std::size_t n_hits = 0;
  for (std::size_t j = 0; j < n; ++j) {
    const std::uint64_t* near = masks + 4 * j;
    bool none_known = true, met = false;
    for (std::size_t l = 0; l < 4; ++l) {
      none_known = none_known && joined[l] == 0;
      met = met || (joined[l] & near[l]) != 0;
    }
    bool needs_known = met;
    for (std::size_t l = 0; l < 4; ++l) {
      std::uint64_t left = near[l] & ~joined[l];
      const std::uint64_t known = near[l] & joined[l];
      if (needs_known && known != 0) left |= known & (~known + 1), needs_known = false;
      if (met || none_known) joined[l] |= near[l];
      for (; left != 0; left &= left - 1) {
        const std::size_t row = 64 * l + lowest_bit(left);
        const int differing = __builtin_popcountll(rows[row] ^ queries[j]);
        hits[n_hits++] = {static_cast<std::uint16_t>(row), static_cast<std::uint16_t>(j),
                          static_cast<std::uint32_t>(differing)};
      }
    }
  }
  return n_hits;
}

// Both halves of an edge, to be written at once.
typedef std::uint64_t EdgeBits __attribute__((vector_size(16), aligned(8), may_alias));

// The edge of a row and the lowest column of some, which is taken from them.
static inline __attribute__((always_inline)) void write_lowest(
    std::uint64_t& left, std::uint64_t first, std::uint64_t code, const std::uint64_t* codes,
    const std::uint64_t* scores, Edge* out) {
  const std::size_t bit = lowest_bit(left);
  left &= left - 1;
  const int differing = __builtin_popcountll(code ^ codes[bit]);
  *reinterpret_cast<EdgeBits*>(out) = EdgeBits{first + (bit << 32), scores[differing]};
}

// Writes the edges of one row, four at a time: what stands too much is written over by the next.
//   blocks   for each 256 columns from `begin` to `end`, the masks of all rows
//   codes    of the columns
//   scores   by differing bits, as the bits of a double
//   out      where to; the row's last edges stay below `last`; returns the end of what was written
static Edge* hamming_write(std::uint64_t code, const std::uint64_t* codes,
                           const std::uint64_t* const* blocks, std::size_t begin, std::size_t end,
                           std::size_t row, const std::uint64_t* scores, Edge* out,
                           const Edge* last) {
  for (std::size_t word = 4 * begin; word < 4 * end; ++word) {
    std::uint64_t left = blocks[word / 4][4 * row + word % 4];
    const std::uint64_t first = (std::uint64_t{64 * word} << 32) | row;
    const std::size_t n = static_cast<std::size_t>(__builtin_popcountll(left));
    Edge* const next = out + n;
    if (static_cast<std::size_t>(last - out) < n + 3) {
      while (out != next) write_lowest(left, first, code, codes + 64 * word, scores, out++);
      continue;
    }
    for (; out < next; out += 4)
      for (std::size_t k = 0; k < 4; ++k)
        write_lowest(left, first, code, codes + 64 * word, scores, out + k);
    out = next;
  }
  return out;
}

}  // namespace clusterimg::CLUSTERIMG_ISA
