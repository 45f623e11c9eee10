// Products of bits by a warp: the tensor cores' m16n8k256 for factors of one bit, m8n8k128 where
// that is all there is.
#pragma once
#include <cstdint>

namespace clusterimg::cuda {

// Whether count_bits counts bits that differ, as tensor cores of compute capability 7.5 do, or bits
// that both have.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr bool counts_differing = true;
#else
constexpr bool counts_differing = false;
#endif

// Counts bits of 16 rows and 8 columns of 256 bits each. Every lane of the warp calls it; with
// g = lane / 4 and t = lane % 4 it holds
//   rows        word 2 t of rows g and g + 8, then word 2 t + 1 of these
//   column      words 2 t and 2 t + 1 of column g
//   counts      of row g with columns 2 t and 2 t + 1, then of row g + 8 with these
// The order of words is none that the tensor cores ask for, but one and the same for all rows and
// columns, so that words meet those of their place.
__device__ inline void count_bits(uint4 rows, uint2 column, std::int32_t (&counts)[4]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %10, %10, %10};"
      : "=r"(counts[0]), "=r"(counts[1]), "=r"(counts[2]), "=r"(counts[3])
      : "r"(rows.x), "r"(rows.y), "r"(rows.z), "r"(rows.w), "r"(column.x), "r"(column.y), "r"(0));
#elif defined(__CUDA_ARCH__)
  const auto eight_rows = [](std::uint32_t row, std::uint32_t word, std::int32_t* sums) {
    asm volatile(
        "mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.xor.popc {%0, %1}, {%2}, {%3}, {%0, %1};"
        : "+r"(sums[0]), "+r"(sums[1])
        : "r"(row), "r"(word));
  };
  counts[0] = counts[1] = counts[2] = counts[3] = 0;
  eight_rows(rows.x, column.x, counts);
  eight_rows(rows.z, column.y, counts);
  eight_rows(rows.y, column.x, counts + 2);
  eight_rows(rows.w, column.y, counts + 2);
#else  // what the instruction does, for a machine without it
  __shared__ uint4 all_rows[32][32];  // of the lanes of each warp
  __shared__ uint2 all_columns[32][32];
  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  __syncwarp();  // all have done with those before
  all_rows[warp][lane] = rows;
  all_columns[warp][lane] = column;
  __syncwarp();
  for (unsigned k = 0; k < 4; ++k) {
    counts[k] = 0;
    for (unsigned t = 0; t < 4; ++t) {
      const uint4 a = all_rows[warp][lane / 4 * 4 + t];
      const uint2 b = all_columns[warp][(lane % 4 * 2 + k % 2) * 4 + t];
      counts[k] += __popc((k < 2 ? a.x : a.y) & b.x) + __popc((k < 2 ? a.z : a.w) & b.y);
    }
  }
#endif
}

}  // namespace clusterimg::cuda
