// Template matching by exact integer dot products (OpenCV's TM_SQDIFF_NORMED).
//
// The error of a template T against a patch P of its size is
//   (sum T^2 + sum P^2 - 2 sum T P) / sqrt(sum T^2 * sum P^2),   at most 1;
// where the norm is 0 it is 0 if patch and template are equal, else 1. All three sums are exact
// integers, and the formula is evaluated once in float64: the same bits on every machine.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

static double template_error(std::int64_t energy_a, std::int64_t energy_b, std::int64_t dot) {
  const double distance = static_cast<double>(energy_a + energy_b - 2 * dot);
  const double norm = __builtin_sqrt(static_cast<double>(energy_a) * static_cast<double>(energy_b));
  if (norm == 0.0) return distance == 0.0 ? 0.0 : 1.0;
  const double error = distance / norm;
  return error < 1.0 ? error : 1.0;
}

// Adds the dot products of a block of pixels of images of equal size, as int16 so that a
// multiply-add of pairs serves them.
//   a (n_a, stride), b (n_b, stride)   greys 0 to 255, n_pixels <= dot_block of each row
//   out (n_a, n_b)                     exact
static void dot_tile(const std::int16_t* a, std::size_t n_a, const std::int16_t* b, std::size_t n_b,
                     std::size_t stride, std::size_t n_pixels, std::int64_t* out) {
  for (std::size_t i = 0; i < n_a; ++i)
    for (std::size_t j = 0; j < n_b; ++j) {
      const std::int16_t* x = a + i * stride;
      const std::int16_t* y = b + j * stride;
      std::int32_t dot = 0;
      for (std::size_t p = 0; p < n_pixels; ++p) dot += x[p] * y[p];
      out[i * n_b + j] += dot;
    }
}

// Adds the squares of a row of greys, or takes them away.
//   row, out (n); sign 1 or -1
static void add_squares(const std::uint8_t* row, std::size_t n, std::int32_t sign,
                        std::int64_t* out) {
  for (std::size_t x = 0; x < n; ++x) out[x] += sign * row[x] * row[x];
}

// The least error of a template at n positions side by side in an image.
//   image (templ_height, n + templ_width - 1), rows `stride` apart
//   templ (templ_height, templ_width), templ_energy its sum of squares
//   energy (n + templ_width - 1)       sums of squares of the image's columns
static double template_span(const std::uint8_t* image, std::size_t stride, std::size_t n,
                            const std::uint8_t* templ, std::size_t templ_height,
                            std::size_t templ_width, std::int64_t templ_energy,
                            const std::int64_t* energy) {
  std::int64_t patch_energy = 0;
  for (std::size_t x = 0; x + 1 < templ_width; ++x) patch_energy += energy[x];
  double least = 1.0;
  for (std::size_t x = 0; x < n; ++x) {
    patch_energy += energy[x + templ_width - 1];
    std::int64_t dot = 0;
    for (std::size_t v = 0; v < templ_height; ++v) {
      const std::uint8_t* p = image + v * stride + x;
      const std::uint8_t* t = templ + v * templ_width;
      for (std::size_t start = 0; start < templ_width; start += dot_block) {
        const std::size_t stop = start + dot_block < templ_width ? start + dot_block : templ_width;
        std::int32_t part = 0;
        for (std::size_t u = start; u < stop; ++u) part += p[u] * t[u];
        dot += part;
      }
    }
    const double error = template_error(templ_energy, patch_energy, dot);
    if (error < least) least = error;
    patch_energy -= energy[x];
  }
  return least;
}

}  // namespace clusterimg::CLUSTERIMG_ISA
