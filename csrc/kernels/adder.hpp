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

}  // namespace clusterimg::CLUSTERIMG_ISA
