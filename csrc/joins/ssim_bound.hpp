// The numbers behind the upper bound of SSIM (kernels/ssim_bound.hpp) of a set of images: reckoned
// once for each image, by the thread that first needs them, and kept as long as the join runs.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "../kernels.hpp"
#include "../pairwise.hpp"

namespace clusterimg {

// How windows fall into groups: x windows across into groups x * across / width of them.
struct SsimGroups {
  std::size_t height, width, side;
  std::size_t windows_down() const { return height - 6; }
  std::size_t windows_across() const { return width - 6; }
  std::size_t down() const { return (windows_down() + side - 1) / side; }
  std::size_t across() const { return (windows_across() + side - 1) / side; }
  std::size_t blocks() const { return (down() * across() + 7) / 8; }
};

// What the bound may overstate a loss by: a share of it, and so much a window. From the proof in
// kernels/ssim_bound.hpp, with room for the float32 steps.
constexpr double ssim_loss_share = 1.0 / 256 + 1.0 / 16384;
constexpr double ssim_loss_margin = 0.002;

class SsimNumbers {
 public:
  struct Work {
    AlignedScratch<std::int32_t> pixel, taps, group;
    explicit Work(const SsimGroups& g)
        : pixel(g.height * g.width * ssim_lanes),
          taps(7 * g.windows_across() * 4 * ssim_lanes),
          group(g.across() * 11 * ssim_lanes) {}
  };

  SsimNumbers(const std::uint8_t* images, std::size_t n, const SsimGroups& groups)
      : images_(images),
        n_(n),
        groups_(groups),
        numbers_(n * groups.blocks() * 64),
        once_(new std::once_flag[(n + ssim_lanes - 1) / ssim_lanes]) {}

  // Makes sure of images [range); `range` begins at a multiple of ssim_lanes.
  void prepare(Range range, Work& work, Pulse& pulse) {
    for (std::size_t k = range.begin; k < range.end; k += ssim_lanes)
      std::call_once(once_[k / ssim_lanes], [&] { reckon(k, work, pulse); });
  }

  const std::int32_t* of(std::size_t k) { return numbers_.data() + k * groups_.blocks() * 64; }

 private:
  void reckon(std::size_t first, Work& work, Pulse& pulse) {
    const std::size_t n_pixels = groups_.height * groups_.width, size = groups_.blocks() * 64;
    const std::size_t count = std::min(ssim_lanes, n_ - first);
    const std::uint8_t* lanes[ssim_lanes];
    std::int32_t* blocks[ssim_lanes];
    for (std::size_t lane = 0; lane < ssim_lanes; ++lane) {
      const std::size_t k = first + std::min(lane, count - 1);  // the last image fills the lanes
      lanes[lane] = images_ + k * n_pixels;
      blocks[lane] = numbers_.data() + k * size;
      clear_last_block(blocks[lane] + size - 64);
    }
    kernels().ssim_numbers(lanes, groups_.height, groups_.width, groups_.side, depths(),
                           work.pixel.data(), work.taps.data(), work.group.data(), blocks);
    pulse.after(16 * ssim_lanes * n_pixels);
  }

  // Groups that are not there lose nothing: no differences, over 1.
  static void clear_last_block(std::int32_t* block) {
    std::fill_n(block, 64, 0);
    float* numbers = reinterpret_cast<float*>(block);
    std::fill_n(numbers + 24, 8, 1.0f);
    std::fill_n(numbers + 40, 8, 1.0f);
  }

  // asinh(m / sqrt(C1 / 2)) / sqrt(2) of the mean of each window sum.
  static const float* depths() {
    static const std::vector<float> table = [] {
      std::vector<float> values(49 * 255 + 1);
      const double scale = 1.0 / (49 * std::sqrt(0.5 * 2.55 * 2.55));
      for (std::size_t s = 0; s < values.size(); ++s)
        values[s] = static_cast<float>(std::asinh(static_cast<double>(s) * scale) / std::sqrt(2.0));
      return values;
    }();
    return table.data();
  }

  const std::uint8_t* images_;
  std::size_t n_;
  SsimGroups groups_;
  AlignedScratch<std::int32_t> numbers_;
  std::unique_ptr<std::once_flag[]> once_;
};

}  // namespace clusterimg
