// The union-find by itself, for test_union_find.py: a thread for each pair. Before a root is hooked
// the other OS threads have their turn, so that some come between as they would on a device.
#include <sched.h>

#include "launch.hpp"
#include "runtime.hpp"

inline std::int32_t late_cas(std::int32_t* at, std::int32_t expected, std::int32_t wanted) {
  sched_yield();
  return atomicCAS(at, expected, wanted);
}
#define atomicCAS late_cas
#include "union_find.cuh"
#undef atomicCAS

using namespace clusterimg::cuda;

namespace {

constexpr unsigned threads = 64;

__global__ void unite_pairs(std::int32_t* parents, const std::int32_t* pairs, std::int32_t n) {
  const auto k = static_cast<std::int32_t>(blockIdx.x * threads + threadIdx.x);
  if (k < n) unite(parents, pairs[2 * k], pairs[2 * k + 1]);
}

__global__ void find_roots(std::int32_t* parents, std::int32_t* roots, std::int32_t n) {
  const auto k = static_cast<std::int32_t>(blockIdx.x * threads + threadIdx.x);
  if (k < n) roots[k] = root_of(parents, k);
}

}  // namespace

// Writes the root of each of n items after pairs (n_pairs, 2) were united; 0, or 1 for a failure.
extern "C" __attribute__((visibility("default"))) int united(std::int32_t n,
                                                             const std::int32_t* pairs,
                                                             std::int32_t n_pairs,
                                                             std::int32_t* roots) try {
  const std::size_t items = static_cast<std::size_t>(n),
                    ends = 2 * static_cast<std::size_t>(n_pairs);
  const OnDevice<std::int32_t> parents(items), found(items), listed(ends);
  const Stream stream;
  check(cudaMemcpyAsync(listed.data(), pairs, listed.bytes(), cudaMemcpyHostToDevice, stream), "");
  start_sets(parents.data(), items, stream);
  launch(unite_pairs, blocks_of(ends / 2, threads), threads, stream, parents.data(), listed.data(),
         n_pairs);
  launch(find_roots, blocks_of(items, threads), threads, stream, parents.data(), found.data(), n);
  check(cudaMemcpyAsync(roots, found.data(), found.bytes(), cudaMemcpyDeviceToHost, stream), "");
  check(cudaStreamSynchronize(stream), "");
  return 0;
} catch (const Failure&) {
  return 1;
}
