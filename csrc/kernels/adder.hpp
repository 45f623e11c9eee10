// A full adder of bit planes: x + y + z of each bit, as sum and carry. y is used once, so that it
// may stay in memory; z is the running count, which the sum waits for.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

template <class Planes>
static inline Planes full_add(Planes x, Planes y, Planes z, Planes& carry) {
  const Planes differ = x ^ y;
  carry = x ^ (differ & (x ^ z));
  return differ ^ z;
}

// Two planes of one weight: one of them, and where they differ. A full adder of such a pair takes
// four operations in place of five, and two of them eight that carry a pair again (Demenkov,
// Kojevnikov, Kulikov and Yaroslavtsev 2010).
template <class Planes>
struct PlanePair {
  Planes one, differ;
};

template <class Planes>
static inline __attribute__((always_inline)) void pair_up(const Planes& x, const Planes& y,
                                                          PlanePair<Planes>& pair) {
  pair.one = x;
  pair.differ = x ^ y;
}

// sum, carry = sum + the pair.
template <class Planes>
static inline __attribute__((always_inline)) void add_pair(const PlanePair<Planes>& pair,
                                                           Planes& sum, Planes& carry) {
  const Planes either = pair.differ | (pair.one ^ sum);
  sum ^= pair.differ;
  carry = sum ^ either;
}

// sum, carry = sum + both pairs. The second is waited for least.
template <class Planes>
static inline __attribute__((always_inline)) void add_pairs(const PlanePair<Planes>& first,
                                                            const PlanePair<Planes>& second,
                                                            Planes& sum, PlanePair<Planes>& carry) {
  const Planes either = first.differ | (first.one ^ sum), between = sum ^ first.differ;
  carry.one = between ^ either;
  carry.differ = either ^ (~second.differ & (second.one ^ between));
  sum = between ^ second.differ;
}

// The same where there is no sum yet.
template <class Planes>
static inline __attribute__((always_inline)) void begin_pairs(const PlanePair<Planes>& first,
                                                              const PlanePair<Planes>& second,
                                                              Planes& sum,
                                                              PlanePair<Planes>& carry) {
  const Planes either = first.differ | first.one;
  carry.one = first.differ ^ either;
  carry.differ = either ^ (~second.differ & (second.one ^ first.differ));
  sum = first.differ ^ second.differ;
}

}  // namespace clusterimg::CLUSTERIMG_ISA
