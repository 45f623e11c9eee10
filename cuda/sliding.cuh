// Template matching of images of any sizes: the smaller slides inside the larger. The score is 1 -
// the least error of all positions, at most 1 (template_error.cuh has the formula); -inf where
// neither fits inside the other. The second is the template if it fits, else the first is.
//
// A block of threads has a pair. Positions are taken in tiles of 4 x 4, 32 tiles at a time, one for
// each lane; the sums of products of a tile are divided among the four warps by rows of the image.
// Byte-shifted words of the image, of which four cover four neighbouring positions, are used four
// times: by the four rows of the tile, each with its own row of the template. The template is in
// shared memory, piece by piece where it is large, with three rows of zeros above and below: what
// of a tile's rows has no part in a row of the image meets these. Words of the image that lie
// beyond what a position covers meet the zeros that fill up the template's rows.
//
// Sums of products and of squares are exact: modulo 2^32 where every sum is below it
// (narrow_pixels), else in 64 bits. Patches' sums of squares come from an integral image. What a
// float32 shows to be no better than the best position so far, or than what the threshold asks for,
// is passed over:
//   before the sums of products    error >= (Ep + Et) / sqrt(Ep Et) - 2, as (p - t)^2 summed is at
//                                  least (|p| - |t|)^2 (Cauchy and Schwarz)
//   after                          distance^2 >= cut^2 Ep Et
// Each side takes fewer than nine roundings of 2^-24; the left one is made less by 2^-19, and a cut
// is rounded by 2^-24 itself. So an error that is passed over is not less than the cut, as computed
// either. Where a pair of images is of one size, there is one position: all threads share the sum.
//
// Roofline, computed, H100 SXM (132 SMs, 1.755 GHz). A step of a lane, 8 pixels of the template for
// 16 positions, takes 32 dp4a (64 a clock of an SM, 64 issued cycles of its quarter for them), 2
// loads and 4 of 8 bytes from shared memory, 8 shifts, some 8 more: 54 instructions, below the 64.
// Loads touch 2-3 lines of the image and 4 broadcasts: 7 clocks of 16. So dp4a limits, less what is
// idle: lanes without a tile, positions of a tile beyond the last, rows of zeros.
//   64 px with templates of 48 px: 289 positions of 2304 pixels, 166 k dp4a; 25 of 32 lanes, 289 of
//   400 positions, 48 of 52 rows: 320 k, 5000 clocks: 46 M pairs/s (13 G positions/s).
//   256 px with 192 px: 4225 positions, 38.9 M dp4a; 4225 of 5120, 192 of 204 rows: 50 M, 783 k
//   clocks: 296 k pairs/s. The template, in six pieces, is put into shared memory for each of 10
//   times 32 tiles: 3 % more.
//   64 px with 64 px: 1024 dp4a, 8 steps of 20 instructions of 4 warps and some 150 more of each:
//   310 clocks: 750 M pairs/s.
//   Memory: an image and its sums, 5 bytes a pixel (9 above narrow_pixels), from L2: 20 KB a pair
//   of 64 px, .9 TB/s.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernel.hpp"
#include "sink.cuh"
#include "sliding_images.cuh"
#include "template_error.cuh"

namespace clusterimg::cuda {

constexpr int sliding_threads = 128;
constexpr int sliding_warps = sliding_threads / 32;

// A piece of a template in shared memory: rows [top, top + n_rows), columns [left, left + 4
// stride).
struct TemplatePiece {
  static constexpr std::int32_t capacity = 3072;  // words, those of zeros above and below included
  static constexpr std::int32_t most_stride = 32;
  static constexpr std::int32_t zeros = 3;
  std::int32_t top, left, n_rows, stride;  // of the words of a row, even
};

// How a template is cut: columns first, then rows in parts that are nearly of one height.
struct TemplateCut {
  std::int32_t height, width, n_across, n_down, n_rows;

  __device__ TemplateCut(std::int32_t templ_height, std::int32_t templ_width)
      : height(templ_height), width(templ_width) {
    const std::int32_t most_width = 4 * TemplatePiece::most_stride;
    n_across = (width - 1) / most_width + 1;
    const std::int32_t stride = (min(width, most_width) + 7) / 8 * 2;
    const std::int32_t most_rows = TemplatePiece::capacity / stride - 2 * TemplatePiece::zeros;
    n_down = (height - 1) / most_rows + 1;
    n_rows = (height - 1) / n_down + 1;
  }
  __device__ std::int32_t size() const { return n_across * n_down; }
  __device__ TemplatePiece piece(std::int32_t k) const {
    const std::int32_t top = k / n_across * n_rows;
    const std::int32_t left = k % n_across * (4 * TemplatePiece::most_stride);
    const std::int32_t n_cols = min(width - left, 4 * TemplatePiece::most_stride);
    return {top, left, max(0, min(n_rows, height - top)), (n_cols + 7) / 8 * 2};
  }
};

// What the threads of a block know together.
template <class Sum>
struct Sliding {
  uint2 templ[TemplatePiece::capacity / 2];
  Sum dots[sliding_warps][16][32];  // of the rows of each warp: position of the tile, tile
  unsigned long long least;         // error so far; as bits, which are in the order of numbers
};

template <class Sum>
__device__ void stage(const SlidingImage<Sum>& templ, const TemplatePiece& piece,
                      Sliding<Sum>& shared) {
  auto* words = reinterpret_cast<std::uint32_t*>(shared.templ);
  const std::int32_t n = (piece.n_rows + 2 * TemplatePiece::zeros) * piece.stride;
  for (std::int32_t k = threadIdx.x; k < n; k += sliding_threads) {
    const std::int32_t row = k / piece.stride - TemplatePiece::zeros;
    const std::int32_t col = piece.left + k % piece.stride * 4, rest = templ.width - col;
    std::uint32_t word = 0;
    if (row >= 0 && row < piece.n_rows && rest > 0)
      word = templ.pixels(std::int64_t{piece.top + row} * templ.width + col).first_four();
    if (rest < 4 && rest > 0) word &= (1U << (8 * rest)) - 1;
    words[k] = word;
  }
}

// Adds the products of a piece with the patches of the 4 x 4 positions from (y, x) on, of every
// fourth row of the image. A piece has fewer pixels than 2^32 / 255^2.
template <class Sum>
__device__ void multiply(const SlidingImage<Sum>& image, const TemplatePiece& piece, std::int32_t y,
                         std::int32_t x, const uint2* __restrict__ templ,
                         std::uint32_t (&dots)[16]) {
  const std::int32_t stride = piece.stride / 2;
  for (std::int32_t row = threadIdx.x / 32; row < piece.n_rows + TemplatePiece::zeros;
       row += sliding_warps) {
    // Below the last row there are no positions.
    const std::int64_t image_row = min(y + piece.top + row, image.height - 1);
    const Pixels pixels = image.pixels(image_row * image.width + x + piece.left);
    std::uint32_t aligned = pixels.word(1);
    std::uint32_t first = __funnelshift_r(pixels.word(0), aligned, pixels.shift);
    const uint2* rows = templ + row * stride;  // of tile row 3; of those above it one more each
#pragma unroll 2
    for (std::int32_t k = 0; k < stride; ++k) {
      const std::uint32_t middle = pixels.word(2 * k + 2);
      const std::uint32_t second = __funnelshift_r(aligned, middle, pixels.shift);
      aligned = pixels.word(2 * k + 3);
      const std::uint32_t third = __funnelshift_r(middle, aligned, pixels.shift);
      uint2 t[4];
#pragma unroll
      for (int r = 0; r < 4; ++r) t[r] = rows[(TemplatePiece::zeros - r) * stride + k];
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const std::uint32_t left = __funnelshift_r(first, second, 8 * c);
        const std::uint32_t right = __funnelshift_r(second, third, 8 * c);
#pragma unroll
        for (int r = 0; r < 4; ++r)
          dots[4 * r + c] = __dp4a(right, t[r].y, __dp4a(left, t[r].x, dots[4 * r + c]));
      }
      first = third;
    }
  }
}

// Whether a patch of that energy may have an error below the cut.
template <class Sum>
__device__ bool may_match(Sum patch, Sum templ, float cut) {
  const float p = static_cast<float>(patch), t = static_cast<float>(templ);
  return (p + t) * (p + t) * (1.0f - 0x1p-19f) < (2.0f + cut) * (2.0f + cut) * (p * t);
}
template <class Sum>
__device__ bool may_match(Sum patch, Sum templ, Sum distance, float cut) {
  const float d = static_cast<float>(distance);
  return d * d * (1.0f - 0x1p-19f) <
         cut * cut * (static_cast<float>(patch) * static_cast<float>(templ));
}

// The error of a template in an image of its size, if it is below the cut, else 1 at most.
template <class Sum>
__device__ double whole_error(const SlidingImage<Sum>& image, const SlidingImage<Sum>& templ,
                              float cut, Sliding<Sum>& shared) {
  const Sum patch = image.energy(), energy = templ.energy();
  if (patch == 0 || energy == 0) return patch == energy ? 0.0 : 1.0;
  if (!may_match(patch, energy, cut)) return 1.0;
  const std::int64_t n = image.n_pixels();
  Sum dot = 0;
  for (std::int64_t at = 4 * threadIdx.x; at < n; at += 4 * sliding_threads) {
    std::uint32_t word = image.pixels(at).first_four();
    if (n - at < 4) word &= (1U << (8 * (n - at))) - 1;
    dot += __dp4a(word, templ.pixels(at).first_four(), 0U);
  }
  for (int step = 16; step > 0; step /= 2) dot += __shfl_xor_sync(0xffffffffU, dot, step);
  if (threadIdx.x % 32 == 0) shared.dots[threadIdx.x / 32][0][0] = dot;
  __syncthreads();
  dot = 0;
  for (int warp = 0; warp < sliding_warps; ++warp) dot += shared.dots[warp][0][0];
  __syncthreads();  // before they are written again
  return template_error(patch, energy, static_cast<Sum>(patch + energy - 2 * dot));
}

// The least error of a template in an image, if it is below the cut, else 1 at most.
template <class Sum>
__device__ double least_error(const SlidingImage<Sum>& image, const SlidingImage<Sum>& templ,
                              float cut, Sliding<Sum>& shared) {
  const std::int32_t rows = image.height - templ.height + 1;
  const std::int32_t cols = image.width - templ.width + 1;
  const std::uint32_t across = (cols + 3) / 4, n_tiles = (rows + 3) / 4 * across;
  const Sum energy = templ.energy();
  const TemplateCut cuts(templ.height, templ.width);
  const std::int32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  bool is_staged = false;
  if (threadIdx.x == 0) shared.least = __double_as_longlong(1.0);
  __syncthreads();
  for (std::uint32_t first = 0; first < n_tiles; first += 32) {
    // 1. Energies of the patches of row `warp` of the tile: may any match? A black template can
    // only match a black patch, and is scored by that alone.
    const std::uint32_t tile = min(first + lane, n_tiles - 1);
    const std::int32_t y = static_cast<std::int32_t>(tile / across * 4);
    const std::int32_t x = static_cast<std::int32_t>(tile % across * 4);
    Sum patches[4];
    bool is_open = false;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const bool is_there = y + warp < rows && x + c < cols;
      patches[c] = is_there ? image.patch_energy(y + warp, x + c, templ) : 0;
      if (energy == 0 && is_there && patches[c] == 0) shared.least = 0;
      is_open |= may_match(patches[c], energy, cut);  // a patch that is not there has energy 0
    }
    if (!__syncthreads_or(is_open)) continue;

    // 2. Sums of products, piece by piece; each warp has some of the rows.
    std::uint32_t dots[16] = {};
    Sum sums[16] = {};  // of pieces that are done, where 32 bits don't suffice
    for (std::int32_t k = 0; k < cuts.size(); ++k) {
      const TemplatePiece piece = cuts.piece(k);
      if (!is_staged) {
        stage(templ, piece, shared);
        __syncthreads();
        is_staged = cuts.size() == 1;
      }
      multiply(image, piece, y, x, shared.templ, dots);
      if constexpr (sizeof(Sum) > 4) {
#pragma unroll
        for (int k = 0; k < 16; ++k) {
          sums[k] += dots[k];
          dots[k] = 0;
        }
      }
      if (!is_staged) __syncthreads();
    }
#pragma unroll
    for (int k = 0; k < 16; ++k) shared.dots[warp][k][lane] = sums[k] + dots[k];
    __syncthreads();

    // 3. Errors of the patches of step 1.
    double least = 1.0;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      Sum dot = 0;
      for (int w = 0; w < sliding_warps; ++w) dot += shared.dots[w][4 * warp + c][lane];
      const Sum distance = patches[c] + energy - 2 * dot;
      if (may_match(patches[c], energy, distance, cut))
        least = min(least, template_error(patches[c], energy, distance));
    }
    if (least < 1.0)
      atomicMin(&shared.least, static_cast<unsigned long long>(__double_as_longlong(least)));
    __syncthreads();
    cut = min(cut, static_cast<float>(__longlong_as_double(static_cast<long long>(shared.least))));
  }
  __syncthreads();
  const double least = __longlong_as_double(static_cast<long long>(shared.least));
  __syncthreads();  // before it is written again
  return least;
}

// Scores pairs; a and b begin at the first row and column of the launch.
//   cut     errors from it on need not be told apart
template <class Sum>
__global__ __launch_bounds__(sliding_threads, sizeof(Sum) > 4 ? 3 : 4) void score_sliding(
    SlidingImages<Sum> a, SlidingImages<Sum> b, Pairs pairs, Sink sink, double threshold,
    float cut) {
  __shared__ Sliding<Sum> shared;
  const std::int64_t n = std::int64_t{pairs.n_rows} * pairs.n_cols;
  for (std::int64_t pair = blockIdx.x; pair < n; pair += gridDim.x) {
    const Place place{static_cast<std::int32_t>(pair / pairs.n_cols),
                      static_cast<std::int32_t>(pair % pairs.n_cols)};
    if (pairs.first_j + place.col - (pairs.first_i + place.row) < pairs.gap) continue;
    const Shape row = shape_of(a, place.row), col = shape_of(b, place.col);
    const bool col_fits = col.fits(row);
    double score = -__longlong_as_double(0x7ff0000000000000);
    if (col_fits || row.fits(col)) {
      const SlidingImage<Sum> image(col_fits ? a : b, col_fits ? place.row : place.col);
      const SlidingImage<Sum> templ(col_fits ? b : a, col_fits ? place.col : place.row);
      const double error = row.fits(col) && col_fits ? whole_error(image, templ, cut, shared)
                                                     : least_error(image, templ, cut, shared);
      score = __dsub_rn(1.0, error < 1.0 ? error : 1.0);
    }
    if (score <= threshold && sink.keep != Keep::matrix) continue;  // the whole block
    keep<1>(
        sink, pairs,
        [&](int) { return Place{threadIdx.x == 0 ? place.row : pairs.n_rows, place.col}; },
        [&](int) { return score > threshold ? Verdict::yes : Verdict::no; },
        [&](int) { return score; });
  }
}

}  // namespace clusterimg::cuda
