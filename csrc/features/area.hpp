// A grey image made smaller by area: OpenCV's resize with INTER_AREA, bit for bit, several times as
// fast. Each output pixel is the mean of the part of the image it covers, pixels on the edge of
// that part weighted by their share; all in float32, rows from the left, then columns from the top.
//
// Not here: sizes that divide the image's on both sides, which OpenCV adds up in integers, and
// enlarging, for which it has another rule.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "../kernels.hpp"

namespace clusterimg {

constexpr std::size_t area_rows_at_once = 16;

// Which pixels of a side, by which weights, make each output pixel; weights one after another.
struct AreaTable {
  std::vector<std::int32_t> first, count;
  std::vector<float> weights;
};

inline double area_scale(std::size_t n_in, std::size_t n_out) {
  return 1.0 / (static_cast<double>(n_out) / static_cast<double>(n_in));
}

// OpenCV's table: pixels that overlap by a thousandth of a pixel or less are left out.
inline AreaTable make_area_table(std::size_t n_in, std::size_t n_out) {
  const double scale = area_scale(n_in, n_out);
  AreaTable table;
  for (std::size_t k = 0; k < n_out; ++k) {
    const double begin = static_cast<double>(k) * scale;
    const double end = begin + scale;
    const double length = std::min(scale, static_cast<double>(n_in) - begin);
    const int last = std::min(static_cast<int>(std::floor(end)), static_cast<int>(n_in) - 1);
    const int inner = std::min(static_cast<int>(std::ceil(begin)), last);
    const std::size_t n_before = table.weights.size();
    const bool has_head = inner - begin > 1e-3;
    if (has_head) table.weights.push_back(static_cast<float>((inner - begin) / length));
    table.weights.insert(table.weights.end(), static_cast<std::size_t>(last - inner),
                         static_cast<float>(1.0 / length));
    if (end - last > 1e-3)
      table.weights.push_back(
          static_cast<float>(std::min(std::min(end - last, 1.0), length) / length));
    table.first.push_back(inner - (has_head ? 1 : 0));
    table.count.push_back(static_cast<std::int32_t>(table.weights.size() - n_before));
  }
  return table;
}

// Whether shrink_area serves: OpenCV adds up in integers where both scales are whole.
inline bool can_shrink_area(std::size_t height, std::size_t width, std::size_t n_rows,
                            std::size_t n_columns) {
  const auto is_whole = [](double scale) {
    return std::fabs(scale - std::nearbyint(scale)) < std::numeric_limits<double>::epsilon();
  };
  const double y = area_scale(height, n_rows), x = area_scale(width, n_columns);
  return y >= 1.0 && x >= 1.0 && !(is_whole(y) && is_whole(x));
}

inline std::uint8_t area_round(float total) {
  constexpr float big = 12582912.0F;       // 1.5 * 2^23: a float this large holds no fraction
  const float grey = (total + big) - big;  // ties to even, as OpenCV; no call of a library
  return static_cast<std::uint8_t>(grey > 255.0F ? 255.0F : grey);
}

// image (height, width) -> out (n_rows, n_columns)
inline void shrink_area(const std::uint8_t* image, std::size_t height, std::size_t width,
                        std::size_t n_rows, std::size_t n_columns, std::uint8_t* out) {
  constexpr std::size_t step = area_rows_at_once;
  const AreaTable x = make_area_table(width, n_columns), y = make_area_table(height, n_rows);
  std::vector<std::uint8_t> columns(width * step), tail(width * step);
  std::vector<float> narrow(n_columns * step), total(n_columns, 0.0F);
  const float* weights = y.weights.data();
  std::size_t row = 0;       // of out
  std::int32_t n_added = 0;  // rows of the image that are in its total
  for (std::size_t top = 0; top < height; top += step) {
    const std::size_t bottom = std::min(top + step, height);
    const std::uint8_t* rows = image + top * width;
    if (bottom - top < step) {
      std::copy(rows, rows + (bottom - top) * width, tail.begin());
      rows = tail.data();
    }
    kernels().area_rows(rows, width, x.first.data(), x.count.data(), x.weights.data(), n_columns,
                        columns.data(), narrow.data());
    for (; row < n_rows; ++row, n_added = 0) {
      for (; n_added < y.count[row]; ++n_added) {
        const std::size_t source = static_cast<std::size_t>(y.first[row] + n_added);
        if (source >= bottom) break;
        const float weight = weights[n_added];
        for (std::size_t k = 0; k < n_columns; ++k)
          total[k] += weight * narrow[k * step + (source - top)];
      }
      if (n_added < y.count[row]) break;
      for (std::size_t k = 0; k < n_columns; ++k) out[row * n_columns + k] = area_round(total[k]);
      std::fill(total.begin(), total.end(), 0.0F);
      weights += y.count[row];
    }
  }
}

}  // namespace clusterimg
