// Tables of the bit-sliced Hamming filter, which hamming_sliced.hpp explains: what each value of a
// group of 5 bits finds in 256 rows, each row in one bit of a register.
//
// Bit r of word l is row 64 l + r, so that rows found in a plane come by rising number.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

typedef std::uint64_t Plane256 __attribute__((vector_size(32)));

// Word `word` of up to 256 rows as 64 planes; rows beyond n are zero.
static void hamming_planes(const std::uint64_t* rows, std::size_t n, std::size_t n_words,
                           Plane256* planes) {
  for (std::size_t r = 0; r < 64; ++r)
    for (std::size_t l = 0; l < 4; ++l)
      planes[r][l] = 64 * l + r < n ? rows[(64 * l + r) * n_words] : 0;
  std::uint64_t mask = 0xffffffff;
  for (std::size_t half = 32; half > 0; half /= 2, mask ^= mask << half)
    for (std::size_t k = 0; k < 64; k = ((k | half) + 1) & ~half) {
      const Plane256 swap = ((planes[k] >> half) ^ planes[k | half]) & mask;
      planes[k] ^= swap << half;
      planes[k | half] ^= swap;
    }
}

constexpr std::size_t bit_groups = 13, group_bits = 5, group_values = 32;

// The plane where bit `bit` of a row differs from that bit of `value`.
static inline __attribute__((always_inline)) void differing(const Plane256& plane,
                                                            std::size_t value, std::size_t bit,
                                                            Plane256& out) {
  out = plane ^ (Plane256{} - ((value >> bit) & 1));
}

// sum, carry = a + b + sum. The sum so far comes last, so that it is waited for least.
static inline __attribute__((always_inline)) void hamming_add(const Plane256& a, const Plane256& b,
                                                              Plane256& sum, Plane256& carry) {
  const Plane256 either = a ^ b, both = a & b;
  const Plane256 moved = either & sum;
  sum ^= either;
  carry = both | moved;
}

static inline __attribute__((always_inline)) void half_add(const Plane256& a, Plane256& sum,
                                                           Plane256& carry) {
  const Plane256 both = a & sum;
  sum ^= a;
  carry = both;
}

// In how many bits of a group each row differs from each of two bits or three, by the value that
// these have in a query: ones and twos.
static void low_sums(const Plane256* planes, Plane256 (*sums)[2]) {
  for (std::size_t value = 0; value < 8; ++value) {
    Plane256 a, b;
    differing(planes[0], value, 0, a);
    differing(planes[1], value, 1, b);
    differing(planes[2], value, 2, sums[value][0]);
    hamming_add(a, b, sums[value][0], sums[value][1]);
  }
}

static void high_sums(const Plane256* planes, Plane256 (*sums)[2]) {
  for (std::size_t value = 0; value < 4; ++value) {
    Plane256 a;
    differing(planes[0], value, 0, a);
    differing(planes[1], value, 1, sums[value][0]);
    half_add(a, sums[value][0], sums[value][1]);
  }
}

// Calls write(32 * group + value, ones, twos, fours) with the count of bits in which the rows
// differ from each value of each group. The last group has a bit that no query has.
//   planes (65)   the last one zero
template <class Write>
static inline void group_sums(const Plane256* planes, const Write& write) {
  for (std::size_t g = 0; g < bit_groups; ++g) {
    Plane256 low[8][2], high[4][2];
    low_sums(planes + g * group_bits, low);
    high_sums(planes + g * group_bits + 3, high);
    for (std::size_t value = 0; value < group_values; ++value) {
      Plane256 ones = low[value % 8][0], twos = low[value % 8][1], two, four;
      half_add(high[value / 8][0], ones, two);
      hamming_add(high[value / 8][1], two, twos, four);
      write(g * group_values + value, ones, twos, four);
    }
  }
}

// The tables of 256 rows, word after word; 13 * 32 planes a word, twice as many if `capped`.
static void hamming_tables(const std::uint64_t* rows, std::size_t n, std::size_t n_words,
                           bool capped, std::uint8_t* tables) {
  Plane256 planes[65];
  planes[64] = Plane256{};
  Plane256* table = reinterpret_cast<Plane256*>(tables);
  for (std::size_t word = 0; word < n_words; ++word) {
    hamming_planes(rows + word, n, n_words, planes);
    if (capped)
      group_sums(planes, [table](std::size_t at, const Plane256& ones, const Plane256& twos,
                                 const Plane256& fours) {
        table[2 * at] = ones | fours;
        table[2 * at + 1] = twos | fours;
      });
    else
      group_sums(planes, [table](std::size_t at, const Plane256& ones, const Plane256& twos,
                                 const Plane256& fours) { table[at] = ones | twos | fours; });
    table += bit_groups * group_values * (capped ? 2 : 1);
  }
}

// The table of 256 rows of one word that bounds nothing. A count of 0 to 5 is a one and two twos,
// these as a pair: the one and where the twos differ side by side, then the first of the twos.
static void hamming_exact_table(const std::uint64_t* rows, std::size_t n, std::uint8_t* tables) {
  Plane256 planes[65];
  planes[64] = Plane256{};
  hamming_planes(rows, n, 1, planes);
  Plane256* table = reinterpret_cast<Plane256*>(tables);
  group_sums(planes, [table](std::size_t at, const Plane256& ones, const Plane256& twos,
                             const Plane256& fours) {
    table[2 * at] = ones;
    table[2 * at + 1] = twos;
    table[2 * bit_groups * group_values + at] = twos | fours;
  });
}

}  // namespace clusterimg::CLUSTERIMG_ISA
