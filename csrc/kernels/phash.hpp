// The passes of the perceptual hash: Pillow's 8-bit resampling and the low corner of a DCT.
//
// Pillow resamples rows, then columns, with weights of 22 fractional bits, and rounds to 8 bits
// after each pass. The sums are exact int32, so any order of additions gives Pillow's bytes.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

constexpr int resample_bits = 32 - 8 - 2;

static inline std::uint8_t resample_round(std::uint32_t total) {
  const std::int32_t grey = static_cast<std::int32_t>(total) >> resample_bits;
  return static_cast<std::uint8_t>(grey < 0 ? 0 : grey > 255 ? 255 : grey);
}

// image (height, width) -> out (height, n_out): column k of out weighs n_taps columns of image from
// first[k] on. A weight is high * 2^11 + low, so that both halves fit the 16-bit multiply-add.
//   first (n_out); high, low (n_out, n_taps), n_taps a multiple of 16, unused weights zero
//   row (width + n_taps)    scratch
static void resample_rows(const std::uint8_t* image, std::size_t height, std::size_t width,
                          const std::int32_t* first, const std::int16_t* high,
                          const std::int16_t* low, std::size_t n_taps, std::size_t n_out,
                          std::int16_t* row, std::uint8_t* out) {
  for (std::size_t t = 0; t < n_taps; ++t) row[width + t] = 0;
  for (std::size_t y = 0; y < height; ++y) {
    for (std::size_t x = 0; x < width; ++x) row[x] = image[y * width + x];
    for (std::size_t k = 0; k < n_out; ++k) {
      const std::int16_t* pixels = row + first[k];
      const std::int16_t* h = high + k * n_taps;
      const std::int16_t* l = low + k * n_taps;
      std::int32_t high_total = 0, low_total = 0;
      for (std::size_t t = 0; t < n_taps; ++t) {
        high_total += pixels[t] * h[t];
        low_total += pixels[t] * l[t];
      }
      // The whole sum fits 32 bits, though the shifted half may not.
      const std::uint32_t total =
          (static_cast<std::uint32_t>(high_total) << 11) + static_cast<std::uint32_t>(low_total);
      out[y * n_out + k] = resample_round(total + (1u << (resample_bits - 1)));
    }
  }
}

// image (height, width) -> out (n_out, width), likewise by rows; count[k] rows from first[k] on.
//   total (width)    scratch
static void resample_columns(const std::uint8_t* image, std::size_t width,
                             const std::int32_t* first, const std::int32_t* count,
                             const std::int16_t* high, const std::int16_t* low, std::size_t n_taps,
                             std::size_t n_out, std::int32_t* total, std::uint8_t* out) {
  for (std::size_t k = 0; k < n_out; ++k) {
    for (std::size_t x = 0; x < width; ++x) total[x] = 1 << (resample_bits - 1);
    for (std::int32_t t = 0; t < count[k]; ++t) {
      const std::uint8_t* pixels = image + static_cast<std::size_t>(first[k] + t) * width;
      const std::size_t tap = k * n_taps + static_cast<std::size_t>(t);
      const std::int32_t weight = high[tap] * (1 << 11) + low[tap];
      for (std::size_t x = 0; x < width; ++x) total[x] += pixels[x] * weight;
    }
    for (std::size_t x = 0; x < width; ++x)
      out[k * width + x] = resample_round(static_cast<std::uint32_t>(total[x]));
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
