// Mean SSIM of images of one size (formula in csrc/kernels/ssim.hpp): a fast float32 score of all
// pairs, and the canonical float64 score of some.
//
// A window's score does not change when 128 is taken from every pixel where only differences count,
// so that pixels are signed bytes. With a' = a - 128, Sa' and Sab' sums over the window, and Sa
// that of the pixels themselves,
//   S = 2 P N / (D D'),   P = Sa Sb + c1 / 2          D = Ea + Eb,   E = S^2 + c1 / 2
//                         N = Sab' - Sa' Sb' / 49 + k  D' = Va + Vb,  V = variance + k / 2
//   c1 = (49 * 2.55)^2,   k = 24 * 7.65^2,             variance = (Saa' - Sa'^2 / 49) / 2
//
// A thread has 4 images a against 3 images b. It takes one window column after another and walks it
// down: as a row of 7 pixels of each pair enters, two __dp4a add its products to a running sum,
// begun at 3 * 2^22 as a float has it; the bits of such an integer are that float, so a window is
// the difference of two running sums, seven rows apart, by one exact float32 subtraction. The last
// seven are in registers. After 35 rows they are taken back to 3 * 2^22, before they can leave
// [2^23, 2^24): (35 + 1) * 7 * 128^2 < 2^22. Lanes have neighbouring images b; images a are the
// same for a warp. What is needed of an image at a row comes as 16 bytes (SsimEntry), laid out in
// `prepare` so that a warp reads them in one piece; the warps of a block have the same images b and
// find them in L1.
//
// A warp stops when its pairs are all too far below the threshold for the windows left, at most 1
// each.
//
// Error of the fast score, u = 2^-24. P and E are 2 roundings each, D one more: 2 u, 3 u. Sb' / 49
// is split into a float32 and the float32 of what is left, whose errors are below 2^-40; Sab' less
// Sa' times the first is rounded, less Sa' times the second, and when k (rounded too) is added: 4 u
// of D', since |N|, k <= D'. V is rounded once, D' once more: 2 u. P N and D D' are products, the
// reciprocal is within 2 u (MUFU.RCP: 2^-23): 4 u. So a window strays by 15 u and what is of second
// order. At most 35 windows are added one after another, 35 * 36 / 2 u over 35 of them: 18 u; those
// sums with a compensation: 2 u; the score is rounded: u. 36 u and a little: < ssim_error.
//
// Roofline on an H100 SXM, computed. Of a window of a pair 13 instructions: 2 IDP4A, FADD (window
// sum), 2 FFMA and FADD (N), FFMA (P), 2 FADD (D, D'), 2 FMUL, MUFU, FFMA. Of a row of 4 + 3
// images: 7 loads of 16 bytes, 2 and 5 instructions for each a and b, 3 of the loop; over 12
// pairs 2.7. So 15.7 issue slots a window, of 32 lanes x 4 a clock and SM; MUFU (16 lanes) has 8 of
// each 15.7, IDP4A (64) 4, and L1 16 wavefronts for 12 x 32 pairs of four schedulers, 5.3. What
// limits it is issue: 132 x 128 x 1.755 GHz / 15.7 = 1.9e12 windows/s. L2 gives each block of 4
// warps 16 + 96 entries for 1536 pairs, 1.2 B a window, 2.2 TB/s; HBM less, as the blocks under way
// have the same images b. At 24 px a pair has 324 windows and 108 rows without one at 5.6 slots (4
// IDP4A and FADD need no window): 5.2e9 pairs/s with every window done; at 64 px 3364 and
// 348: 5.4e8 pairs/s.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernel.hpp"
#include "sink.cuh"

namespace clusterimg::cuda {

constexpr std::uint32_t ssim_side = 7;
constexpr double ssim_error = 2.4e-6;

constexpr unsigned ssim_threads = 128;
constexpr int ssim_rows = 4, ssim_cols = 3;  // images a and b of a thread
constexpr std::int32_t ssim_block_rows = ssim_rows * ssim_threads / 32;
constexpr std::int32_t ssim_block_cols = 32 * ssim_cols;
constexpr std::uint32_t ssim_step = 8;   // rows of an iteration
constexpr std::uint32_t ssim_most = 36;  // that a running sum holds: 36 * 7 * 128^2 < 2^22

// The constants of the canonical formula.
constexpr double ssim_c1 = (0.01 * 255) * (0.01 * 255) * (49 * 49);
constexpr double ssim_c2 = (0.03 * 255) * (0.03 * 255) * (49 * 48);

// What is prepared of an image, for each window column x and row of pixels y:
//   x, y    pixels x..x+3 and x+4..x+6 of the row, less 128, as signed bytes; the eighth is 0
//   z, w    Sb' and V as float32, of the window whose last row is y; of no meaning above the first
// Entries of 32 images are side by side: (groups of 32, across, height, 32).
using SsimEntry = uint4;

struct SsimShape {
  std::uint32_t height, width;
  __host__ __device__ std::uint32_t across() const { return width + 1 - ssim_side; }
  __host__ __device__ std::uint32_t down() const { return height + 1 - ssim_side; }
  __host__ __device__ std::size_t windows() const { return std::size_t{across()} * down(); }
  __host__ __device__ std::size_t column(std::uint32_t group, std::uint32_t x) const {
    return (std::size_t{group} * across() + x) * height * 32;
  }
};

// Half the sum of a pair's window scores, where verdicts change.
struct SsimBounds {
  float hopeless;  // below, the windows left taken as 1: the pair is not above the threshold
  float no, yes;   // below, above: so is the score
  double share;    // of such a half sum, the score
};

// 1 / d within 2^-23, for normal numbers.
__device__ inline float reciprocal(float d) {
#ifdef __CUDA_ARCH__
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(d));
  return r;
#else
  return 1.0f / d;
#endif
}

// The sums of a window of one image: of the pixels less 128, and of their squares.
struct SsimSums {
  std::int32_t sum, square;
};

__device__ inline void add_row(std::uint32_t low, std::uint32_t high, std::int32_t sign,
                               SsimSums& sums) {
  constexpr int ones = 0x01010101;
  const int a = static_cast<int>(low), b = static_cast<int>(high);
  sums.sum += sign * __dp4a(b, ones, __dp4a(a, ones, 0));
  sums.square += sign * __dp4a(b, b, __dp4a(a, a, 0));
}

// Entries of a window column of an image a lane; blocks: (groups of 32 images, across).
__global__ void __launch_bounds__(32)
    ssim_prepare(const std::uint8_t* __restrict__ images, std::uint32_t n, SsimShape shape,
                 SsimEntry* __restrict__ entries) {
  const std::uint32_t x = blockIdx.x % shape.across(), group = blockIdx.x / shape.across();
  const std::uint32_t image = 32 * group + threadIdx.x;
  const std::uint8_t* const pixels =
      images + std::size_t{image < n ? image : n - 1} * shape.height * shape.width + x;
  SsimEntry* const out = entries + shape.column(group, x) + threadIdx.x;
  SsimSums sums{0, 0};
  for (std::uint32_t y = 0; y < shape.height; ++y) {
    const std::uint8_t* const row = pixels + std::size_t{y} * shape.width;
    std::uint32_t word[2] = {0, 0};
    for (unsigned p = 0; p < ssim_side; ++p) word[p / 4] |= (__ldg(row + p) ^ 0x80U) << 8 * (p % 4);
    add_row(word[0], word[1], 1, sums);
    if (y >= ssim_side) {
      const SsimEntry above = out[std::size_t{y - ssim_side} * 32];
      add_row(above.x, above.y, -1, sums);
    }
    const double variance = (49 * sums.square - sums.sum * sums.sum) / 98.0 + ssim_c2 / 196;
    out[std::size_t{y} * 32] = {word[0], word[1], __float_as_uint(static_cast<float>(sums.sum)),
                                __float_as_uint(static_cast<float>(variance))};
  }
}

// Running sums of the products of a thread's pairs, those up to row y at (y + 1) % 8, and half the
// window scores since they were last put away. Eight sums, so that a new one goes where none is
// needed: no register is copied.
struct SsimRing {
  static constexpr int begin = 0x4b400000;  // 3 * 2^22 as a float
  int sums[ssim_step][ssim_rows][ssim_cols];
  float score[ssim_rows][ssim_cols];
};

// What a window needs of an image b.
struct SsimColumn {
  int low, high;
  float energy, variance, sum, mean, rest;  // mean + rest is Sb' / 49
};

template <bool scored>
__device__ __forceinline__ SsimColumn column_of(const SsimEntry& entry) {
  constexpr float share = 1.0f / 49;
  SsimColumn column{static_cast<int>(entry.x), static_cast<int>(entry.y), 0, 0, 0, 0, 0};
  if (!scored) return column;
  const float sum = __uint_as_float(entry.z);
  column.variance = __uint_as_float(entry.w);
  column.sum = sum + 128 * 49;
  column.energy = __fmaf_rn(column.sum, column.sum, static_cast<float>(ssim_c1 / 2));
  column.mean = __fmul_rn(sum, share);
  column.rest = __fmul_rn(__fmaf_rn(-49.0f, column.mean, sum), share);
  return column;
}

// Entries of a thread's images; those of the next rows follow.
struct SsimPlace {
  const SsimEntry* a;
  const SsimEntry* b[ssim_cols];
  __device__ __forceinline__ void pass(std::uint32_t rows) {
    a += std::size_t{rows} * 32;
#pragma unroll
    for (int c = 0; c < ssim_cols; ++c) b[c] += std::size_t{rows} * 32;
  }
};

// Lets a row into the pairs, row k of eight. `scored`: it ends a window; `full`: rows came before
// these.
//   at    entries of row 0 of the eight, of row 1 of the first
template <int k, bool scored, bool full>
__device__ __forceinline__ void enter(const SsimPlace& at, SsimRing& ring) {
  constexpr int row = 32 * (full ? k : k - 1);
  SsimColumn columns[ssim_cols];
#pragma unroll
  for (int c = 0; c < ssim_cols; ++c) columns[c] = column_of<scored>(__ldg(at.b[c] + row));
#pragma unroll
  for (int r = 0; r < ssim_rows; ++r) {
    const SsimEntry entry = __ldg(at.a + row + r);
    const float sum = __uint_as_float(entry.z), variance = __uint_as_float(entry.w);
    const float whole = sum + 128 * 49;
    const float energy = __fmaf_rn(whole, whole, static_cast<float>(ssim_c1 / 2));
#pragma unroll
    for (int c = 0; c < ssim_cols; ++c) {
      const SsimColumn& column = columns[c];
      const int before = k > 1 || full ? ring.sums[(k + 7) % 8][r][c] : SsimRing::begin;
      const int now = __dp4a(static_cast<int>(entry.y), column.high,
                             __dp4a(static_cast<int>(entry.x), column.low, before));
      const int leaving = full ? ring.sums[(k + 1) % 8][r][c] : SsimRing::begin;
      ring.sums[k][r][c] = now;
      if (!scored) continue;
      const float products = __int_as_float(now) - __int_as_float(leaving);
      const float near = __fmaf_rn(-sum, column.mean, products);
      const float covariance =
          __fmaf_rn(-sum, column.rest, near) + static_cast<float>(ssim_c2 / 98);
      const float means = __fmaf_rn(whole, column.sum, static_cast<float>(ssim_c1 / 2));
      const float below = __fmul_rn(energy + column.energy, variance + column.variance);
      ring.score[r][c] =
          __fmaf_rn(__fmul_rn(means, covariance), reciprocal(below), ring.score[r][c]);
    }
  }
}

// A sum of many numbers and what its last rounding lost (Kahan).
struct SsimTotal {
  float sum, lost;
  __device__ void add(float value) {
    const float more = value - lost, to = sum + more;
    lost = (to - sum) - more;
    sum = to;
  }
};

using SsimTotals = SsimTotal[ssim_rows * ssim_cols][ssim_threads];

// Puts the scores away. Whether any of the thread's pairs may still be above the threshold, if the
// windows left have half scores of `rest` together.
__device__ inline bool put_away(SsimRing& ring, SsimTotals& totals, float rest, float hopeless) {
  bool hope = false;
#pragma unroll
  for (int p = 0; p < ssim_rows * ssim_cols; ++p) {
    float& score = ring.score[p / ssim_cols][p % ssim_cols];
    SsimTotal total = totals[p][threadIdx.x];
    total.add(score);
    totals[p][threadIdx.x] = total;
    score = 0;
    hope = hope || total.sum + rest >= hopeless;
  }
  return hope;
}

__device__ __forceinline__ void take_back(SsimRing& ring) {
#pragma unroll
  for (int p = 0; p < ssim_rows * ssim_cols; ++p) {
    const int r = p / ssim_cols, c = p % ssim_cols;
    const int excess = ring.sums[7][r][c] - SsimRing::begin;
#pragma unroll
    for (int k = 0; k < 8; ++k) ring.sums[k][r][c] -= excess;
  }
}

__device__ __forceinline__ void enter_first(const SsimPlace& at, SsimRing& ring) {
  enter<1, false, false>(at, ring);
  enter<2, false, false>(at, ring);
  enter<3, false, false>(at, ring);
  enter<4, false, false>(at, ring);
  enter<5, false, false>(at, ring);
  enter<6, false, false>(at, ring);
  enter<7, true, false>(at, ring);
}

// Lets rows from the eighth on into the pairs; returns how many are still to be passed.
__device__ __forceinline__ std::uint32_t enter_others(SsimPlace& at, std::uint32_t height,
                                                      SsimRing& ring, SsimTotals& totals) {
  std::uint32_t left = height - ssim_side;
  // Left where the rows end, so that no register need be where a next row would look for it.
  for (std::uint32_t held = ssim_side; left > 0; held += ssim_step) {
    if (held + ssim_step > ssim_most) {
      put_away(ring, totals, 0, 0);
      take_back(ring);
      held = 0;
    }
    enter<0, true, true>(at, ring);
    if (left == 1) return left;
    enter<1, true, true>(at, ring);
    if (left == 2) return left;
    enter<2, true, true>(at, ring);
    if (left == 3) return left;
    enter<3, true, true>(at, ring);
    if (left == 4) return left;
    enter<4, true, true>(at, ring);
    if (left == 5) return left;
    enter<5, true, true>(at, ring);
    if (left == 6) return left;
    enter<6, true, true>(at, ring);
    if (left == 7) return left;
    enter<7, true, true>(at, ring);
    left -= ssim_step;
    at.pass(ssim_step);
  }
  return left;
}

// Adds up the scores of a thread's pairs, from window column 0 on. False if the warp has given up,
// which those that begin at nan don't hinder.
__device__ __forceinline__ bool add_scores(SsimPlace at, const SsimShape& shape, float hopeless,
                                           SsimTotals& totals) {
  SsimRing ring;
#pragma unroll
  for (int p = 0; p < ssim_rows * ssim_cols; ++p) ring.score[p / ssim_cols][p % ssim_cols] = 0;
  for (std::uint32_t left = shape.across(); left-- > 0;) {
    enter_first(at, ring);
    at.pass(ssim_side);
    at.pass(enter_others(at, shape.height, ring, totals));
    const float rest = 0.5f * static_cast<float>(left) * static_cast<float>(shape.down());
    const bool hope = put_away(ring, totals, rest, hopeless);
    if (!__any_sync(0xffffffffU, hope)) return false;
  }
  return true;
}

__device__ inline bool is_asked_for(const Pairs& pairs, Place place) {
  return place.row < pairs.n_rows && place.col < pairs.n_cols &&
         pairs.first_j + place.col - (pairs.first_i + place.row) >= pairs.gap;
}

// Blocks (rows / 16, columns / 96); a warp has 4 rows.
//   a, b    entries; the launch begins at images pairs.row and pairs.col, multiples of 32
__global__ void __launch_bounds__(ssim_threads, 3)
    ssim_score(const SsimEntry* __restrict__ a, const SsimEntry* __restrict__ b,
               std::uint32_t last_group, SsimShape shape, SsimBounds bounds, Pairs pairs,
               Sink sink) {
  __shared__ SsimTotals totals;
  const std::int32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const std::int32_t row = static_cast<std::int32_t>(blockIdx.x) * ssim_block_rows;
  const std::int32_t first_row = row + warp * ssim_rows;
  const std::int32_t first_col = static_cast<std::int32_t>(blockIdx.y) * ssim_block_cols;

  // 1. Which pairs count
  const auto place = [&](int p) {
    return Place{first_row + p / ssim_cols, first_col + 32 * (p % ssim_cols) + lane};
  };
  bool any = false;
#pragma unroll
  for (int p = 0; p < ssim_rows * ssim_cols; ++p) {
    const bool counts = is_asked_for(pairs, place(p));
    totals[p][threadIdx.x] = {counts ? 0.0f : __uint_as_float(0x7fc00000), 0.0f};
    any = any || counts;
  }

  // 2. Scores, of warps that have a pair
  bool done = false;
  if (__any_sync(0xffffffffU, any)) {
    const auto i = static_cast<std::uint32_t>(pairs.row + first_row);
    SsimPlace at{a + shape.column(i / 32, 0) + i % 32, {}};
#pragma unroll
    for (int c = 0; c < ssim_cols; ++c) {
      const std::uint32_t group = static_cast<std::uint32_t>(pairs.col + first_col) / 32 + c;
      at.b[c] = b + shape.column(group < last_group ? group : last_group, 0) + lane;
    }
    done = add_scores(at, shape, bounds.hopeless, totals);
  }

  // 3. To the sink
  keep<ssim_rows * ssim_cols>(
      sink, pairs, place,
      [&](int p) {
        const float sum = totals[p][threadIdx.x].sum;
        if (!done || sum < bounds.no) return Verdict::no;
        return sum > bounds.yes ? Verdict::yes : Verdict::unsure;
      },
      [&](int p) { return bounds.share * static_cast<double>(totals[p][threadIdx.x].sum); });
}

// The canonical sum of the scores of a column of windows.
//   a, b    entries of the images, from row 0 of the column
__device__ inline double column_score(const SsimEntry* __restrict__ a,
                                      const SsimEntry* __restrict__ b, std::uint32_t height) {
  SsimSums of_a{0, 0}, of_b{0, 0};
  std::int32_t products = 0;
  double total = 0.0;
  for (std::uint32_t y = 0; y < height; ++y) {
    const auto enter = [&](std::uint32_t at, std::int32_t sign) {
      const SsimEntry p = __ldg(a + std::size_t{at} * 32), q = __ldg(b + std::size_t{at} * 32);
      add_row(p.x, p.y, sign, of_a);
      add_row(q.x, q.y, sign, of_b);
      products += sign * __dp4a(static_cast<int>(p.y), static_cast<int>(q.y),
                                __dp4a(static_cast<int>(p.x), static_cast<int>(q.x), 0));
    };
    enter(y, 1);
    if (y + 1 < ssim_side) continue;
    if (y >= ssim_side) enter(y - ssim_side, -1);
    const std::int32_t sa = of_a.sum + 128 * 49, sb = of_b.sum + 128 * 49;
    const std::int32_t covariance = 49 * products - of_a.sum * of_b.sum;
    const std::int32_t spread =
        (49 * of_a.square - of_a.sum * of_a.sum) + (49 * of_b.square - of_b.sum * of_b.sum);
    const double above =
        __dmul_rn(__dadd_rn(2 * sa * sb, ssim_c1), __dadd_rn(2 * covariance, ssim_c2));
    const double below =
        __dmul_rn(__dadd_rn(sa * sa + sb * sb, ssim_c1), __dadd_rn(spread, ssim_c2));
    total = __dadd_rn(total, __ddiv_rn(above, below));
  }
  return total;
}

// Writes the canonical scores of the listed pairs; a warp has a pair, a lane a column of windows.
__global__ void __launch_bounds__(ssim_threads)
    ssim_decide(const SsimEntry* __restrict__ a, const SsimEntry* __restrict__ b, SsimShape shape,
                std::int32_t first_a, std::int32_t first_b, double threshold, Sink sink) {
  const std::uint32_t lane = threadIdx.x % 32, warps = gridDim.x * (ssim_threads / 32);
  const std::uint32_t n = *sink.n_listed > sink.capacity ? 0 : *sink.n_listed;
  for (std::uint32_t k = (blockIdx.x * ssim_threads + threadIdx.x) / 32; k < n; k += warps) {
    const std::int32_t i = sink.list[k].i, j = sink.list[k].j;
    const auto in_a = static_cast<std::uint32_t>(i - first_a);
    const auto in_b = static_cast<std::uint32_t>(j - first_b);
    double total = 0.0;
    for (std::uint32_t first = 0; first < shape.across(); first += 32) {
      const std::uint32_t x = first + lane;
      double column = 0.0;
      if (x < shape.across())
        column = column_score(a + shape.column(in_a / 32, x) + in_a % 32,
                              b + shape.column(in_b / 32, x) + in_b % 32, shape.height);
      for (unsigned from = 0; from < 32; ++from) {
        const double next = __shfl_sync(0xffffffffU, column, static_cast<int>(from));
        if (first + from < shape.across()) total = __dadd_rn(total, next);
      }
    }
    const double score = __ddiv_rn(total, static_cast<double>(shape.windows()));
    if (lane != 0) continue;
    sink.list[k].score = score;
    if (sink.keep == Keep::components && score > threshold) unite(sink.parents, i, j);
  }
}

}  // namespace clusterimg::cuda
