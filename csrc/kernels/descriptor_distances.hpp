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
// No array of registers is copied here: GCC makes a memory copy of that loop, through registers of
// eight bytes. For the same reason planes wait in memory between the steps.
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

// Planes of n_(4 + q), and of n_q + n_(4 + q).
struct ClassCounts {
  Bits far[4][8], both[4][8];
};

// A class 4 + q has at most 2^far_bits - 1 planes, it and class q together 2^n_bits - 1.
template <std::size_t far_bits, std::size_t n_bits>
__attribute__((noinline)) static void count_classes(const DescriptorGroup& group,
                                                    const std::uint8_t* planes,
                                                    ClassCounts& counts) {
  const std::uint16_t* list = group.planes;
  for (std::size_t q = 0; q < 4; ++q) {
    const std::size_t n_far = group.n_eights[2 * q], n_near = group.n_eights[2 * q + 1];
    Bits count[8] = {};
    add_planes<far_bits>(list, n_far, planes, count);
    for (std::size_t bit = 0; bit < far_bits; ++bit) counts.far[q][bit] = count[bit];
    add_planes<n_bits>(list + 8 * n_far + 8, n_near, planes, count);
    for (std::size_t bit = 0; bit < n_bits; ++bit) counts.both[q][bit] = count[bit];
    list += 8 * (n_far + n_near) + 16;
  }
}

// Sums of counts below 2^n_bits, modulo 256.
template <std::size_t n_bits>
static inline void add_counts(const Bits* x, const Bits* y, Bits* sum) {
  Bits carry = x[0] & y[0];
  sum[0] = x[0] ^ y[0];
  for (std::size_t bit = 1; bit < n_bits; ++bit) {
    Bits next;
    sum[bit] = full_add(x[bit], y[bit], carry, next);
    carry = next;
  }
  if (n_bits < 8) sum[n_bits] = carry;
}

// Counts below 2^n_bits as bytes, one a row of b: put(v, bytes of register v).
template <std::size_t n_bits, class Put>
static inline void to_bytes(const Bits* count, const Put& put) {
  const auto plane = [&](std::size_t bit) { return bit < n_bits ? load(count + bit) : fill(0); };
  Bytes x[8] = {plane(0), plane(1), plane(2), plane(3), plane(4), plane(5), plane(6), plane(7)};
  turn(x);
  put(0, x[0]), put(1, x[1]), put(2, x[2]), put(3, x[3]);
  put(4, x[4]), put(5, x[5]), put(6, x[6]), put(7, x[7]);
}

// The distances of four rows to 8 registers of b: d[k][v].
template <std::size_t far_bits, std::size_t n_bits>
__attribute__((noinline)) static void combine(const ClassCounts& counts,
                                              const std::uint8_t* differing, Bytes (*d)[8]) {
  constexpr std::size_t two_bits = far_bits < 8 ? far_bits + 1 : 8;
  constexpr std::size_t four_bits = two_bits < 8 ? two_bits + 1 : 8;
  to_bytes<n_bits>(counts.both[3], [&](std::size_t v, Bytes x) { d[3][v] = x; });
  to_bytes<n_bits>(counts.both[1], [&](std::size_t v, Bytes x) { d[1][v] = add(x, d[3][v]); });
  to_bytes<n_bits>(counts.both[2], [&](std::size_t v, Bytes x) {
    d[0][v] = add(x, d[1][v]);
    d[2][v] = add(x, d[3][v]);
  });
  const Bytes differing1 = fill(differing[1]), differing2 = fill(differing[2]);
  to_bytes<n_bits>(counts.both[0], [&](std::size_t v, Bytes x) {
    const Bytes all = add(x, d[0][v]), a1 = d[1][v], a2 = d[2][v];
    d[0][v] = all;
    d[1][v] = subtract(add(all, differing1), add(a1, a1));
    d[2][v] = subtract(add(all, differing2), add(a2, a2));
  });
  Bits low[8], high[8], far[8];
  add_counts<far_bits>(counts.far[0], counts.far[1], low);
  add_counts<far_bits>(counts.far[2], counts.far[3], high);
  add_counts<two_bits>(low, high, far);
  const Bytes differing3 = fill(differing[3]);
  to_bytes<four_bits>(far, [&](std::size_t v, Bytes a3) {
    d[3][v] = subtract(add(d[0][v], differing3), add(a3, a3));
  });
}

// The distances of the 4 rows of a group to the rows of a block, 255 beyond the last: d[k][v].
static void distances_of(const DescriptorGroup& group, const std::uint8_t* planes,
                         std::size_t n_here, std::size_t lane, Bytes (*d)[8]) {
  ClassCounts counts;
  bool few = true;
  for (std::size_t q = 0; q < 4; ++q)
    few =
        few && group.n_eights[2 * q] < 8 && group.n_eights[2 * q] + group.n_eights[2 * q + 1] < 16;
  if (few) {
    count_classes<6, 7>(group, planes + lane, counts);
    combine<6, 7>(counts, group.differing, d);
  } else {
    count_classes<8, 8>(group, planes + lane, counts);
    combine<8, 8>(counts, group.differing, d);
  }
  if (n_here >= 256) return;
  for (std::size_t v = n_here / 32; v < 8; ++v) {
    alignas(32) std::uint8_t beyond[32];
    for (std::size_t l = 0; l < 32; ++l) beyond[l] = v * 32 + l < n_here ? 0 : 255;
    for (std::size_t k = 0; k < 4; ++k) d[k][v] = higher(d[k][v], load(beyond + lane));
  }
}

#endif  // __SSE4_1__

}  // namespace clusterimg::CLUSTERIMG_ISA
