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
// eight are in registers. Before they can leave [2^23, 2^24) they are taken back to 3 * 2^22. Lanes
// have neighbouring images b; images a are the same for a warp. What is needed of an image at a row
// comes as 16 bytes (SsimEntry), laid out so that a warp reads them in one piece; the warps of a
// block have the same images b and find them in L1. No thread waits for another.
//
// A pair is given up as soon as its windows so far and the bound of the others (ssim_bound.cuh)
// are too far below the threshold; a warp stops when it has no other pair, often before its first
// window.
//
// Error of the fast score, u = 2^-24. P is 2 roundings, E too, D one more: 2 u, 3 u. Sb' / 49 is
// split into a float32 and the float32 of what is left, whose errors are below 2^-40; Sab' less Sa'
// times the first is rounded, less Sa' times the second, and when k (rounded too) is added: 4 u of
// D', since |N|, k <= D'. V is rounded once, D' once more: 2 u. P N and D D' are products, the
// reciprocal is within 2 u (MUFU.RCP: 2^-23): 4 u. So a window strays by 15 u and what is of second
// order. At most 32 windows are added one after another, 32 * 33 / 2 u over 32 of them: 17 u; those
// sums with a compensation: 2 u; the score is rounded: u. 35 u and a little: < ssim_error.
//
// Roofline on an H100 SXM, computed. Of a window of a pair 13 instructions: 2 IDP4A, FADD (window
// sum), 2 FFMA and FADD (N), FFMA (P), 2 FADD (D, D'), 2 FMUL, MUFU, FFMA. Of a row of 4 + 3
// images: 7 loads of 16 bytes, 2 and 5 instructions for each a and b, 4 of the loop; over 12
// pairs 2.8. The machine code for sm_90 has 15.8 a window: 1518 for 8 rows of 12 pairs. Besides, of
// a column of windows 395 for its first seven rows and 111 to put the scores away. L1 has 16
// wavefronts for the 12 x 32 pairs of each of four schedulers, 5.3 of 15.8 clocks, MUFU (16 lanes)
// 8, IDP4A (64) 4: what limits it is issue, 4 x 32 lanes a clock and SM. At 24 px a window column
// of 18 is 395 + 17 x 189.8
// + 111 for 12 pairs, 17.4 a window: 132 x 128 x 1.755 GHz / (324 x 17.4) = 5.3e9 pairs/s; at 64 px
// 16.5 and 3364 windows: 5.3e8 pairs/s, with every window done, as in a matrix. Entries: 16 + 96
// images for 1536 pairs of a block, 1.2 B a window from L2, 2.1 TB/s; from HBM, where blocks under
// way have the same images b and L2 does not hold those a, 0.2 B. The bound is 31 instructions of a
// pair and group of windows (363 for 12), 18 % of all windows at 24 px, 20 % at 64 px in groups
// of 9.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernel.hpp"
#include "sink.cuh"
#include "ssim_bound.cuh"

namespace clusterimg::cuda {

constexpr double ssim_error = 2.4e-6;

constexpr unsigned ssim_threads = 128;
constexpr int ssim_rows = 4, ssim_cols = 3;  // images a and b of a thread
constexpr std::int32_t ssim_block_rows = ssim_rows * ssim_threads / 32;
constexpr std::int32_t ssim_block_cols = 32 * ssim_cols;
constexpr std::uint32_t ssim_step = 8;   // rows of an iteration
constexpr std::uint32_t ssim_most = 36;  // that a running sum holds: 36 * 7 * 128^2 < 2^22

// Half the sum of a pair's window scores, where verdicts change.
struct SsimBounds {
  float hopeless;  // below, the windows left taken as 1: the pair is not above the threshold
  float no, yes;   // below, above: so is the score
  double share;    // of such a half sum, the score
};

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

// A sum of half scores and what its last rounding lost (Kahan), and what the windows left add at
// most. nan: a pair that nobody asks for, or that is not above the threshold.
struct SsimTotal {
  float sum, lost, rest;
  __device__ void add(float value) {
    const float more = value - lost, to = sum + more;
    lost = (to - sum) - more;
    sum = to;
  }
};

using SsimTotals = SsimTotal[ssim_rows * ssim_cols][ssim_threads];

__device__ __forceinline__ void put_away(SsimRing& ring, SsimTotals& totals) {
#pragma unroll
  for (int p = 0; p < ssim_rows * ssim_cols; ++p) {
    float& score = ring.score[p / ssim_cols][p % ssim_cols];
    SsimTotal& total = totals[p][threadIdx.x];
    total.add(score);
    score = 0;
  }
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
      put_away(ring, totals);
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

// Numbers of a thread's images, those of a column of groups one after another. Where they begin is
// counted in 32 bits, which are fewer registers: 64 GB of them are beside 200 GB of entries.
struct SsimCoarse {
  const float4 *in_a, *in_b;
  std::uint32_t a, b[ssim_cols];
};

// Adds what a column of groups adds to the half scores of the thread's pairs at most, times `sign`,
// to their rests.
__device__ __forceinline__ void add_rest(const SsimCoarse& at, const SsimShape& shape,
                                         const SsimGroups& groups, std::uint32_t gx, float sign,
                                         SsimTotals& totals) {
  const std::uint32_t windows =
      shape.down() * (first_of_group(gx + 1, groups.across, shape.across()) -
                      first_of_group(gx, groups.across, shape.across()));
  float loss[ssim_rows][ssim_cols] = {};
  for (std::uint32_t gy = 0; gy < groups.down; ++gy) {
    const std::uint32_t from = (gx * groups.down + gy) * 3 * 32;
    SsimNumbers columns[ssim_cols];
#pragma unroll
    for (int c = 0; c < ssim_cols; ++c) columns[c] = read_numbers(at.in_b + (at.b[c] + from));
#pragma unroll
    for (int r = 0; r < ssim_rows; ++r) {
      const SsimNumbers row = read_numbers(at.in_a + (at.a + from + r));
#pragma unroll
      for (int c = 0; c < ssim_cols; ++c) loss[r][c] += group_loss(row, columns[c]);
    }
  }
  const float most = 0.5f * (1 + ssim_loss_margin) * static_cast<float>(windows);
#pragma unroll
  for (int p = 0; p < ssim_rows * ssim_cols; ++p) {
    const float left =
        __fmaf_rn(-0.5f * (1 - ssim_loss_share), loss[p / ssim_cols][p % ssim_cols], most);
    totals[p][threadIdx.x].rest += sign * left;
  }
}

// Gives up the pairs that can't be above the threshold any more. Whether the warp has another.
__device__ __forceinline__ bool have_hope(float hopeless, SsimTotals& totals) {
  bool hope = false;
#pragma unroll
  for (int p = 0; p < ssim_rows * ssim_cols; ++p) {
    SsimTotal& total = totals[p][threadIdx.x];
    const bool may = total.sum + total.rest >= hopeless;
    if (!may) total.sum = ssim_nan();
    hope = hope || may;
  }
  return __any_sync(0xffffffffU, hope);
}

// Adds up the scores of a thread's pairs, from the first window column on, until none of the warp's
// has hope left; of all pairs but those given up.
__device__ __forceinline__ void add_scores(SsimPlace at, const SsimCoarse& coarse,
                                           const SsimShape& shape, const SsimGroups& groups,
                                           float hopeless, SsimTotals& totals) {
  for (std::uint32_t gx = 0; gx < groups.across; ++gx)
    add_rest(coarse, shape, groups, gx, 1.0f, totals);
  SsimRing ring;
#pragma unroll
  for (int p = 0; p < ssim_rows * ssim_cols; ++p) ring.score[p / ssim_cols][p % ssim_cols] = 0;
  for (std::uint32_t gx = 0; have_hope(hopeless, totals) && gx < groups.across; ++gx) {
    const std::uint32_t end = first_of_group(gx + 1, groups.across, shape.across());
    for (std::uint32_t x = first_of_group(gx, groups.across, shape.across()); x < end; ++x) {
      enter_first(at, ring);
      at.pass(ssim_side);
      at.pass(enter_others(at, shape.height, ring, totals));
      put_away(ring, totals);
    }
    add_rest(coarse, shape, groups, gx, -1.0f, totals);
  }
}

__device__ inline bool is_asked_for(const Pairs& pairs, Place place) {
  return place.row < pairs.n_rows && place.col < pairs.n_cols &&
         pairs.first_j + place.col - (pairs.first_i + place.row) >= pairs.gap;
}

// The images of a block, prepared.
struct SsimImages {
  const SsimEntry* entries;
  const float4* numbers;
  std::uint32_t last_group;  // of 32 images
};

// Blocks (rows / 16, columns / 96); a warp has 4 rows. The launch begins at images pairs.row of a
// and pairs.col of b, multiples of 32.
__global__ void __launch_bounds__(ssim_threads, 3)
    ssim_score(SsimImages a, SsimImages b, SsimShape shape, SsimGroups groups, SsimBounds bounds,
               Pairs pairs, Sink sink) {
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
    totals[p][threadIdx.x] = {counts ? 0.0f : ssim_nan(), 0.0f, 0.0f};
    any = any || counts;
  }

  // 2. Scores, of warps that have a pair
  if (__any_sync(0xffffffffU, any)) {
    const auto i = static_cast<std::uint32_t>(pairs.row + first_row);
    SsimPlace at{a.entries + shape.column(i / 32, 0) + i % 32, {}};
    SsimCoarse coarse{
        a.numbers, b.numbers, static_cast<std::uint32_t>(groups.column(i / 32, 0)) + i % 32, {}};
#pragma unroll
    for (int c = 0; c < ssim_cols; ++c) {
      const std::uint32_t group =
          min(static_cast<std::uint32_t>(pairs.col + first_col) / 32 + c, b.last_group);
      at.b[c] = b.entries + shape.column(group, 0) + lane;
      coarse.b[c] = static_cast<std::uint32_t>(groups.column(group, 0)) + lane;
    }
    add_scores(at, coarse, shape, groups, bounds.hopeless, totals);
  }

  // 3. To the sink
  keep<ssim_rows * ssim_cols>(
      sink, pairs, place,
      [&](int p) {
        const float sum = totals[p][threadIdx.x].sum;
        if (!(sum >= bounds.no)) return Verdict::no;
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
