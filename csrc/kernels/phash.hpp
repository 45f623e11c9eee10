// The passes of the perceptual hash: Pillow's 8-bit resampling and the low corner of a DCT.
//
// Pillow resamples rows, then columns, with weights of 22 fractional bits, and rounds to 8 bits
// after each pass. The sums are exact int32, so any order of additions gives Pillow's bytes.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

constexpr int resample_bits = 32 - 8 - 2;

static inline std::uint8_t resample_round(std::int32_t total) {
  const std::int32_t grey = total >> resample_bits;
  return static_cast<std::uint8_t>(grey < 0 ? 0 : grey > 255 ? 255 : grey);
}

// image (height, width) -> out (height, n_out): column k of out weighs count[k] columns of image
// from first[k] on, by weights[k * n_taps ...].
static void resample_rows(const std::uint8_t* image, std::size_t height, std::size_t width,
                          const std::int32_t* first, const std::int32_t* count,
                          const std::int32_t* weights, std::size_t n_taps, std::size_t n_out,
                          std::uint8_t* out) {
  for (std::size_t y = 0; y < height; ++y)
    for (std::size_t k = 0; k < n_out; ++k) {
      const std::uint8_t* pixels = image + y * width + first[k];
      const std::int32_t* weight = weights + k * n_taps;
      const std::size_t n = static_cast<std::size_t>(count[k]);
      std::int32_t total = 0;
      for (std::size_t t = 0; t < n; ++t) total += pixels[t] * weight[t];
      out[y * n_out + k] = resample_round(total + (1 << (resample_bits - 1)));
    }
}

// image (height, width) -> out (n_out, width), likewise by rows.
//   total (width)    scratch
static void resample_columns(const std::uint8_t* image, std::size_t width,
                             const std::int32_t* first, const std::int32_t* count,
                             const std::int32_t* weights, std::size_t n_taps, std::size_t n_out,
                             std::int32_t* total, std::uint8_t* out) {
  for (std::size_t k = 0; k < n_out; ++k) {
    for (std::size_t x = 0; x < width; ++x) total[x] = 1 << (resample_bits - 1);
    for (std::int32_t t = 0; t < count[k]; ++t) {
      const std::uint8_t* pixels = image + static_cast<std::size_t>(first[k] + t) * width;
      const std::int32_t weight = weights[k * n_taps + static_cast<std::size_t>(t)];
      for (std::size_t x = 0; x < width; ++x) total[x] += pixels[x] * weight;
    }
    for (std::size_t x = 0; x < width; ++x) out[k * width + x] = resample_round(total[x]);
  }
}

// The n_low x n_low corner of the unnormalised DCT-II of a square image, float64.
//   image (size, size); cosines (size, n_low): 2 cos(pi k (2 n + 1) / (2 size))
//   rows (n_low, size)   scratch
static void low_frequencies(const std::uint8_t* image, std::size_t size, const double* cosines,
                            std::size_t n_low, double* rows, double* out) {
  for (std::size_t k = 0; k < n_low * size; ++k) rows[k] = 0.0;
  for (std::size_t y = 0; y < size; ++y)
    for (std::size_t k = 0; k < n_low; ++k) {
      const double cosine = cosines[y * n_low + k];
      for (std::size_t x = 0; x < size; ++x) rows[k * size + x] += cosine * image[y * size + x];
    }
  for (std::size_t k = 0; k < n_low; ++k) {
    double* low = out + k * n_low;
    for (std::size_t l = 0; l < n_low; ++l) low[l] = 0.0;
    for (std::size_t x = 0; x < size; ++x)
      for (std::size_t l = 0; l < n_low; ++l) low[l] += rows[k * size + x] * cosines[x * n_low + l];
  }
}

}  // namespace clusterimg::CLUSTERIMG_ISA
