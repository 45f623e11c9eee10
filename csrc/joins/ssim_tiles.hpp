// Float32 mean SSIM of a band of images against eight others (kernels/ssim_tile.hpp), by pieces of
// the images, so that the columns of four stay in the first cache and scratch for eight is small,
// however large the images are.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../kernels.hpp"
#include "../pairwise.hpp"

namespace clusterimg {

class SsimTiles {
  // Pixels, sums and factors of the windows as kernels/ssim_tile.hpp lays them out.
  struct Images {
    AlignedScratch<std::int32_t> pixel, sum;
    AlignedScratch<float> factor;
    Images(std::size_t n_pixels, std::size_t n_windows)
        : pixel(n_pixels), sum(n_windows), factor(2 * n_windows) {}
  };

 public:
  struct Work {
    Images rows, lanes;
    AlignedScratch<std::int32_t> column;
    double total[ssim_rows * ssim_lanes];
  };

  SsimTiles(std::size_t height, std::size_t width)
      : height_(height), width_(width), n_pixels_(0), n_windows_(0), most_pixels_(0) {
    const std::size_t down = height - 6, across = width - 6;
    const std::size_t n_down = (down + ssim_piece_rows - 1) / ssim_piece_rows;
    const std::size_t n_across = (across + ssim_strip - 1) / ssim_strip;
    for (std::size_t j = 0; j < n_across; ++j)
      for (std::size_t i = 0; i < n_down; ++i) {
        const std::size_t y = i * down / n_down, x = j * across / n_across;
        add({y, x, (i + 1) * down / n_down - y + 6, (j + 1) * across / n_across - x + 6});
      }
  }

  Work make_work() const {
    return {Images(ssim_rows * n_pixels_, ssim_rows * n_windows_),
            Images(ssim_lanes * most_pixels_, ssim_lanes * most_pixels_),
            AlignedScratch<std::int32_t>(ssim_tile_rows * (ssim_strip + 6) * ssim_lanes),
            {}};
  }

  // Lays images [r) as the rows of a band, in fours; what is missing in the last four is black.
  void lay_rows(const std::uint8_t* images, Range r, Work& work, Pulse& pulse) const {
    for (const Piece& piece : pieces_)
      for (std::size_t four = 0; four * ssim_tile_rows < r.size(); ++four) {
        const std::size_t first = r.begin + four / 2 * ssim_lanes;
        if (four % 2 == 0) pack(images, {first, std::min(r.end, first + ssim_lanes)}, piece, work);
        const Place at = place(piece, four);
        kernels().ssim_unpack(
            work.lanes.pixel.data(), work.lanes.sum.data(), work.lanes.factor.data(), four % 2 == 1,
            piece.pixels(), piece.windows(), work.rows.pixel.data() + at.pixel,
            work.rows.sum.data() + at.window, work.rows.factor.data() + 2 * at.window);
        pulse.after(16 * piece.windows());
      }
  }

  // Sums the scores of all windows of the first n_rows rows of the band against images [c).
  void score(const std::uint8_t* images, Range c, std::size_t n_rows, Work& work,
             Pulse& pulse) const {
    std::fill_n(work.total, ssim_rows * ssim_lanes, 0.0);
    for (const Piece& piece : pieces_) {
      pack(images, c, piece, work);
      pulse.after(8 * ssim_lanes * piece.windows());
      for (std::size_t four = 0; four * ssim_tile_rows < n_rows; ++four) {
        const Place at = place(piece, four);
        kernels().ssim_tile(work.rows.pixel.data() + at.pixel, work.rows.sum.data() + at.window,
                            work.rows.factor.data() + 2 * at.window, piece.height, piece.width,
                            work.lanes.pixel.data(), work.lanes.sum.data(),
                            work.lanes.factor.data(), work.column.data(),
                            work.total + four * ssim_tile_rows * ssim_lanes);
        pulse.after(4 * ssim_lanes * piece.windows());
      }
    }
  }

  double mean(const Work& work, std::size_t row, std::size_t lane) const {
    const double sum = work.total[row * ssim_lanes + lane];
    return static_cast<double>(static_cast<float>(sum / static_cast<double>(n_windows_)));
  }

 private:
  // As if it were an image of its own; pieces overlap by six pixels, their windows do not.
  struct Piece {
    std::size_t y, x, height, width;
    std::size_t pixels_before = 0, windows_before = 0;
    std::size_t pixels() const { return height * width; }
    std::size_t windows() const { return (height - 6) * (width - 6); }
  };
  // Where four rows lie: those of a piece one after the other.
  struct Place {
    std::size_t pixel, window;
  };

  void add(Piece piece) {
    piece.pixels_before = n_pixels_;
    piece.windows_before = n_windows_;
    n_pixels_ += piece.pixels();
    n_windows_ += piece.windows();
    most_pixels_ = std::max(most_pixels_, piece.pixels());
    pieces_.push_back(piece);
  }

  static Place place(const Piece& piece, std::size_t four) {
    return {ssim_rows * piece.pixels_before + four * ssim_tile_rows * piece.pixels(),
            ssim_rows * piece.windows_before + four * ssim_tile_rows * piece.windows()};
  }

  // Lays a piece of images [c) side by side; lanes without an image are black.
  void pack(const std::uint8_t* images, Range c, const Piece& piece, Work& work) const {
    const std::uint8_t* lanes[ssim_lanes] = {};
    for (std::size_t k = 0; k < c.size(); ++k)
      lanes[k] = images + ((c.begin + k) * height_ + piece.y) * width_ + piece.x;
    kernels().ssim_pack(lanes, width_, piece.height, piece.width, work.column.data(),
                        work.lanes.pixel.data(), work.lanes.sum.data(), work.lanes.factor.data());
  }

  std::size_t height_, width_, n_pixels_, n_windows_, most_pixels_;
  std::vector<Piece> pieces_;
};

}  // namespace clusterimg
