// Signature tile: equal slots between each MinHash signature of a and each of b.
//   a (n_a, n_slots), b (n_b, n_slots)   row-major
//   out (n_a, n_b)                       exact counts, at most n_slots
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

static void signature_tile(const std::uint32_t* a, std::size_t n_a, const std::uint32_t* b,
                           std::size_t n_b, std::size_t n_slots, std::uint32_t* out) {
  for (std::size_t i = 0; i < n_a; ++i)
    for (std::size_t j = 0; j < n_b; ++j) {
      const std::uint32_t* x = a + i * n_slots;
      const std::uint32_t* y = b + j * n_slots;
      std::uint32_t equal = 0;
      for (std::size_t s = 0; s < n_slots; ++s) equal += x[s] == y[s];
      out[i * n_b + j] = equal;
    }
}

}  // namespace clusterimg::CLUSTERIMG_ISA
