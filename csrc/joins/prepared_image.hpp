// An image with all that template matching at any position needs of it: sums of its patches, its
// spectrum. In memory that is used again for the next image.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../kernels.hpp"
#include "../pairwise.hpp"

namespace clusterimg {

// Images of any sizes, one after another.
struct RaggedImages {
  const std::uint8_t* pixels;
  const std::int64_t* offsets;  // (n + 1)
  const std::int32_t* shapes;   // (n, 2) height, width
  std::size_t n;

  const std::uint8_t* image(std::size_t k) const { return pixels + offsets[k]; }
  std::size_t height(std::size_t k) const { return static_cast<std::size_t>(shapes[2 * k]); }
  std::size_t width(std::size_t k) const { return static_cast<std::size_t>(shapes[2 * k + 1]); }
};

template <class T>
T* at_least(std::vector<T>& values, std::size_t n) {
  if (values.size() < n) values.resize(n);
  return values.data();
}

// The least power of two that is n at least; 16 rows are transformed at once.
inline std::size_t power_of_two(std::size_t n) {
  std::size_t power = 16;
  while (power < n) power *= 2;
  return power;
}

inline std::size_t log2_of(std::size_t power) {
  std::size_t log = 0;
  while (power >> (log + 1)) ++log;
  return log;
}

// The size of the transforms of an image, with their turns and scratch of one thread.
struct Fourier {
  std::size_t height = 0, width = 0;
  std::vector<float> turns_y, turns_x, a, b, rows;

  std::size_t groups() const { return width / 16 + 1; }  // of 8 columns of half a spectrum
  std::size_t steps() const { return log2_of(height) + log2_of(width) + 2; }

  void fit(std::size_t image_height, std::size_t image_width) {
    resize(height, power_of_two(image_height), turns_y);
    resize(width, power_of_two(image_width), turns_x);
    at_least(a, 32 * std::max(height, width));
    at_least(b, 16 * std::max(height, width));
  }

 private:
  static void resize(std::size_t& length, std::size_t wanted, std::vector<float>& turns) {
    if (length == wanted) return;
    length = wanted;
    turns.resize(2 * length);
    const double turn = 8.0 * std::atan(1.0) / static_cast<double>(length);
    for (std::size_t k = 0; k < length; ++k) {
      turns[2 * k] = static_cast<float>(std::cos(turn * static_cast<double>(k)));
      turns[2 * k + 1] = static_cast<float>(std::sin(turn * static_cast<double>(k)));
    }
  }
};

class PreparedImage {
 public:
  std::size_t height = 0, width = 0, stride = 0;
  double energy = 0, sum = 0, mean = 0;

  const std::int16_t* greys() const { return greys_.data(); }
  const float* spectrum() const { return spectrum_.data(); }
  // Corners, once patches have been asked for.
  const double* squares(std::size_t y) const { return squares_.data() + y * (width + 1); }
  // What patch_sums gives, rows `lanes` apart.
  const float* energies() const { return energies_.data(); }
  const float* patch_sums() const { return patch_sums_.data(); }
  const float* inverses() const { return inverses_.data(); }
  // The root of the sum of squares of the pixels less their mean.
  double spread() const {
    return std::sqrt(energy - mean * (2.0 * sum - mean * static_cast<double>(height * width)));
  }

  // Takes another image, or keeps the one it has.
  void take(const RaggedImages& images, std::size_t k, Pulse& pulse) {
    if (source_ == images.image(k) && height == images.height(k) && width == images.width(k))
      return;
    source_ = images.image(k);
    height = images.height(k);
    width = images.width(k);
    stride = (width + 63) / 16 * 16;
    fourier_height_ = fourier_width_ = patch_height_ = patch_width_ = 0;
    has_corners_ = false;
    sum = energy = 0;
    at_least(greys_, height * stride);
    for (std::size_t y = 0; y < height; ++y) take_row(y, pulse);
    mean = std::floor(sum / static_cast<double>(height * width) + 0.5);
  }

  // Adds what bounds need of all patches of a size; rows are `lanes` apart, a multiple of 16.
  void cut(std::size_t patch_height, std::size_t patch_width, std::size_t lanes, Pulse& pulse) {
    if (patch_height_ == patch_height && patch_width_ == patch_width) return;
    patch_height_ = patch_height;
    patch_width_ = patch_width;
    sum_corners(pulse);
    const std::size_t rows = height - patch_height + 1, n = width - patch_width + 1;
    for (std::vector<float>* values : {&energies_, &patch_sums_, &inverses_})
      at_least(*values, rows * lanes);
    for (std::size_t y = 0; y < rows; ++y) {
      const std::size_t at = y * lanes, top = y * (width + 1);
      const std::size_t bottom = top + patch_height * (width + 1);
      kernels().patch_sums(&sums_[top], &sums_[bottom], &squares_[top], &squares_[bottom],
                           patch_width, n, mean, static_cast<double>(patch_height * patch_width),
                           &energies_[at], &patch_sums_[at], &inverses_[at]);
      std::fill_n(&inverses_[at + n], lanes - n, 0.0f);
      pulse.after(8 * n);
    }
  }

  // Adds the spectrum, for transforms at least as large as the image.
  void transform(Fourier& fourier, Pulse& pulse) {
    if (fourier_height_ == fourier.height && fourier_width_ == fourier.width) return;
    fourier_height_ = fourier.height;
    fourier_width_ = fourier.width;
    const std::size_t block = 16 * fourier.height;
    float *a = fourier.a.data(), *b = fourier.b.data();
    at_least(spectrum_, fourier.groups() * block);
    // Of the last group only the first column is written.
    std::fill_n(spectrum_.data() + (fourier.groups() - 1) * block, block, 0.0f);
    for (std::size_t y = 0; y < height; y += 16) transform_rows(fourier, y, pulse);
    for (std::size_t group = 0; group < fourier.groups(); ++group) {
      float* column = spectrum_.data() + group * block;
      const std::size_t filled = (height + 15) / 16 * 16;  // with rows of zeros in the last set
      std::fill_n(column + 16 * filled, 16 * (fourier.height - filled), 0.0f);
      kernels().fourier_columns(column, fourier.height, fourier.turns_y.data(), a, fourier.height,
                                b, 16);
      std::copy_n(b, block, column);
      pulse.after(block * 2);
    }
  }

 private:
  void take_row(std::size_t y, Pulse& pulse) {
    const std::uint8_t* row = source_ + y * width;
    kernels().widen_greys(row, width, &greys_[y * stride]);
    std::fill_n(&greys_[y * stride + width], stride - width, std::int16_t{0});
    for (std::size_t x = 0; x < width; x += dot_block)
      kernels().grey_sums(row + x, std::min(dot_block, width - x), &sum, &energy);
    pulse.after(2 * width);
  }

  void sum_corners(Pulse& pulse) {
    if (has_corners_) return;
    has_corners_ = true;
    std::fill_n(at_least(sums_, (height + 1) * (width + 1)), width + 1, 0.0);
    std::fill_n(at_least(squares_, (height + 1) * (width + 1)), width + 1, 0.0);
    for (std::size_t y = 0; y < height; ++y) {
      const std::size_t above = y * (width + 1), below = above + width + 1;
      kernels().corner_sums(source_ + y * width, width, &sums_[above], &squares_[above],
                            &sums_[below], &squares_[below]);
      pulse.after(4 * width);
    }
  }

  // The spectra of 16 rows, into the columns of all groups.
  void transform_rows(Fourier& fourier, std::size_t y, Pulse& pulse) {
    float *a = fourier.a.data(), *b = fourier.b.data();
    float* rows = at_least(fourier.rows, 16 * fourier.width);
    kernels().stand_rows(source_ + y * width, std::min<std::size_t>(16, height - y), width,
                         static_cast<std::int32_t>(mean), fourier.width, a);
    kernels().fourier_columns(a, fourier.width, fourier.turns_x.data(), b, fourier.width, rows, 16);
    float* first = spectrum_.data() + 16 * y;
    kernels().unpack_rows(rows, fourier.width, 16 * fourier.height, first, first + 128);
    pulse.after(64 * fourier.width);
  }

  const std::uint8_t* source_ = nullptr;
  std::size_t fourier_height_ = 0, fourier_width_ = 0;
  std::size_t patch_height_ = 0, patch_width_ = 0;
  bool has_corners_ = false;
  std::vector<std::int16_t> greys_;
  std::vector<double> sums_, squares_;
  std::vector<float> spectrum_, energies_, patch_sums_, inverses_;
};

}  // namespace clusterimg
