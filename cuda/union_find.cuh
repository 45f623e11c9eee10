// Union-find on a device, by atomic hooking (Jaiganesh and Burtscher 2018): the higher of two roots
// is put below the lower one, so that the root of a component is its lowest item, whatever the
// order in which pairs come.
#pragma once
#include <cstdint>

namespace clusterimg::cuda {

// An entry as it is in memory now, whatever this thread knows of it.
__device__ inline volatile std::int32_t& at(std::int32_t* parents, std::int32_t item) {
  return *static_cast<volatile std::int32_t*>(parents + item);
}

// The root of an item. Halves the path on the way; a parent that another thread has lowered
// meanwhile is an ancestor too, so a lost write costs a step, never an answer.
__device__ inline std::int32_t root_of(std::int32_t* parents, std::int32_t item) {
  std::int32_t parent = at(parents, item);
  while (parent != item) {
    const std::int32_t above = at(parents, parent);
    if (above != parent) at(parents, item) = above;
    item = parent;
    parent = above;
  }
  return item;
}

__device__ inline void unite(std::int32_t* parents, std::int32_t i, std::int32_t j) {
  std::int32_t a = root_of(parents, i), b = root_of(parents, j);
  while (a != b) {
    const std::int32_t low = a < b ? a : b, high = a < b ? b : a;
    const std::int32_t before = atomicCAS(parents + high, high, low);
    if (before == high) return;
    // `high` was no root any more: go on from what it hangs below now.
    a = root_of(parents, before);
    b = low;
  }
}

}  // namespace clusterimg::cuda
