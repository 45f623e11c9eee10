// Upper bounds of the dot products of images of one size, by 32 numbers of each instead of its
// pixels.
//
// Cut the image into 31 rectangles at most. With s the sum of the pixels of one of area m, let P
// have a number s / sqrt(m) for each rectangle, and R be the root of what P lacks of the image's
// energy E = sum p^2:   R^2 = E - |P|^2, the sum of squares of the pixels less the mean of their
// rectangle. A dot product of two images is that of their means and that of the rests, for a rest
// sums to 0 in each rectangle. By Cauchy-Schwarz it is at most P_a P_b + R_a R_b = S_a S_b with S =
// (P, R). As |S|^2 = E, u = S / sqrt(E) has length 1, and the error of the pair is
//   x + 1 / x - 2 dot / sqrt(E_a E_b) >= x + 1 / x - 2 u_a u_b,   x = sqrt(E_a / E_b).
//
// Rounding. The numbers of u are kept as integers, q = u * sketch_unit rounded, each off by 1/2 and
// some 2^-9 of float64 and so 32 of them by 2.9 in the root of the sum of squares. By
// Cauchy-Schwarz q_a q_b, exact in int32 (at most (sketch_unit + 2.9)^2 < 2^31), is off by 2 * 2.9
// sketch_unit + 2.9^2 at most: u_a u_b <= q_a q_b / sketch_unit^2 + 1.8e-4. The float32 steps of
// sketch_hits are off by 8 parts in 2^24 of x + 1 / x, which is below 4 wherever that matters:
// 2e-6. sketch_slack covers both, twice the first, and the rounding of the score itself.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

// Adds a row of greys to the sums of columns; returns their sum of squares.
static double add_row(const std::uint8_t* greys, std::size_t n, std::int32_t* columns) {
  std::int64_t squares = 0;
  for (std::size_t start = 0; start < n; start += dot_block) {
    const std::size_t stop = start + dot_block < n ? start + dot_block : n;
    std::int32_t part = 0;
    for (std::size_t x = start; x < stop; ++x) {
      columns[x] += greys[x];
      part += greys[x] * greys[x];
    }
    squares += part;
  }
  return static_cast<double>(squares);
}

// The products of a sketch with many.
//   a (sketch_size)
//   b (n / 8, sketch_size / 2, 8, 2)    sketches of 8 images side by side, two numbers of each by
//   turns out (n)                             n a multiple of 16
static void sketch_row(const std::int16_t* a, const std::int16_t* b, std::size_t n,
                       std::int32_t* out) {
#if defined(CLUSTERIMG_INT16_LANES)
  constexpr std::size_t lanes = int16_lanes / 2, parts = 16 / lanes;
  for (std::size_t j = 0; j < n; j += 16, b += 16 * sketch_size) {
    Int16s sums[parts] = {};
    for (std::size_t k = 0; k < sketch_size / 2; ++k) {
      Int16s both = pair16(a + 2 * k);
      hold(both);
      for (std::size_t part = 0; part < parts; ++part) {
        const std::size_t image = part * lanes;
        add_products(sums[part], load16(b + image / 8 * 8 * sketch_size + 16 * k + image % 8 * 2),
                     both);
      }
    }
    for (std::size_t part = 0; part < parts; ++part) store16(out + j + part * lanes, sums[part]);
  }
#else
  for (std::size_t j = 0; j < n; ++j) {
    const std::int16_t* sketch = b + j / 8 * 8 * sketch_size + j % 8 * 2;
    std::int32_t sum = 0;
    for (std::size_t k = 0; k < sketch_size; ++k) sum += a[k] * sketch[k / 2 * 16 + k % 2];
    out[j] = sum;
  }
#endif
}

// Which products leave it open whether an error is below `most`.
//   root, inverse              of the energy of one image; 0 and 0 where that is 0
//   roots, inverses (n)        of the others
//   out (n)                    rising; returns how many
static std::size_t sketch_hits(const std::int32_t* products, std::size_t n, float root,
                               float inverse, const float* roots, const float* inverses, float most,
                               std::uint32_t* out) {
  constexpr float unit = 2.0f / (static_cast<float>(sketch_unit) * sketch_unit);
  std::size_t hits = 0;
  for (std::size_t j = 0; j < n; j += 16) {
    const std::size_t stop = j + 16 < n ? j + 16 : n;
    std::int32_t any = 0;
    for (std::size_t k = j; k < stop; ++k)
      any |=
          root * inverses[k] + inverse * roots[k] - static_cast<float>(products[k]) * unit < most;
    if (any == 0) continue;
    for (std::size_t k = j; k < stop; ++k) {
      out[hits] = static_cast<std::uint32_t>(k);
      hits +=
          root * inverses[k] + inverse * roots[k] - static_cast<float>(products[k]) * unit < most;
    }
  }
  return hits;
}

}  // namespace clusterimg::CLUSTERIMG_ISA
