// A proved upper bound of mean SSIM from a few numbers for each group of neighbouring windows.
//
// A window's score is l c with the luminance part l = (2 m m' + C1) / (m^2 + m'^2 + C1) in (0, 1]
// and c = 1 - |d|^2 / (V + V' + C2), where d is the difference of the two windows, each less its
// mean, over sqrt(48), and V, V' are the sample variances. Its loss is
//   1 - l c = (1 - l) + l (1 - c),   1 - l = (m - m')^2 / (m^2 + m'^2 + C1).
//
// 1. Structure. Project a window, less its mean, on the five polynomials x, y, xy, x^2 - 4, y^2 - 4
//    (orthogonal on -3..3 and to 1). z is the five coordinates and the norm of what is left. By
//    the triangle inequality for that norm |d| >= |z - z'|, and over a group, by the triangle
//    inequality and Cauchy-Schwarz,
//      sum |d|^2 / t >= (sum |d|)^2 / sum t >= |sum z - sum z'|^2 / sum t,   t = V + V' + C2.
// 2. Luminance. Likewise sum (m - m')^2 / e >= (sum m - sum m')^2 / sum e, e = m^2 + m'^2 + C1.
// 3. l from below. sqrt(1 - l) is a metric on means (Brunet, Vrscay and Wang 2012), so it is at
// most
//    the length of the way from m to m', which is |v - v'| with v = asinh(m / sqrt(C1 / 2)) / sqrt
//    2, since 1 - l -> dm^2 / (2 m^2 + C1) for close means. With the range of v in the group on
//    both sides, l >= 1 - max(high - low', high' - low)^2 for every window of the group.
// The loss of a group is at least (2) plus that l times (1). Every step holds for any sign of c.
//
// Roundings: z is stored as the group's mean, times 127, in int16 (|z| <= 127.5 sqrt(49 / 48), so a
// difference fits too), each of six coordinates within 0.51: the difference strays by at most
// e = 2 * 0.51 sqrt 6 < 2.5. As (|D| - e)^2 >= (1 - h) |D|^2 - e^2 / h, with h = 1/256, a window
// loses at most 2.5^2 * 256 / (127^2 C2) < 0.0018 and a share of 1/256. The float32 steps are
// within 2^-16 of their results, and within 2^-14 of a window where means cancel.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

constexpr float ssim_half_c1 = 0.5f * 2.55f * 2.55f;
constexpr float ssim_half_c2 = 0.5f * 7.65f * 7.65f;

// How many of n windows belong to group g of n_groups: those with x * n_groups / n == g.
static float ssim_group_size(std::size_t g, std::size_t n_groups, std::size_t n) {
  return static_cast<float>(((g + 1) * n + n_groups - 1) / n_groups -
                            (g * n + n_groups - 1) / n_groups);
}

// What the sums over the windows of a group, of eight images, come to.
struct SsimGroup {
  Ints moment[5];  // x, y, xy, x^2 - 4, y^2 - 4
  Ints sum, low, high;
  Floats rest, variance, energy;
};

// Seven neighbours summed with weights 1, x and x^2 - 4 for x = -3..3.
struct SsimSums {
  Ints flat, slope, bend;
};

CLUSTERIMG_INLINE SsimSums ssim_sums(Ints a, Ints b, Ints c, Ints d, Ints e, Ints f, Ints g) {
  const Ints outer = a + g, middle = b + f, inner = c + e;
  const Ints rise = g - a;
  return {outer + middle + inner + d, 3 * rise + 2 * (f - b) + (e - c),
          5 * outer - 3 * inner - 4 * d};
}

// The sums of one row of seven pixels, and of their squares.
struct SsimTaps {
  SsimSums p;
  Ints square;
};

static void ssim_row_taps(const Ints* p, std::size_t across, SsimTaps* taps) {
  Ints square{};
  for (std::size_t x = 0; x < 6; ++x) square += p[x] * p[x];
  for (std::size_t x = 0; x < across; ++x) {
    square += p[x + 6] * p[x + 6];
    taps[x] = {ssim_sums(p[x], p[x + 1], p[x + 2], p[x + 3], p[x + 4], p[x + 5], p[x + 6]), square};
    square -= p[x] * p[x];
  }
}

// Adds the window under the seven rows of taps, the top one first, to its group.
CLUSTERIMG_INLINE void ssim_add_window(const SsimTaps* const* r, std::size_t x, SsimGroup* group) {
  const SsimSums flat = ssim_sums(r[0][x].p.flat, r[1][x].p.flat, r[2][x].p.flat, r[3][x].p.flat,
                                  r[4][x].p.flat, r[5][x].p.flat, r[6][x].p.flat);
  const SsimSums slope =
      ssim_sums(r[0][x].p.slope, r[1][x].p.slope, r[2][x].p.slope, r[3][x].p.slope, r[4][x].p.slope,
                r[5][x].p.slope, r[6][x].p.slope);
  const Ints bend = r[0][x].p.bend + r[1][x].p.bend + r[2][x].p.bend + r[3][x].p.bend +
                    r[4][x].p.bend + r[5][x].p.bend + r[6][x].p.bend;
  const Ints q = r[0][x].square + r[1][x].square + r[2][x].square + r[3][x].square +
                 r[4][x].square + r[5][x].square + r[6][x].square;
  const Ints s = flat.flat;
  const Ints m[5] = {slope.flat, flat.slope, slope.slope, bend, flat.bend};
  constexpr double share[5] = {1.0 / 196, 1.0 / 196, 1.0 / 784, 1.0 / 588, 1.0 / 588};
  const Doubles mean = as_doubles(s) * (1.0 / 49);
  Doubles rest = as_doubles(q) - as_doubles(s) * mean;
  group->variance += as_floats(rest * (1.0 / 48));
  group->energy += as_floats(mean * mean);
  for (std::size_t k = 0; k < 5; ++k) rest -= as_doubles(m[k]) * as_doubles(m[k]) * share[k];
  group->rest += root_of(as_floats(rest * (1.0 / 48)));
  group->low = s < group->low ? s : group->low;
  group->high = s > group->high ? s : group->high;
  group->sum += s;
  for (std::size_t k = 0; k < 5; ++k) group->moment[k] += m[k];
}

// Writes the numbers of a group of n windows into the blocks of the eight images.
//   depth (49 * 255 + 1)      v of point 3 for each window sum
//   blocks (lanes)            each (blocks, 8 numbers, 8 groups)
static void ssim_write_group(const SsimGroup& group, float n, const float* depth, std::size_t index,
                             std::int32_t* const* blocks) {
  constexpr float unit = 127.0f, widen = 1.0f + 1.0f / (1 << 20);
  // 1 / sqrt(48 * 196), 1 / sqrt(48 * 784), 1 / sqrt(48 * 588)
  constexpr float share[5] = {0.010309827f, 0.010309827f, 0.0051549136f, 0.0059523810f,
                              0.0059523810f};
  for (std::size_t lane = 0; lane < ssim_lanes; ++lane) {
    std::int32_t z[6];
    for (std::size_t k = 0; k < 6; ++k) {
      const float mean = (k < 5 ? static_cast<float>(group.moment[k][lane]) * share[k < 5 ? k : 0]
                                : group.rest[lane]) *
                         (unit / n);
      z[k] = static_cast<std::int32_t>(mean + (mean < 0 ? -0.5f : 0.5f));
    }
    std::int32_t* out = blocks[lane] + index / 8 * 64 + index % 8;
    float* numbers = reinterpret_cast<float*>(out);
    for (std::size_t k = 0; k < 3; ++k) out[8 * k] = halves(z[2 * k], z[2 * k + 1]);
    numbers[24] = (group.variance[lane] / n + ssim_half_c2) * (unit * unit / n) * widen;
    numbers[32] = static_cast<float>(group.sum[lane]) / (49 * n);
    numbers[40] = (group.energy[lane] / n + ssim_half_c1) / n * widen;
    numbers[48] = depth[group.low[lane]];
    numbers[56] = depth[group.high[lane]];
  }
}

// The numbers of groups of up to `side` x `side` windows, rows of groups first, of eight images.
//   images (lanes) of (height, width)
//   pixel (height, width, lanes), taps (7, windows across, 4, lanes), group (groups across, 11,
//   lanes)     scratch blocks                            as ssim_write_group; the last block's
//   unused groups are zero
static void ssim_numbers(const std::uint8_t* const* images, std::size_t height, std::size_t width,
                         std::size_t side, const float* depth, std::int32_t* pixel,
                         std::int32_t* taps, std::int32_t* group, std::int32_t* const* blocks) {
  const std::size_t across = width - 6, down = height - 6;
  const std::size_t groups_across = (across + side - 1) / side,
                    groups_down = (down + side - 1) / side;
  SsimTaps* rows = reinterpret_cast<SsimTaps*>(taps);
  lay_eight(images, height * width, pixel);
  SsimGroup* groups = reinterpret_cast<SsimGroup*>(group);
  std::size_t written = 0;
  for (std::size_t y = 0; y < height; ++y) {
    const Ints* p = reinterpret_cast<const Ints*>(pixel) + y * width;
    ssim_row_taps(p, across, rows + y % 7 * across);
    if (y < 6) continue;
    const std::size_t row = y - 6, of = row * groups_down / down;
    const SsimTaps* seven[7];
    for (std::size_t k = 0; k < 7; ++k) seven[k] = rows + (row + k) % 7 * across;
    if (row == 0 || of != (row - 1) * groups_down / down)
      for (std::size_t g = 0; g < groups_across; ++g) {
        groups[g] = SsimGroup{};
        groups[g].low = all_lanes(49 * 255);
      }
    for (std::size_t g = 0, x = 0; g < groups_across; ++g)
      for (; x * groups_across < (g + 1) * across; ++x) ssim_add_window(seven, x, groups + g);
    if (row + 1 < down && (row + 1) * groups_down / down == of) continue;
    for (std::size_t g = 0; g < groups_across; ++g)
      ssim_write_group(
          groups[g],
          ssim_group_size(g, groups_across, across) * ssim_group_size(of, groups_down, down), depth,
          written++, blocks);
  }
}

// The losses of the groups of one block.
CLUSTERIMG_INLINE Floats ssim_block_loss(const std::int32_t* a, const std::int32_t* b) {
  const Shorts* za = reinterpret_cast<const Shorts*>(a);
  const Shorts* zb = reinterpret_cast<const Shorts*>(b);
  const Floats* fa = reinterpret_cast<const Floats*>(a);
  const Floats* fb = reinterpret_cast<const Floats*>(b);
  Ints squares{};
#pragma GCC unroll 3
  for (std::size_t w = 0; w < 3; ++w) {
    const Ints d = Ints(za[w] - zb[w]);
    squares += multiply_halves(d, d);
  }
  const Floats apart = greater(fa[7] - fb[6], fb[7] - fa[6]);
  const Floats share = greater(1.0f - apart * apart, Floats{});
  const Floats mean = fa[4] - fb[4];
  const Floats structure = fa[3] + fb[3], luminance = fa[5] + fb[5];
  return share * as_floats(squares) / structure + mean * mean / luminance;
}

// Adds the losses of some blocks of one image against four to `sum`.
CLUSTERIMG_INLINE void ssim_add_losses(const std::int32_t* a, const std::int32_t* const* b,
                                       std::size_t first, std::size_t last, float* sum) {
  Floats total[4] = {};
  for (std::size_t k = first; k < last; ++k)
#pragma GCC unroll 4
    for (std::size_t u = 0; u < 4; ++u) total[u] += ssim_block_loss(a + 64 * k, b[u] + 64 * k);
  float more[4];
  sums_of(total, more);
  for (std::size_t u = 0; u < 4; ++u) sum[u] += more[u];
}

// Which pairs of up to ssim_rows images a and the eight images b are left when those are dropped
// whose sum of losses, but for what the roundings named above take off, is more than `enough`.
// A few blocks of all pairs come before the next blocks of any, so that they stay in the nearest
// cache; four pairs go on until all four are dropped.
//   a (n_a, blocks, 8 numbers, 8 groups), b (lanes) likewise
//   left             8 * row + lane of each pair left, rising; returns how many
static std::size_t ssim_left(const std::int32_t* a, std::size_t n_a, const std::int32_t* const* b,
                             std::size_t n_blocks, float enough, std::uint16_t* left) {
  constexpr std::size_t step = 4;
  float sum[ssim_rows * ssim_lanes];
  std::uint16_t fours[ssim_rows * 2];
  std::size_t n_fours = 2 * n_a;
  for (std::size_t k = 0; k < 8 * n_a; ++k) sum[k] = 0.0f;
  for (std::size_t k = 0; k < n_fours; ++k) fours[k] = static_cast<std::uint16_t>(k);
  for (std::size_t first = 0; first < n_blocks && n_fours > 0; first += step) {
    const std::size_t last = first + step < n_blocks ? first + step : n_blocks;
    std::size_t n_kept = 0;
    for (std::size_t k = 0; k < n_fours; ++k) {
      const std::size_t four = fours[k];
      float* s = sum + 4 * four;
      ssim_add_losses(a + four / 2 * n_blocks * 64, b + four % 2 * 4, first, last, s);
      fours[n_kept] = static_cast<std::uint16_t>(four);
      n_kept += !(s[0] > enough && s[1] > enough && s[2] > enough && s[3] > enough);
    }
    n_fours = n_kept;
  }
  std::size_t n_left = 0;
  for (std::size_t k = 0; k < n_fours; ++k)
    for (std::size_t pair = 4 * fours[k]; pair < 4U * fours[k] + 4; ++pair) {
      left[n_left] = static_cast<std::uint16_t>(pair);
      n_left += !(sum[pair] > enough);
    }
  return n_left;
}

// The losses of the groups of one pair.
//   each (blocks, 8)
static void ssim_group_losses(const std::int32_t* a, const std::int32_t* b, std::size_t n_blocks,
                              float* each) {
  for (std::size_t k = 0; k < n_blocks; ++k)
    *reinterpret_cast<LooseFloats*>(each + 8 * k) = ssim_block_loss(a + 64 * k, b + 64 * k);
}

}  // namespace clusterimg::CLUSTERIMG_ISA
