// Launches of sliding.cuh.
#include "sliding.cuh"

#include <algorithm>

#include "launch.hpp"
#include "runtime.hpp"

namespace clusterimg::cuda {
namespace {

template <class Sum>
class SlidingKernel final : public Kernel {
 public:
  explicit SlidingKernel(double threshold) : threshold_(threshold) {}

  std::size_t prepared_bytes(std::size_t, std::size_t n_pixels) const override {
    return n_pixels * sizeof(Sum);
  }

  void prepare(const Block& block, cudaStream_t stream) const override {
    launch(integrate_squares<Sum>, blocks_of(block.n, 1), integral_threads, stream,
           static_cast<const std::uint8_t*>(block.values), block.offsets, block.shapes,
           static_cast<Sum*>(block.prepared));
  }

  std::int32_t tile() const override { return 1; }

  // The most is where half an image slides inside a whole one. A device takes hundreds of pairs at
  // once: a launch of fewer would not be shorter.
  double operations(double a_pixels, double b_pixels) const override {
    return std::min(a_pixels * b_pixels / 64.0 + 1000.0, 4e8);
  }

  void score(const Block& a, const Block& b, const Pairs& pairs, const Sink& sink,
             cudaStream_t stream) const override {
    const bool all = sink.keep == Keep::matrix;
    if (threshold_ >= 1.0 && !all) return;  // no score is above 1
    const std::size_t n = static_cast<std::size_t>(pairs.n_rows) * pairs.n_cols;
    launch(score_sliding<Sum>, blocks_of(std::min(n, most_blocks), 1), sliding_threads, stream,
           images_of(a, pairs.row), images_of(b, pairs.col), pairs, sink, threshold_,
           all ? 1.0f : std::min(1.0f, most_rough_error(threshold_)));
  }

 private:
  static constexpr std::size_t most_blocks = std::size_t{1} << 20;

  static SlidingImages<Sum> images_of(const Block& block, std::int32_t from) {
    return {static_cast<const std::uint8_t*>(block.values), static_cast<const Sum*>(block.prepared),
            block.offsets + from, block.shapes + 2 * from, block.n - from};
  }

  double threshold_;
};

}  // namespace

std::unique_ptr<Kernel> sliding_kernel(std::size_t most_pixels, double threshold) {
  if (most_pixels <= narrow_pixels)
    return std::make_unique<SlidingKernel<std::uint32_t>>(threshold);
  return std::make_unique<SlidingKernel<std::uint64_t>>(threshold);
}

}  // namespace clusterimg::cuda
