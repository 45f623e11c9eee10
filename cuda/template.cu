// Launches of template.cuh.
#include "template.cuh"

#include "launch.hpp"
#include "runtime.hpp"

namespace clusterimg::cuda {
namespace {

template <class Tile>
auto kernel_for(std::size_t n_pixels) {
  return n_pixels <= narrow_pixels ? score_templates<std::uint32_t, Tile>
                                   : score_templates<std::uint64_t, Tile>;
}

class TemplateKernel final : public Kernel {
 public:
  TemplateKernel(std::size_t n_pixels, double threshold)
      : n_pixels_(n_pixels), n_quads_((n_pixels + 15) / 16), threshold_(threshold) {}

  std::size_t prepared_bytes(std::size_t n, std::size_t) const override {
    return n * ((is_padded() ? 16 * n_quads_ : 0) + sizeof(std::uint64_t) + sizeof(float));
  }

  void prepare(const Block& block, cudaStream_t stream) const override {
    const TemplateImages images = images_of(block, 0);
    launch(prepare_templates, blocks_of(std::size_t(block.n) * 32, template_threads),
           template_threads, stream, static_cast<const std::uint8_t*>(block.values), n_pixels_,
           n_quads_, block.n, is_padded() ? const_cast<uint4*>(images.pixels) : nullptr,
           const_cast<std::uint64_t*>(images.energies), const_cast<float*>(images.inverses));
  }

  std::int32_t tile() const override { return template_side; }
  double operations(double, double) const override { return static_cast<double>(n_quads_ * 4); }

  void score(const Block& a, const Block& b, const Pairs& pairs, const Sink& sink,
             cudaStream_t stream) const override {
    int device = 0, capability = 0;
    check(cudaGetDevice(&device), "no device");
    check(cudaDeviceGetAttribute(&capability, cudaDevAttrComputeCapabilityMajor, device),
          "no such device");
    launch(capability < 8 ? kernel_for<PlainTile>(n_pixels_) : kernel_for<TensorTile>(n_pixels_),
           blocks_of(pairs.n_rows, template_side) * blocks_of(pairs.n_cols, template_side),
           template_threads, stream, images_of(a, pairs.row), images_of(b, pairs.col), n_quads_,
           pairs, sink, threshold_, most_rough_error(threshold_));
  }

 private:
  // Quads of images that end amid one would begin where no quad can be read.
  bool is_padded() const { return n_pixels_ % 16 != 0; }

  TemplateImages images_of(const Block& block, std::int32_t from) const {
    const auto n = static_cast<std::size_t>(block.n), first = static_cast<std::size_t>(from);
    const auto* prepared = static_cast<const std::uint8_t*>(block.prepared);
    const void* pixels = is_padded() ? prepared : block.values;
    const auto* energies = reinterpret_cast<const std::uint64_t*>(
        prepared + (is_padded() ? n * n_quads_ * sizeof(uint4) : 0));
    const auto* inverses = reinterpret_cast<const float*>(energies + n);
    return {static_cast<const uint4*>(pixels) + first * n_quads_, energies + first,
            inverses + first};
  }

  std::size_t n_pixels_, n_quads_;
  double threshold_;
};

}  // namespace

std::unique_ptr<Kernel> template_kernel(std::size_t height, std::size_t width, double threshold) {
  return std::make_unique<TemplateKernel>(height * width, threshold);
}

}  // namespace clusterimg::cuda
