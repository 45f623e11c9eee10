// Distances of descriptors, bit-sliced: 256 rows of b side by side, one bit each in a plane.
//
// Four rows of a are scored at once (Four Russians). At each of the 256 bits the rows r1, r2, r3
// either agree with r0 or not: 8 classes of bits. For a row of b let n_p be the bits of class p in
// which it differs from r0, and size_p the bits of the class. Then
//   distance to r0 = sum of n_p
//   distance to rk = sum of n_p where rk agrees with r0, and of size_p - n_p where it does not
//                  = distance to r0 - 2 A_k + S_k,
// A_k and S_k the sums of n_p and of size_p over the classes where rk differs from r0. So 256 bits
// are counted for four distances. One running count goes through all classes, in a Gray code: in
// classes 0 to 7 the rows that differ from r0 are none, 1, 12, 2, 23, 123, 13, 3. Its totals P_c
// up to and with class c give
//   A_1 = P_2 - P_0 + P_6 - P_4,   A_2 = P_5 - P_1,   A_3 = P_7 - P_3,   distance to r0 = P_7.
// The steps of all classes are one loop, whose totals are stored at every step: a branch at the
// end of each class could not be predicted. Counts are modulo 256, and A_k modulo 128 is enough.
//
// The adder takes four planes as two pairs, each as x and x ^ y, and gives its two carries as such
// a pair: 8 operations in place of the 10 of two full adders (Demenkov, Kojevnikov, Kulikov and
// Yaroslavtsev 2010). The counts are then turned from planes to bytes, and the rest is done in
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

// Two planes x and y, kept as x and where they differ.
struct Two {
  Bits x, differ;
};

static inline Two two_planes(Bits x, Bits y) { return {x, x ^ y}; }

// Adds four planes to a count: its sum, and the two carries.
static inline Bits add_four(Two p, Two q, Bits count, Two& carry) {
  const Bits sum = count ^ p.differ;
  const Bits turned = p.differ | (p.x ^ count);
  carry.x = sum ^ turned;
  carry.differ = turned ^ ((q.x ^ sum) & ~q.differ);
  return sum ^ q.differ;
}

// Planes of how many bits of a row of b differ from r0 in the first classes: of totals[c] those up
// to and with class c, modulo 128; of the last class modulo 256.
struct ClassCounts {
  Bits totals[8][8];
};
static_assert(sizeof(ClassCounts) == 8 * total_bytes, "steps say where their total goes");

// What the next step needs first is looked up and loaded while this one carries: the processor
// looks ahead too little to do so by itself (5 % of a pair of images).
__attribute__((noinline)) static void count_classes(const DescriptorGroup& group,
                                                    const std::uint8_t* planes,
                                                    ClassCounts& counts) {
  Bits count[8] = {};
  std::size_t at[8];
  const auto look_up = [&](const DescriptorGroup::Step& step) {
    at[0] = step.planes[0], at[1] = step.planes[1], at[2] = step.planes[2], at[3] = step.planes[3];
    at[4] = step.planes[4], at[5] = step.planes[5], at[6] = step.planes[6], at[7] = step.planes[7];
  };
  const auto two = [&](std::size_t k) {
    return two_planes(*reinterpret_cast<const Bits*>(planes + at[k]),
                      *reinterpret_cast<const Bits*>(planes + at[k + 1]));
  };
  const DescriptorGroup::Step* const end = group.steps + group.n_steps;
  look_up(*group.steps);
  Two p = two(0), q = two(2);
  for (const DescriptorGroup::Step* step = group.steps; step != end; ++step) {
    Two first, second, fours;
    count[0] = add_four(p, q, count[0], first);
    count[0] = add_four(two(4), two(6), count[0], second);
    count[1] = add_four(first, second, count[1], fours);
    look_up(step[1]);
    p = two(0), q = two(2);
    Bits carry = fours.x ^ (fours.differ & (fours.x ^ count[2]));
    count[2] ^= fours.differ;
    for (std::size_t bit = 3; bit < 7; ++bit) {
      const Bits next = count[bit] & carry;
      count[bit] ^= carry;
      carry = next;
    }
    count[7] ^= carry;
    auto* total = reinterpret_cast<Bits*>(reinterpret_cast<std::uint8_t*>(&counts) + step->total);
    for (std::size_t bit = 0; bit < 7; ++bit) total[bit] = count[bit];
  }
  counts.totals[7][7] = count[7];
}

// x - y and x + y, modulo 128.
static inline void subtract_counts(const Bits* x, const Bits* y, Bits* out) {
  Bits borrow = ~x[0] & y[0];
  out[0] = x[0] ^ y[0];
  for (std::size_t bit = 1; bit < 7; ++bit) {
    const Bits differ = x[bit] ^ y[bit];
    const Bits next = borrow ^ (differ & (borrow ^ y[bit]));
    out[bit] = differ ^ borrow;
    borrow = next;
  }
}
static inline void add_counts(const Bits* x, const Bits* y, Bits* out) {
  Bits carry = x[0] & y[0];
  out[0] = x[0] ^ y[0];
  for (std::size_t bit = 1; bit < 7; ++bit) {
    Bits next;
    out[bit] = full_add(x[bit], y[bit], carry, next);
    carry = next;
  }
}

// Twice counts modulo 128 as bytes, one a row of b: put(v, bytes of register v).
template <class Put>
static inline void twice_as_bytes(const Bits* count, const Put& put) {
  Bytes x[8] = {fill(0),         load(count + 0), load(count + 1), load(count + 2),
                load(count + 3), load(count + 4), load(count + 5), load(count + 6)};
  turn(x);
  put(0, x[0]), put(1, x[1]), put(2, x[2]), put(3, x[3]);
  put(4, x[4]), put(5, x[5]), put(6, x[6]), put(7, x[7]);
}

// The distances of four rows to 8 registers of b: d[k][v].
__attribute__((noinline)) static void combine(const ClassCounts& counts,
                                              const std::uint8_t* differing, Bytes (*d)[8]) {
  const auto& total = counts.totals;
  Bytes x[8] = {load(total[7] + 0), load(total[7] + 1), load(total[7] + 2), load(total[7] + 3),
                load(total[7] + 4), load(total[7] + 5), load(total[7] + 6), load(total[7] + 7)};
  turn(x);
  d[0][0] = x[0], d[0][1] = x[1], d[0][2] = x[2], d[0][3] = x[3];
  d[0][4] = x[4], d[0][5] = x[5], d[0][6] = x[6], d[0][7] = x[7];
  const Bytes differing3 = fill(differing[3]);
  twice_as_bytes(total[3], [&](std::size_t v, Bytes near) {
    d[3][v] = subtract(add(near, differing3), d[0][v]);
  });
  Bits far[8], more[8];
  subtract_counts(total[5], total[1], far);
  const Bytes differing2 = fill(differing[2]);
  twice_as_bytes(
      far, [&](std::size_t v, Bytes a2) { d[2][v] = subtract(add(d[0][v], differing2), a2); });
  subtract_counts(total[2], total[0], far);
  subtract_counts(total[6], total[4], more);
  add_counts(far, more, far);
  const Bytes differing1 = fill(differing[1]);
  twice_as_bytes(
      far, [&](std::size_t v, Bytes a1) { d[1][v] = subtract(add(d[0][v], differing1), a1); });
}

// The distances of the 4 rows of a group to the rows of a block: d[k][v].
static void distances_of(const DescriptorGroup& group, const std::uint8_t* planes, Bytes (*d)[8]) {
  ClassCounts counts;
  count_classes(group, planes, counts);
  combine(counts, group.differing, d);
}

#endif  // __SSE4_1__

}  // namespace clusterimg::CLUSTERIMG_ISA
