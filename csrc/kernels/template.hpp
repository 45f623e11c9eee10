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

// The most products of two bytes that an int32 can hold: 2^31 / 255^2 = 33025, rounded down.
constexpr std::size_t template_block = 32768;

static double template_error(std::int64_t energy_a, std::int64_t energy_b, std::int64_t dot) {
  const double distance = static_cast<double>(energy_a + energy_b - 2 * dot);
  const double norm = __builtin_sqrt(static_cast<double>(energy_a) * static_cast<double>(energy_b));
  if (norm == 0.0) return distance == 0.0 ? 0.0 : 1.0;
  const double error = distance / norm;
  return error < 1.0 ? error : 1.0;
}

// Dot products of images of equal size, as int16 so that a multiply-add of pairs serves them.
//   a (n_a, n_pixels), b (n_b, n_pixels)   greys 0 to 255
//   out (n_a, n_b)                         exact
static void dot_tile(const std::int16_t* a, std::size_t n_a, const std::int16_t* b, std::size_t n_b,
                     std::size_t n_pixels, std::int64_t* out) {
  for (std::size_t k = 0; k < n_a * n_b; ++k) out[k] = 0;
  for (std::size_t start = 0; start < n_pixels; start += template_block) {
    const std::size_t stop = start + template_block < n_pixels ? start + template_block : n_pixels;
    for (std::size_t i = 0; i < n_a; ++i)
      for (std::size_t j = 0; j < n_b; ++j) {
        const std::int16_t* x = a + i * n_pixels;
        const std::int16_t* y = b + j * n_pixels;
        std::int32_t dot = 0;
        for (std::size_t p = start; p < stop; ++p) dot += x[p] * y[p];
        out[i * n_b + j] += dot;
      }
  }
}

// The least error of a template over all its positions inside an image.
//   image (height, width), templ (templ_height, templ_width), which fits inside it
//   row_energy (width)    scratch: sums of squares of a column under the template
static double template_slide(const std::uint8_t* image, std::size_t height, std::size_t width,
                             const std::uint8_t* templ, std::size_t templ_height,
                             std::size_t templ_width, std::int64_t* row_energy) {
  std::int64_t templ_energy = 0;
  for (std::size_t p = 0; p < templ_height * templ_width; ++p)
    templ_energy += static_cast<std::int32_t>(templ[p]) * templ[p];
  for (std::size_t x = 0; x < width; ++x) {
    row_energy[x] = 0;
    for (std::size_t y = 0; y + 1 < templ_height; ++y)
      row_energy[x] += static_cast<std::int32_t>(image[y * width + x]) * image[y * width + x];
  }
  double least = 1.0;
  for (std::size_t y = 0; y + templ_height <= height; ++y) {
    const std::uint8_t* entering = image + (y + templ_height - 1) * width;
    for (std::size_t x = 0; x < width; ++x)
      row_energy[x] += static_cast<std::int32_t>(entering[x]) * entering[x];
    std::int64_t patch_energy = 0;
    for (std::size_t x = 0; x + 1 < templ_width; ++x) patch_energy += row_energy[x];
    for (std::size_t x = 0; x + templ_width <= width; ++x) {
      patch_energy += row_energy[x + templ_width - 1];
      std::int64_t dot = 0;
      for (std::size_t v = 0; v < templ_height; ++v) {
        const std::uint8_t* p = image + (y + v) * width + x;
        const std::uint8_t* t = templ + v * templ_width;
        for (std::size_t start = 0; start < templ_width; start += template_block) {
          const std::size_t stop =
              start + template_block < templ_width ? start + template_block : templ_width;
          std::int32_t part = 0;
          for (std::size_t u = start; u < stop; ++u) part += p[u] * t[u];
          dot += part;
        }
      }
      const double error = template_error(templ_energy, patch_energy, dot);
      if (error < least) least = error;
      patch_energy -= row_energy[x];
    }
    const std::uint8_t* leaving = image + y * width;
    for (std::size_t x = 0; x < width; ++x)
      row_energy[x] -= static_cast<std::int32_t>(leaving[x]) * leaving[x];
  }
  return least;
}

}  // namespace clusterimg::CLUSTERIMG_ISA
