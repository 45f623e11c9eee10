// Launches of signature.cuh.
#include "signature.cuh"

#include "count_kernel.hpp"

namespace clusterimg::cuda {
namespace {

class Signature final : public CountKernel<SlotCounter> {
 public:
  Signature(std::uint32_t n_slots, double threshold) : CountKernel(n_slots, n_slots, threshold) {
    choose();
  }

  std::size_t prepared_bytes(std::size_t n, std::size_t) const override {
    return n * n_folds() * fold().folded * sizeof(std::uint32_t);
  }
  void prepare(const Block& block, cudaStream_t stream) const override {
    if (fold().joined == 0) return;
    const auto n = static_cast<std::uint32_t>(block.n);
    const Words signatures{static_cast<const std::uint32_t*>(block.values), n, total()};
    launch(sketch_slots, blocks_of(std::size_t{n} * n_folds() * 32, tile_threads), tile_threads,
           stream, signatures, fold().folded, static_cast<std::uint32_t*>(block.prepared));
  }

 private:
  std::uint32_t n_folds() const { return (total() + 31) / 32; }

  Sketched sketched(unsigned folded) const override {
    return {n_folds() * folded, total(), 1 - std::pow(0.5, folded)};
  }
  const void* sketches(const Block& block) const override { return block.prepared; }
};

}  // namespace

std::unique_ptr<Kernel> signature_kernel(std::size_t n_slots, double threshold) {
  return std::make_unique<Signature>(static_cast<std::uint32_t>(n_slots), threshold);
}

}  // namespace clusterimg::cuda
