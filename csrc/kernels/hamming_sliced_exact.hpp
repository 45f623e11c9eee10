// Pairs of codes of one word where many are near: which rows are near a query, as bits, without a
// bound, and the edges that such bits stand for.
//
// For a group of 5 bits a table holds the count of differing bits itself, three planes (40 KB). 13
// of them are summed by full adders, some 175 operations for 256 pairs; so nothing has to be
// counted again but the score of a pair that is near.
//
// kernels_isa.cpp includes hamming_sliced.hpp before this file.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

// The fours of what group g of a query finds in an exact table.
template <std::size_t g>
static inline __attribute__((always_inline)) const Plane256& fours_found(const Plane256* table,
                                                                         std::uint64_t query) {
  return *found<g, 1>(table + 2 * bit_groups * group_values, query);
}

// Adds four groups from g on to a sum, but not the fours of the last; the carries weigh 8.
template <std::size_t g>
static inline __attribute__((always_inline)) void add_four(const Plane256* table,
                                                           std::uint64_t query, Plane256& ones,
                                                           Plane256& twos, Plane256& fours,
                                                           Plane256* eight) {
  Plane256 two_a, two_b, four_a, four_b, four_c;
  add_two<g, g + 1>(table, query, ones, twos, two_a, four_a);
  add_two<g + 2, g + 3>(table, query, ones, twos, two_b, four_b);
  hamming_add(two_a, two_b, twos, four_c);
  hamming_add(four_a, four_b, fours, eight[0]);
  hamming_add(fours_found<g>(table, query), four_c, fours, eight[1]);
  hamming_add(fours_found<g + 1>(table, query), fours_found<g + 2>(table, query), fours, eight[2]);
}

// In how many bits the rows differ from a query, 0 to 64: seven planes.
static inline __attribute__((always_inline)) void exact_sum(const Plane256* table,
                                                            std::uint64_t query, Plane256* sum) {
  Plane256 ones = found<0, 2>(table, query)[0], twos = found<0, 2>(table, query)[1];
  Plane256 fours = fours_found<0>(table, query), eight[3], late, a, b, c;
  add_four<1>(table, query, ones, twos, fours, eight);
  Plane256 eights = eight[0], sixteens;
  hamming_add(eight[1], eight[2], eights, sixteens);
  add_four<5>(table, query, ones, twos, fours, eight);
  hamming_add(fours_found<4>(table, query), fours_found<8>(table, query), fours, late);
  hamming_add(eight[0], eight[1], eights, a);
  hamming_add(eight[2], late, eights, b);
  hamming_add(a, b, sixteens, sum[5]);
  add_four<9>(table, query, ones, twos, fours, eight);
  half_add(fours_found<12>(table, query), fours, late);
  hamming_add(eight[0], eight[1], eights, a);
  hamming_add(eight[2], late, eights, b);
  hamming_add(a, b, sixteens, c);
  half_add(c, sum[5], sum[6]);
  sum[0] = ones, sum[1] = twos, sum[2] = fours, sum[3] = eights, sum[4] = sixteens;
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
