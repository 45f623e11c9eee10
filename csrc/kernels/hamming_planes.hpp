// Tables of the bit-sliced Hamming filter, which hamming_sliced.hpp explains: what each value of a
// group of 5 bits finds in 256 rows, each row in one bit of a register.
//
// Bit 4 r + l of the 256 is bit r of word l: four codes in a row are one row of four 64 x 64
// matrices side by side, which are turned into planes without a shuffle.
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
      planes[r][l] = 4 * r + l < n ? rows[(4 * r + l) * n_words] : 0;
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

static void folded_table(const Plane256* planes, Plane256* table) {
  for (std::size_t g = 0; g < bit_groups; ++g) {
    const std::size_t n_bits = g + 1 < bit_groups ? group_bits : 64 - g * group_bits;
    for (std::size_t value = 0; value < group_values; ++value) {
      Plane256 any{};
      for (std::size_t k = 0; k < n_bits; ++k) {
        Plane256 differs;
        differing(planes[g * group_bits + k], value, k, differs);
        any |= differs;
      }
      table[g * group_values + value] = any;
    }
  }
}

static void capped_table(const Plane256* planes, Plane256* table) {
  for (std::size_t g = 0; g < bit_groups; ++g) {
    const std::size_t n_bits = g + 1 < bit_groups ? group_bits : 64 - g * group_bits;
    for (std::size_t value = 0; value < group_values; ++value) {
      Plane256 ones{}, twos{};
      for (std::size_t k = 0; k < n_bits; ++k) {
        Plane256 differs;
        differing(planes[g * group_bits + k], value, k, differs);
        const Plane256 carry = ones & differs, full = twos & carry;
        ones = (ones ^ differs) | full;
        twos |= carry;
      }
      table[2 * (g * group_values + value)] = ones;
      table[2 * (g * group_values + value) + 1] = twos;
    }
  }
}

// The tables of 256 rows, word after word; 13 * 32 planes a word, twice as many if `capped`.
static void hamming_tables(const std::uint64_t* rows, std::size_t n, std::size_t n_words,
                           bool capped, std::uint8_t* tables) {
  Plane256 planes[64];
  Plane256* table = reinterpret_cast<Plane256*>(tables);
  for (std::size_t word = 0; word < n_words; ++word) {
    hamming_planes(rows + word, n, n_words, planes);
    if (capped)
      capped_table(planes, table);
    else
      folded_table(planes, table);
    table += bit_groups * group_values * (capped ? 2 : 1);
  }
}

}  // namespace clusterimg::CLUSTERIMG_ISA
