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
