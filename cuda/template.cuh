// Template matching of images of one size: 1 - min(error, 1), template_error.cuh has the formula.
//
// The error of a pair needs one sum of products: its distance is energy + energy - 2 dot, all exact
// integers. So all pairs are a matrix product of bytes, in blocks of 128 x 128 pairs, each thread 8
// x 8 of them. Stages of 64 pixels of 128 + 128 images go through shared memory, the next one
// waiting in registers. A sum of products of up to 66051 pixels fits in 32 bits, and so does the
// distance, which is never below 0: both are computed modulo 2^32 there. Larger images are added up
// in pieces, in 64 bits.
//
// Most pairs are done with a float32: the rough error of template_error.cuh, which can't be above a
// bound if the score is above the threshold. Only where a thread of the block has a pair left do
// the sums leave their registers, and the float64 formula decides.
//
// Roofline, computed, H100 SXM (132 SMs, 1.755 GHz), P pixels a pair:
// - L2: a block of pairs reads 2 x 128 images, P / 64 bytes a pair. At 5.5 TB/s, assumed, this
//   limits: 340 G pairs/s at 32 x 32 pixels, 85 G at 64 x 64.
// - Tensor cores (sm_80 and later): P multiply-adds, 2 P operations of 1979 T/s: 966 G pairs/s
//   at 32 x 32, of which 60 %, assumed, for mma.sync on Hopper (the full rate is wgmma's): 580
//   G, 145 G at 64 x 64.
// - Shared memory: a warp loads 12 x 8 bytes a lane for 32 pixels of 64 x 32 pairs: 24 clocks of
//   an SM for 16 mma, which take 16 clocks at full rate, 26 at 60 %.
// - dp4a (sm_75): P / 4, 64 a clock: on as many SMs and clocks 58 G pairs/s at 32 x 32, 14.5 G
//   at 64 x 64. 8 pixels of 8 x 8 pairs take 128 dp4a and load 16 x 8 bytes a thread: 16 clocks
//   of shared memory for 64.
// - The end, per pair: an IMAD, I2F, two multiplications, a comparison. I2F, 16 a clock, is the
//   slowest: 3.7 T pairs/s.
// - Memory: blocks are taken in groups of 16 rows of them, so that some 264 that are under way
//   share 16 + 17 times 128 images: P / 1000 bytes a pair, at 340 G pairs/s .35 TB/s of 3.35.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernel.hpp"
#include "mma.cuh"
#include "sink.cuh"
#include "template_error.cuh"

namespace clusterimg::cuda {

constexpr int template_side = 128;     // images on each side of a block of pairs
constexpr int template_threads = 256;  // 8 x 8 pairs each
constexpr int template_quads = 4;      // 16 pixels each: of a row of a stage
constexpr int template_group = 16;     // rows of blocks that are done together

// Images, or those from some place on, as `prepare` leaves them.
struct TemplateImages {
  const uint4* pixels;  // (n, n_quads), the last filled up with zeros
  const std::uint64_t* energies;
  const float* inverses;  // inverse_root of the energies
};

// Lays out images in quads of 16 pixels, if `padded` is not null, with their energies: a warp each.
__global__ __launch_bounds__(template_threads) void prepare_templates(
    const std::uint8_t* __restrict__ values, std::size_t n_pixels, std::size_t n_quads,
    std::int32_t n, uint4* __restrict__ padded, std::uint64_t* __restrict__ energies,
    float* __restrict__ inverses) {
  const std::size_t image = (std::size_t{blockIdx.x} * template_threads + threadIdx.x) / 32;
  if (image >= static_cast<std::size_t>(n)) return;  // a whole warp
  const std::uint8_t* from = values + image * n_pixels;
  unsigned long long energy = 0;
  for (std::size_t quad = threadIdx.x % 32; quad < n_quads; quad += 32) {
    std::uint32_t words[4] = {}, squares = 0;
    for (std::size_t k = 0; k < 16 && 16 * quad + k < n_pixels; ++k)
      words[k / 4] |= std::uint32_t{from[16 * quad + k]} << (k % 4 * 8);
    for (const std::uint32_t word : words) squares = __dp4a(word, word, squares);
    energy += squares;
    if (padded) padded[image * n_quads + quad] = {words[0], words[1], words[2], words[3]};
  }
  for (int step = 16; step > 0; step /= 2) energy += __shfl_xor_sync(0xffffffffU, energy, step);
  if (threadIdx.x % 32 != 0) return;
  energies[image] = energy;
  inverses[image] = inverse_root(energy);
}

// 64 pixels of 128 images in shared memory. The four quads of a row are in an order of its own, so
// that 16 lanes read 8 bytes each of 4 x 4 or of 8 different places at once.
struct TemplateStage {
  uint4 quads[template_side * template_quads];

  static __device__ int turn(int row) { return (row & 2) | (row >> 2 & 1); }
  __device__ void put(int row, int quad, uint4 pixels) {
    quads[row * template_quads + (quad ^ turn(row))] = pixels;
  }
  // The eight pixels `pair` of a row.
  __device__ uint2 pair(int row, int pair) const {
    const uint2* pairs = reinterpret_cast<const uint2*>(quads);
    return pairs[(row * template_quads + (pair / 2 ^ turn(row))) * 2 + pair % 2];
  }
};

// Which 8 x 8 pairs of a block are a thread's, and how their sums of products are added up.
// A warp has 4 x 8 of 16 x 16 threads, whose pairs are 16 apart.
struct PlainTile {
#if defined(__CUDA_ARCH__)
  static constexpr bool is_built = __CUDA_ARCH__ < 800;  // what is compiled for has no use for it
#else
  static constexpr bool is_built = true;
#endif
  static __device__ int row(int k) {
    return static_cast<int>(threadIdx.x / 64 * 4 + threadIdx.x % 32 / 8) + 16 * k;
  }
  static __device__ int col(int k) {
    return static_cast<int>(threadIdx.x / 32 % 2 * 8 + threadIdx.x % 8) + 16 * k;
  }
  static __device__ bool is_within(int n_rows, int n_cols) {
    return row(0) < n_rows && col(0) < n_cols;
  }
  static __device__ void multiply(const TemplateStage& a, const TemplateStage& b,
                                  std::uint32_t (&dots)[8][8]) {
#pragma unroll 1  // or the registers do not suffice
    for (int pair = 0; pair < 2 * template_quads; ++pair) {
      uint2 x[8];
#pragma unroll
      for (int r = 0; r < 8; ++r) x[r] = a.pair(row(r), pair);
#pragma unroll
      for (int c = 0; c < 8; ++c) {
        const uint2 y = b.pair(col(c), pair);
#pragma unroll
        for (int r = 0; r < 8; ++r)
          dots[r][c] = __dp4a(x[r].y, y.y, __dp4a(x[r].x, y.x, dots[r][c]));
      }
    }
  }
};

// A warp has 64 x 32 pairs, as four by four of the tensor cores' products of 16 x 8. These take
// words t and t + 4 of 32 pixels from lane t of four; as the order of pixels is free, it has words
// 2 t and 2 t + 1 there.
struct TensorTile {
#if defined(__CUDA_ARCH__)
  static constexpr bool is_built = __CUDA_ARCH__ >= 800;
#else
  static constexpr bool is_built = true;
#endif
  static __device__ int row(int k) {
    return static_cast<int>(threadIdx.x / 128 * 64 + threadIdx.x % 32 / 4) + 8 * k;
  }
  static __device__ int col(int k) {
    return static_cast<int>(threadIdx.x / 32 % 4 * 32 + threadIdx.x % 4 * 2) + k / 2 * 8 + k % 2;
  }
  static __device__ bool is_within(int n_rows, int n_cols) {  // a whole warp
    return static_cast<int>(threadIdx.x / 128 * 64) < n_rows &&
           static_cast<int>(threadIdx.x / 32 % 4 * 32) < n_cols;
  }
  static __device__ void multiply(const TemplateStage& a, const TemplateStage& b,
                                  std::uint32_t (&dots)[8][8]) {
    const int first_col = static_cast<int>(threadIdx.x / 32 % 4 * 32 + threadIdx.x % 32 / 4);
#pragma unroll 1
    for (int half = 0; half < 2; ++half) {
      const int pair = 4 * half + static_cast<int>(threadIdx.x % 4);
      uint2 x[8];
#pragma unroll
      for (int r = 0; r < 8; ++r) x[r] = a.pair(row(r), pair);
#pragma unroll
      for (int c = 0; c < 8; c += 2) {
        const uint2 y = b.pair(first_col + 4 * c, pair);
#pragma unroll
        for (int r = 0; r < 8; r += 2)
          mma_u8(dots[r][c], dots[r][c + 1], dots[r + 1][c], dots[r + 1][c + 1], x[r].x, x[r + 1].x,
                 x[r].y, x[r + 1].y, y.x, y.y);
      }
    }
  }
};

// The block of pairs that is a block of threads', by its first row and column: `template_group`
// rows of blocks column by column, then the next ones.
__device__ inline Place block_place(std::int32_t n_rows, std::int32_t n_cols) {
  const std::uint32_t down = (n_rows + template_side - 1) / template_side;
  const std::uint32_t across = (n_cols + template_side - 1) / template_side;
  const std::uint32_t first = blockIdx.x / (template_group * across) * template_group;
  const std::uint32_t within = blockIdx.x - first * across;
  const std::uint32_t rows = min(down - first, std::uint32_t{template_group});
  return {static_cast<std::int32_t>((first + within % rows) * template_side),
          static_cast<std::int32_t>(within / rows * template_side)};
}

// Scores a block of pairs.
template <class Sum, class Tile>
__device__ void score_block(const TemplateImages& a, const TemplateImages& b, std::uint32_t n_quads,
                            const Pairs& pairs, const Sink& sink, double threshold, float most) {
  constexpr bool wide = sizeof(Sum) > 4;
  constexpr std::uint32_t piece = 65536 / 16;  // quads whose sum of products fits in 32 bits
  __shared__ TemplateStage stage_a, stage_b;
  const Place place = block_place(pairs.n_rows, pairs.n_cols);
  const std::int32_t n_rows = pairs.n_rows - place.row, n_cols = pairs.n_cols - place.col;
  const std::int32_t last_j = pairs.first_j + place.col + min(n_cols, template_side) - 1;
  if (last_j - (pairs.first_i + place.row) < pairs.gap) return;  // the whole block

  // 1. Sums of products, stage by stage.
  std::uint32_t dots[8][8] = {};
  // Of pieces that are done, in the end of all; volatile, or they would take registers.
  volatile Sum sums[64];
  if constexpr (wide)
    for (volatile Sum& sum : sums) sum = 0;
  const int quad = static_cast<int>(threadIdx.x % template_quads);
  const int row = static_cast<int>(threadIdx.x / template_quads);
  constexpr int apart = template_threads / template_quads;
  uint4 next_a[2], next_b[2];
  const auto load = [&](std::uint32_t first) {
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const int image = row + k * apart;
      const std::uint32_t at = first + quad;
      next_a[k] = next_b[k] = uint4{0, 0, 0, 0};
      if (image < n_rows && at < n_quads)
        next_a[k] = a.pixels[std::size_t(place.row + image) * n_quads + at];
      if (image < n_cols && at < n_quads)
        next_b[k] = b.pixels[std::size_t(place.col + image) * n_quads + at];
    }
  };
  load(0);
  for (std::uint32_t first = 0; first < n_quads; first += template_quads) {
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      stage_a.put(row + k * apart, quad, next_a[k]);
      stage_b.put(row + k * apart, quad, next_b[k]);
    }
    __syncthreads();
    load(first + template_quads);
    if (Tile::is_within(n_rows, n_cols)) Tile::multiply(stage_a, stage_b, dots);
    __syncthreads();
    if constexpr (wide)
      if ((first + template_quads) % piece == 0) {
#pragma unroll
        for (int k = 0; k < 64; ++k) {
          sums[k] = sums[k] + dots[k / 8][k % 8];
          dots[k / 8][k % 8] = 0;
        }
      }
  }

  // 2. Does any pair's rough error leave it open?
  bool is_open = sink.keep == Keep::matrix;
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    if (Tile::row(r) >= n_rows) continue;
    const Sum energy = static_cast<Sum>(a.energies[place.row + Tile::row(r)]);
    const float inverse = a.inverses[place.row + Tile::row(r)];
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      if (Tile::col(c) >= n_cols) continue;
      Sum dot = dots[r][c];
      if constexpr (wide) dot += sums[8 * r + c];
      const Sum distance =
          energy + static_cast<Sum>(b.energies[place.col + Tile::col(c)]) - 2 * dot;
      is_open |= rough_error(inverse, b.inverses[place.col + Tile::col(c)],
                             static_cast<float>(distance)) <= most;
    }
  }
  if (!__syncthreads_or(is_open)) return;

  // 3. The float64 formula for those that are.
#pragma unroll
  for (int k = 0; k < 64; ++k) {
    if constexpr (wide)
      sums[k] = sums[k] + dots[k / 8][k % 8];
    else
      sums[k] = dots[k / 8][k % 8];
  }
#pragma unroll 1
  for (int r = 0; r < 8; ++r) {
    const auto at = [&](int c) {
      return Place{place.row + Tile::row(r), place.col + Tile::col(c)};
    };
    const auto distance = [&](int c) {
      const Place p = at(c);
      return static_cast<Sum>(static_cast<Sum>(a.energies[p.row]) +
                              static_cast<Sum>(b.energies[p.col]) - 2 * sums[8 * r + c]);
    };
    const auto score = [&](int c) {
      const double error =
          template_error(a.energies[at(c).row], b.energies[at(c).col], distance(c));
      return __dsub_rn(1.0, error < 1.0 ? error : 1.0);
    };
    const auto above = [&](int c) {
      const float rough = rough_error(a.inverses[at(c).row], b.inverses[at(c).col],
                                      static_cast<float>(distance(c)));
      return rough <= most && score(c) > threshold ? Verdict::yes : Verdict::no;
    };
    keep<8>(sink, pairs, at, above, score);
  }
}

// Scores pairs; a and b begin at the first row and column of the launch.
//   Sum     std::uint32_t up to narrow_pixels, else std::uint64_t
//   Tile    TensorTile where there are tensor cores for bytes, else PlainTile
//   most    most_rough_error of the threshold
template <class Sum, class Tile>
__global__ __launch_bounds__(template_threads, sizeof(Sum) > 4 ? 1 : 2) void score_templates(
    TemplateImages a, TemplateImages b, std::uint32_t n_quads, Pairs pairs, Sink sink,
    double threshold, float most) {
  if constexpr (Tile::is_built) score_block<Sum, Tile>(a, b, n_quads, pairs, sink, threshold, most);
}

}  // namespace clusterimg::cuda
