// Launches of ssim.cuh.
#include "ssim.cuh"

#include <algorithm>
#include <cmath>
#include <limits>

#include "launch.hpp"
#include "runtime.hpp"

namespace clusterimg::cuda {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr unsigned most_deciding_blocks = 4096;

class Ssim final : public Kernel {
 public:
  Ssim(std::size_t height, std::size_t width, double threshold)
      : shape_{static_cast<std::uint32_t>(height), static_cast<std::uint32_t>(width)},
        threshold_(threshold),
        bounded_(threshold >= 0.3 && threshold < HUGE_VAL && shape_.windows() <= 65536) {
    const std::uint32_t side = width <= 32 || threshold < 0.68 ? 3 : 4;
    groups_ = {blocks_of(shape_.across(), side), blocks_of(shape_.down(), side)};
  }

  std::size_t prepared_bytes(std::size_t n, std::size_t) const override {
    const std::size_t numbers = bounded_ ? groups_.column(groups_of(n), 0) : 0;
    return shape_.column(groups_of(n), 0) * sizeof(SsimEntry) + numbers * sizeof(float4);
  }
  void prepare(const Block& block, cudaStream_t stream) const override {
    const auto n = static_cast<std::uint32_t>(block.n);
    launch(ssim_prepare, groups_of(n) * shape_.across(), 32, stream,
           static_cast<const std::uint8_t*>(block.values), n, shape_, entries_of(block));
    if (bounded_)
      launch(ssim_number, groups_of(n) * groups_.across * groups_.down, 32, stream,
             entries_of(block), shape_, groups_, numbers_of(block));
  }

  std::int32_t tile() const override { return ssim_block_cols; }
  double operations(double, double) const override {
    return 16.0 * static_cast<double>(shape_.across()) * static_cast<double>(shape_.height);
  }

  void score(const Block& a, const Block& b, const Pairs& pairs, const Sink& sink,
             cudaStream_t stream) const override {
    const dim3 blocks(blocks_of(pairs.n_rows, ssim_block_rows),
                      blocks_of(pairs.n_cols, ssim_block_cols));
    const bool bounded = bounded_ && sink.keep != Keep::matrix;
    launch(ssim_score, blocks, ssim_threads, stream, images_of(a), images_of(b), shape_,
           bounded ? groups_ : SsimGroups{shape_.across(), 0}, bounds(sink.keep), pairs, sink);
  }

  void decide(const Block& a, const Block& b, const Pairs&, const Sink& sink,
              cudaStream_t stream) const override {
    const unsigned blocks = blocks_of(sink.capacity, ssim_threads / 32);
    launch(ssim_decide, std::min(blocks, most_deciding_blocks), ssim_threads, stream, entries_of(a),
           entries_of(b), shape_, a.first, b.first, threshold_, sink);
  }

 private:
  static std::uint32_t groups_of(std::size_t n) { return blocks_of(n, 32); }
  static SsimEntry* entries_of(const Block& block) {
    return static_cast<SsimEntry*>(block.prepared);
  }

  float4* numbers_of(const Block& block) const {
    return reinterpret_cast<float4*>(entries_of(block) + shape_.column(groups_of(block.n), 0));
  }
  SsimImages images_of(const Block& block) const {
    return {entries_of(block), numbers_of(block), groups_of(block.n) - 1};
  }

  // Rounded away from the threshold. That a pair is hopeless is asked with room for the rounding
  // of the sum with what is left.
  SsimBounds bounds(Keep keep) const {
    const double half = static_cast<double>(shape_.windows()) / 2;
    const double threshold = keep == Keep::matrix ? -HUGE_VAL : threshold_;
    const auto below = [&](double errors) {
      const double sum = (threshold - errors * ssim_error) * half;
      return std::nextafter(static_cast<float>(sum), -infinity);
    };
    const auto yes = static_cast<float>((threshold + ssim_error) * half);
    return {below(2), below(1), std::nextafter(yes, infinity), 1 / half};
  }

  SsimShape shape_;
  double threshold_;
  bool bounded_;  // Below, and for large images, the bound hardly drops a pair
  SsimGroups groups_;
};

}  // namespace

std::unique_ptr<Kernel> ssim_kernel(std::size_t height, std::size_t width, double threshold) {
  return std::make_unique<Ssim>(height, width, threshold);
}

}  // namespace clusterimg::cuda
