// How kernels give their pairs to a sink. Every thread of a block calls `keep` with the same number
// of pairs, some of which may be none.
#pragma once
#include <cstdint>

#include "kernel.hpp"
#include "union_find.cuh"

namespace clusterimg::cuda {

constexpr int most_warps = 32;

// Where a pair stands among those of its launch.
struct Place {
  std::int32_t row, col;
};

// What is known of a pair when it is given: a kernel whose scores are not exact says `unsure` near
// the threshold.
enum class Verdict { no, unsure, yes };

// The number in front of this thread's, of those that each thread of the block counts, and their
// sum. Every thread calls it.
__device__ inline std::uint32_t sum_before(std::uint32_t count, std::uint32_t* total) {
  __shared__ std::uint32_t warp_sums[most_warps];
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  std::uint32_t sum = count;
  for (unsigned step = 1; step < 32; step *= 2) {
    const std::uint32_t below = __shfl_up_sync(0xffffffffU, sum, step);
    if (lane >= step) sum += below;
  }
  if (lane == 31) warp_sums[warp] = sum;
  __syncthreads();
  std::uint32_t before = 0, all = 0;
  for (unsigned w = 0; w < blockDim.x / 32; ++w) {
    before += w < warp ? warp_sums[w] : 0;
    all += warp_sums[w];
  }
  __syncthreads();  // before the sums are written again
  *total = all;
  return before + sum - count;
}

// Gives up to 64 pairs a thread to the sink. Blocks have a multiple of 32 threads, in x alone.
//   at(k)       Place of pair k, beyond the rows or columns of the launch if it is none
//   above(k)    Verdict
//   score(k)    its score, asked for where it is kept
template <int n, class At, class Above, class Score>
__device__ void keep(const Sink& sink, const Pairs& pairs, const At& at, const Above& above,
                     const Score& score) {
  static_assert(n <= 64, "a bit for each pair");
  __shared__ std::uint32_t first;
  std::uint64_t listed = 0;
#pragma unroll
  for (int k = 0; k < n; ++k) {
    const Place place = at(k);
    if (place.row >= pairs.n_rows || place.col >= pairs.n_cols) continue;
    const std::int32_t i = pairs.first_i + place.row, j = pairs.first_j + place.col;
    if (j - i < pairs.gap) continue;
    if (sink.keep == Keep::matrix) {
      sink.matrix[static_cast<std::size_t>(place.row) * pairs.n_cols + place.col] =
          static_cast<float>(score(k));
      continue;
    }
    const Verdict verdict = above(k);
    if (verdict == Verdict::no) continue;
    if (sink.keep == Keep::components && verdict == Verdict::yes)
      unite(sink.parents, i, j);
    else
      listed |= std::uint64_t{1} << k;
  }
  if (!__syncthreads_or(listed != 0)) return;
  std::uint32_t total = 0;
  std::uint32_t to = sum_before(static_cast<std::uint32_t>(__popcll(listed)), &total);
  if (threadIdx.x == 0) first = atomicAdd(sink.n_listed, total);
  __syncthreads();
  to += first;
#pragma unroll
  for (int k = 0; k < n; ++k) {
    if (!(listed >> k & 1)) continue;
    const Place place = at(k);
    if (to < sink.capacity)
      sink.list[to] = {pairs.first_i + place.row, pairs.first_j + place.col, score(k)};
    ++to;
  }
  __syncthreads();  // before `first` is written again
}

}  // namespace clusterimg::cuda
