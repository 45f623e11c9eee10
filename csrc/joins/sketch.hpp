// Sketches of images of one size, from which a join sees that a pair is not similar.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../kernels.hpp"
#include "../parallel.hpp"

namespace clusterimg {

// kernels/sketch.hpp has what the numbers are.
class Sketches {
 public:
  Sketches(const std::uint8_t* images, std::size_t n, std::size_t height, std::size_t width,
           int n_threads, Monitor& monitor)
      : images_(images),
        n_(n),
        height_(height),
        width_(width),
        rows_(n * sketch_size),
        lanes_((n + 15) / 16 * 16 * sketch_size),
        energies_(n),
        roots_(n),
        inverses_(n) {
    for_each_unit((n + 15) / 16, n_threads, monitor, [&] { return Scratch(width, monitor); },
                  [&](std::size_t unit, Scratch& scratch) {
                    for (std::size_t k = 16 * unit; k < std::min(n_, 16 * unit + 16); ++k)
                      draw(k, scratch);
                  });
  }

  const std::int16_t* row(std::size_t k) const { return rows_.data() + k * sketch_size; }
  const std::int16_t* lanes(std::size_t k) const { return lanes_.data() + k * sketch_size; }
  const double* energies(std::size_t k) const { return energies_.data() + k; }
  const float* roots(std::size_t k) const { return roots_.data() + k; }
  const float* inverses(std::size_t k) const { return inverses_.data() + k; }

 private:
  static constexpr std::size_t down = 5, along = 6;  // rectangles; the rest is one more number
  struct Scratch {
    std::vector<std::int32_t> columns;
    Pulse pulse;
    Scratch(std::size_t width, Monitor& monitor) : columns(width), pulse(monitor) {}
  };

  void draw(std::size_t k, Scratch& scratch) {
    const std::uint8_t* image = images_ + k * height_ * width_;
    double numbers[sketch_size] = {}, energy = 0, rest = 0;
    for (std::size_t v = 0; v < down; ++v) {
      const std::size_t top = v * height_ / down, bottom = (v + 1) * height_ / down;
      std::fill(scratch.columns.begin(), scratch.columns.end(), 0);
      for (std::size_t y = top; y < bottom; ++y) {
        energy += kernels().add_row(image + y * width_, width_, scratch.columns.data());
        scratch.pulse.after(width_);
      }
      for (std::size_t u = 0; u < along; ++u) {
        const std::size_t left = u * width_ / along, right = (u + 1) * width_ / along;
        double sum = 0;
        for (std::size_t x = left; x < right; ++x) sum += scratch.columns[x];
        const std::size_t area = (bottom - top) * (right - left);
        if (area > 0) numbers[v * along + u] = sum / std::sqrt(static_cast<double>(area));
      }
    }
    for (double number : numbers) rest += number * number;
    numbers[down * along] = std::sqrt(std::max(0.0, energy - rest));
    keep(k, numbers, energy);
  }

  void keep(std::size_t k, const double* numbers, double energy) {
    const double root = std::sqrt(energy), inverse = energy > 0 ? 1.0 / root : 0.0;
    energies_[k] = energy;
    roots_[k] = static_cast<float>(root);
    inverses_[k] = static_cast<float>(inverse);
    for (std::size_t at = 0; at < sketch_size; ++at) {
      const auto number =
          static_cast<std::int16_t>(std::lround(numbers[at] * inverse * sketch_unit));
      rows_[k * sketch_size + at] = number;
      lanes_[k / 8 * 8 * sketch_size + at / 2 * 16 + k % 8 * 2 + at % 2] = number;
    }
  }

  const std::uint8_t* images_;
  std::size_t n_, height_, width_;
  std::vector<std::int16_t> rows_, lanes_;
  std::vector<double> energies_;
  std::vector<float> roots_, inverses_;
};

}  // namespace clusterimg
