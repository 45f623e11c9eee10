// Launches of hamming.cuh.
#include "hamming.cuh"

#include "count_kernel.hpp"

namespace clusterimg::cuda {
namespace {

class Hamming final : public CountKernel<BitCounter> {
 public:
  Hamming(std::uint32_t n_words, double threshold)
      : CountKernel(2 * n_words, 64 * n_words, threshold) {
    choose();
  }

 private:
  // Codes are their own sketches. Bits of pictures' codes agree a little more often than not.
  Sketched sketched(unsigned folded) const override {
    const std::uint32_t n_folds = (n_words() + folded - 1) / folded;
    return {n_words(), 32 * n_folds, 1 - std::pow(0.55, std::min(folded, n_words()))};
  }
  const void* sketches(const Block& block) const override { return block.values; }
};

}  // namespace

std::unique_ptr<Kernel> hamming_kernel(std::size_t n_words, double threshold) {
  return std::make_unique<Hamming>(static_cast<std::uint32_t>(n_words), threshold);
}

}  // namespace clusterimg::cuda
