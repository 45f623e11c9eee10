// One template in one image. Positions that a bound proves no better than one already seen are
// passed over; the others are scored by exact integer sums, so the score is the canonical one at
// once.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../kernels.hpp"
#include "../pairwise.hpp"
#include "prepared_image.hpp"

namespace clusterimg {

// The search for the position of the least error of one template in one image.
//
// Where it is the cheaper way, a Fourier transform gives the products of sums of all positions,
// less exactly; those that may be best are scored exactly, the most promising first.
//
// Transforms. Let N be the count of numbers, u = 2^-24, and d = 8 u times log2(N) + 2: the steps of
// a transform, and the packing of rows in pairs. A step changes the root of the sum of squares by
// the rounded turn (u), the complex product (4 sqrt(2) u) and the sum (u), by less than 8 u
// together (Higham, Accuracy and Stability of Numerical Algorithms, 24.1). |x| is that root.
//
// 1. A spectrum F of an image f is off by d |F|. Its part in a product of sums with a template t is
//    1/N sum |F - F'| |T| <= d |f| |t| by Cauchy-Schwarz and Parseval; so is the part of T.
// 2. A product of two spectra's numbers is rounded by 4 u of it: 4 u |f| |t| in a product of sums.
// 3. The transform back of G = F T is off by d |G| / sqrt(N) as a whole, and so in each number; by
//    sqrt(2) of that at most where two rows share the first column.
//
// d is below 1/1000. A hundredth more than 1 and 2, and twice 3, have room for its square and
// for how |G| is rounded.
//
// Bounds. With p and q the pixels less the image's mean m, and n the template's, the distance is
//   |p|^2 + |q|^2 - 2 sum (P - m) (T - n) - 2 (n - m) sum p.
// No term is above 4 (|p|^2 + |q|^2), by 2 x y <= x^2 + y^2, so that the roundings of the eight
// steps of product_bounds are below 2^-18 of |p|^2 + |q|^2; those of its factors, below 2^-18 of a
// bound.
class Slide {
 public:
  struct Memory {
    std::vector<float> bounds;   // of each position, rows `lanes` apart
    std::vector<float> columns;  // of half the spectrum's rows
    std::vector<float> products;
    std::vector<float> least;  // bound of each row of positions
    Fourier fourier;
  };

  // Errors of `limit` or more need not be told apart.
  Slide(PreparedImage& image, PreparedImage& templ, double limit, Memory& memory, Pulse& pulse)
      : image_(image),
        templ_(templ),
        rows_(image.height - templ.height + 1),
        places_(image.width - templ.width + 1),
        lanes_((places_ + chunk - 1) / chunk * chunk),
        cut_(std::min(1.0, limit)),
        memory_(memory),
        pulse_(pulse) {}

  // The least error, or one of `limit` or more if that is.
  double least() {
    if (templ_.energy == 0.0) return black();
    memory_.fourier.fit(image_.height, image_.width);
    image_.cut(templ_.height, templ_.width, lanes_, pulse_);
    nothing_known();
    if (is_transformed()) {
      bound_by_products();
      score_best();
    }
    for (std::size_t y = 0; y < rows_; ++y)
      if (is_open(memory_.least[y])) score_row(y);
    return least_;
  }

  // What no error is below, (rows, places) positions, by a transform: for tests of the bounds.
  void lower_bounds(float* out) {
    memory_.fourier.fit(image_.height, image_.width);
    image_.cut(templ_.height, templ_.width, lanes_, pulse_);
    nothing_known();
    bound_by_products();
    for (std::size_t y = 0; y < rows_; ++y) std::copy_n(bounds(y), places_, out + y * places_);
  }

 private:
  static constexpr std::size_t chunk = 16;  // lanes of a row are a multiple of it
  static constexpr std::size_t most_transformed = std::size_t{1}
                                                  << 22;  // numbers; 50 MB for two spectra

  // All errors of a black template are 0 or 1.
  double black() {
    image_.cut(templ_.height, templ_.width, lanes_, pulse_);
    for (std::size_t y = 0; y < rows_; ++y) {
      for (std::size_t x = 0; x < places_; ++x)
        if (patch_energy(y, x) == 0.0) return 0.0;
      pulse_.after(places_);
    }
    return 1.0;
  }

  double patch_energy(std::size_t y, std::size_t x) const {
    const double *top = image_.squares(y) + x, *bottom = image_.squares(y + templ_.height) + x;
    return bottom[templ_.width] - bottom[0] - (top[templ_.width] - top[0]);
  }

  void nothing_known() {
    std::fill_n(at_least(memory_.bounds, rows_ * lanes_), rows_ * lanes_, -1.0f);
    for (std::size_t y = 0; y < rows_; ++y)  // nothing is at the lanes after the last position
      std::fill_n(bounds(y) + places_, lanes_ - places_, 2.0f);
    at_least(memory_.least, rows_);
    std::fill_n(memory_.least.begin(), rows_, -1.0f);
    pulse_.after(rows_ * lanes_);
  }

  float* bounds(std::size_t y) { return &memory_.bounds[y * lanes_]; }

  // Whether a position with that bound may have an error that counts.
  bool is_open(float bound) const { return static_cast<double>(bound) * (1.0 - 0x1p-18) < cut_; }

  bool is_open(std::size_t y, std::size_t x, std::size_t n) {
    bool open = false;
    for (std::size_t k = x; k < x + n; ++k) open |= is_open(bounds(y)[k]);
    return open;
  }

  // Cycles, about, of either way.
  std::size_t cost_of_scores() const {
    return rows_ * lanes_ / 4 * templ_.height * (templ_.width / 16 * 5 + 15);
  }
  std::size_t cost_of_transform() const {
    const Fourier& f = memory_.fourier;
    return f.groups() * f.height * (3 * log2_of(f.height) + 4) +
           (rows_ + 15) / 16 * f.width * (3 * log2_of(f.width) + 30);
  }
  bool is_transformed() const {
    const Fourier& f = memory_.fourier;
    return f.height * f.width <= most_transformed && cost_of_transform() < cost_of_scores();
  }

  // Bounds of all positions from the products of sums, less what these may be off by.
  void bound_by_products() {
    Fourier& f = memory_.fourier;
    image_.transform(f, pulse_);
    templ_.transform(f, pulse_);
    const double power = multiply();
    const double count = static_cast<double>(f.height * f.width);
    const double off = 0x1p-24 * 8.0 * static_cast<double>(f.steps());
    const double most = 1.01 * image_.spread() * templ_.spread();
    // Spectra are doubled by the unpacking of rows, products four times what they are.
    const double error =
        (2.0 * off + 4.0 * 0x1p-24) * most + 2.02 * off * std::sqrt(2.0 * power / count) / 4.0;
    const double area = static_cast<double>(templ_.height * templ_.width);
    const double energy = templ_.energy - image_.mean * (2.0 * templ_.sum - image_.mean * area);
    const Against against{
        static_cast<float>(energy),      1.0f - 0x1p-18f,
        static_cast<float>(0.5 / count), static_cast<float>(2.0 * (templ_.mean - image_.mean)),
        static_cast<float>(2.0 * error), static_cast<float>(1.0 / std::sqrt(templ_.energy))};
    for (std::size_t y = 0; y < rows_; y += 16) transform_back(y, against);
  }

  // The columns of the products of two spectra, transformed; returns the sum of their squares.
  double multiply() {
    Fourier& f = memory_.fourier;
    const std::size_t block = 16 * f.height, apart = 16 * f.groups();
    const std::size_t sets = (rows_ + 15) / 16;
    // Rows are transformed in pairs: what a row that isn't there holds would round the other's.
    float* columns = at_least(memory_.columns, sets * 16 * apart);
    std::fill(columns + rows_ * apart, columns + sets * 16 * apart, 0.0f);
    double power = 0.0;
    for (std::size_t group = 0; group < f.groups(); ++group) {
      power += static_cast<double>(kernels().product_columns(
          image_.spectrum() + group * block, templ_.spectrum() + group * block, f.height,
          f.turns_y.data(), f.a.data(), rows_, columns + 16 * group, apart));
      pulse_.after(block);
    }
    return power;
  }

  // The bounds of 16 rows of positions.
  void transform_back(std::size_t y, const Against& against) {
    Fourier& f = memory_.fourier;
    const std::size_t apart = 16 * f.groups();
    const float* columns = memory_.columns.data() + y * apart;
    float* columns_back = at_least(f.rows, 16 * f.width);
    float* products = at_least(memory_.products, 16 * lanes_);
    kernels().pack_rows(columns, columns + 8 * apart, apart, f.width, f.a.data());
    kernels().fourier_columns(f.a.data(), f.width, f.turns_x.data(), f.b.data(), places_,
                              columns_back, 16);
    kernels().turn_rows(columns_back, (places_ + 7) / 8 * 8, products, lanes_);
    for (std::size_t lane = 0; lane < 16 && y + lane < rows_; ++lane) {
      const std::size_t at = (y + lane) * lanes_;
      kernels().product_bounds(products + lane * lanes_, image_.energies() + at,
                               image_.patch_sums() + at, image_.inverses() + at, places_, against,
                               bounds(y + lane));
      memory_.least[y + lane] = kernels().least_bound(bounds(y + lane), lanes_);
    }
    pulse_.after(16 * f.width);
  }

  // Scores the position of the least bound, and its neighbours.
  void score_best() {
    const auto best = std::min_element(memory_.least.begin(), memory_.least.begin() + rows_);
    const std::size_t y = static_cast<std::size_t>(best - memory_.least.begin());
    if (!is_open(*best)) return;
    const float* row = bounds(y);
    score(y, static_cast<std::size_t>(std::min_element(row, row + places_) - row) / 4 * 4);
  }

  void score_row(std::size_t y) {
    for (std::size_t x = 0; x < places_; x += 4)
      if (is_open(y, x, 4)) score(y, x);
  }

  // The exact errors of four positions.
  void score(std::size_t y, std::size_t x) {
    const std::size_t width = (templ_.width + 15) / 16 * 16;
    double dots[4];
    kernels().patch_dots(image_.greys() + y * image_.stride + x, image_.stride, templ_.greys(),
                         templ_.stride, templ_.height, width, dots);
    for (std::size_t k = 0; k < 4 && x + k < places_; ++k) {
      const double energy = patch_energy(y, x + k);
      const double norm = std::sqrt(templ_.energy * energy);
      if (norm > 0.0) least_ = std::min(least_, (templ_.energy + energy - 2.0 * dots[k]) / norm);
    }
    std::fill_n(bounds(y) + x, 4, 2.0f);
    cut_ = std::min(cut_, least_);
    pulse_.after(4 * templ_.height * width / 16);
  }

  PreparedImage& image_;
  PreparedImage& templ_;
  std::size_t rows_, places_, lanes_;
  double cut_, least_ = 1.0;
  Memory& memory_;
  Pulse& pulse_;
};

}  // namespace clusterimg
