// The perceptual hash of a grey image: Pillow's Lanczos resize to a small square, the low corner of
// its DCT, one bit per coefficient above the median (Zauner 2010; ImageHash's phash).
//
// A coefficient within 1e-9 of the largest one's size of the median is rounding noise of whoever
// computed it (symmetric or flat pictures have many): its bit is 0 and it is counted as a tie.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "../kernels.hpp"

namespace clusterimg {

// Which input pixels, by which weights, make each output pixel of a resize along one axis.
struct ResampleTable {
  std::size_t n_taps;
  std::vector<std::int32_t> first, count;
  std::vector<std::int16_t> high, low;  // a weight is high * 2^11 + low
};

inline double lanczos3(double x) {
  const auto sinc = [](double t) {
    constexpr double pi = 3.141592653589793238462643383279502884;
    return t == 0.0 ? 1.0 : std::sin(t * pi) / (t * pi);
  };
  return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0;
}

// Pillow's tables: the filter stretched by the scale when shrinking, normalised in float64, then
// rounded half away from zero to 22 fractional bits.
inline ResampleTable make_resample_table(std::size_t n_in, std::size_t n_out) {
  const double scale = static_cast<double>(n_in) / static_cast<double>(n_out);
  const double stretch = std::max(scale, 1.0);
  const double support = 3.0 * stretch;
  ResampleTable table;
  // At most ceil(2 support) pixels lie that near to a center, and one more by rounding.
  table.n_taps = (static_cast<std::size_t>(2.0 * support + 2.0) + 15) / 16 * 16;
  table.first.resize(n_out);
  table.count.resize(n_out);
  table.high.assign(n_out * table.n_taps, 0);
  table.low.assign(n_out * table.n_taps, 0);
  std::vector<double> tap(table.n_taps);
  for (std::size_t k = 0; k < n_out; ++k) {
    const double center = (static_cast<double>(k) + 0.5) * scale;
    const int begin = std::max(static_cast<int>(center - support + 0.5), 0);
    const int end = std::min(static_cast<int>(center + support + 0.5), static_cast<int>(n_in));
    double total = 0.0;
    for (int x = begin; x < end; ++x) {
      const double weight = lanczos3((x - center + 0.5) * (1.0 / stretch));
      tap[static_cast<std::size_t>(x - begin)] = weight;
      total += weight;
    }
    table.first[k] = begin;
    table.count[k] = end - begin;
    for (int t = 0; t < end - begin; ++t) {
      double weight = tap[static_cast<std::size_t>(t)];
      if (total != 0.0) weight /= total;
      const double fixed = weight * (1 << 22);
      const int rounded = static_cast<int>(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
      const std::size_t tap_of_k = k * table.n_taps + static_cast<std::size_t>(t);
      table.low[tap_of_k] = static_cast<std::int16_t>(rounded & 0x7ff);
      table.high[tap_of_k] = static_cast<std::int16_t>((rounded - (rounded & 0x7ff)) / 0x800);
    }
  }
  return table;
}

// The tables of the last sizes a thread has seen: folders hold few sizes, and a table costs as
// much as a hash.
inline const ResampleTable& resample_table(std::size_t n_in, std::size_t n_out) {
  struct Entry {
    std::size_t n_in, n_out;
    ResampleTable table;
  };
  static thread_local std::vector<Entry> recent;
  for (const Entry& entry : recent)
    if (entry.n_in == n_in && entry.n_out == n_out) return entry.table;
  if (recent.size() == 8) recent.erase(recent.begin(), recent.begin() + 4);
  recent.reserve(8);
  recent.push_back({n_in, n_out, make_resample_table(n_in, n_out)});
  return recent.back().table;
}

inline const std::vector<double>& dct_cosines(std::size_t size, std::size_t n_low) {
  static thread_local std::pair<std::size_t, std::vector<double>> last;
  if (last.first != size || last.second.size() != size * n_low) {
    constexpr double pi = 3.141592653589793238462643383279502884;
    last.first = size;
    last.second.resize(size * n_low);
    for (std::size_t n = 0; n < size; ++n)
      for (std::size_t k = 0; k < n_low; ++k)
        last.second[n * n_low + k] =
            2.0 * std::cos(pi * static_cast<double>(k) * static_cast<double>(2 * n + 1) /
                           static_cast<double>(2 * size));
  }
  return last.second;
}

using Pixels = std::vector<std::uint8_t>;

inline Pixels resize_width(const std::uint8_t* image, std::size_t height, std::size_t width,
                           std::size_t size) {
  if (width == size) return Pixels(image, image + height * width);
  const ResampleTable& table = resample_table(width, size);
  Pixels out(height * size);
  std::vector<std::int16_t> row(4 * (width + table.n_taps));
  kernels().resample_rows(image, height, width, table.first.data(), table.high.data(),
                          table.low.data(), table.n_taps, size, row.data(), out.data());
  return out;
}

inline Pixels resize_height(const std::uint8_t* image, std::size_t height, std::size_t width,
                            std::size_t size) {
  if (height == size) return Pixels(image, image + height * width);
  const ResampleTable& table = resample_table(height, size);
  Pixels out(size * width);
  std::vector<std::int32_t> total(width);
  kernels().resample_columns(image, width, table.first.data(), table.count.data(),
                             table.high.data(), table.low.data(), table.n_taps, size, total.data(),
                             out.data());
  return out;
}

// Pillow's resize((size, size), LANCZOS) of an 8-bit image. Since Pillow 13 the height goes first
// where it shrinks by more than twice as many pixels as the width; the rounding between the passes
// makes the order visible.
inline Pixels resize_square(const std::uint8_t* image, std::size_t height, std::size_t width,
                            std::size_t size) {
  const auto shrink = [size](std::size_t side) {
    return static_cast<std::ptrdiff_t>(side) - static_cast<std::ptrdiff_t>(size);
  };
  if (shrink(height) > 0 && shrink(height) > 2 * shrink(width))
    return resize_width(resize_height(image, height, width, size).data(), size, width, size);
  return resize_height(resize_width(image, height, width, size).data(), height, size, size);
}

// Writes hash_size^2 bits, row-major, low bit first, into words; returns how many are ties.
inline std::size_t phash(const std::uint8_t* image, std::size_t height, std::size_t width,
                         std::size_t hash_size, std::size_t highfreq_factor, std::uint64_t* words) {
  const std::size_t size = hash_size * highfreq_factor;
  const std::size_t n_bits = hash_size * hash_size;
  const Pixels small = resize_square(image, height, width, size);
  std::vector<double> pixels(size * size), rows(hash_size * size), low(n_bits);
  kernels().low_frequencies(small.data(), size, dct_cosines(size, hash_size).data(), hash_size,
                            pixels.data(), rows.data(), low.data());
  std::vector<double> sorted = low;
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(n_bits / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  const double median = (*std::max_element(sorted.begin(), middle) + *middle) / 2;
  double largest = 0.0;
  for (const double c : low) largest = std::max(largest, std::fabs(c));
  const double band = 1e-9 * largest;
  std::size_t ties = 0;
  std::fill(words, words + n_bits / 64, std::uint64_t{0});
  for (std::size_t k = 0; k < n_bits; ++k) {
    const double above = low[k] - median;
    if (above > band)
      words[k / 64] |= std::uint64_t{1} << (k % 64);
    else if (above >= -band)
      ++ties;
  }
  return ties;
}

}  // namespace clusterimg
