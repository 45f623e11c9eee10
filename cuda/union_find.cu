#include "launch.hpp"
#include "runtime.hpp"

namespace clusterimg::cuda {

namespace {

constexpr unsigned threads = 256;

__global__ void fill_own(std::int32_t* parents, std::int32_t n) {
  const auto k = static_cast<std::int32_t>(blockIdx.x * threads + threadIdx.x);
  if (k < n) parents[k] = k;
}

}  // namespace

void start_sets(std::int32_t* parents, std::size_t n, cudaStream_t stream) {
  if (n > 0)
    launch(fill_own, blocks_of(n, threads), threads, stream, parents, static_cast<std::int32_t>(n));
}

}  // namespace clusterimg::cuda
