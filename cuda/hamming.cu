// Launches of hamming.cuh.
#include "hamming.cuh"

#include "joins/counts.hpp"
#include "launch.hpp"
#include "runtime.hpp"

namespace clusterimg::cuda {
namespace {

class Hamming final : public Kernel {
 public:
  Hamming(std::size_t n_words, double threshold)
      : n_words_(static_cast<std::uint32_t>(2 * n_words)),
        total_(static_cast<std::uint32_t>(64 * n_words)),
        least_(least_count_above(threshold, total_)) {}

  std::int32_t tile() const override { return counts_side; }
  double operations(const Block&, const Block&) const override { return 4.0 * n_words_; }

  void score(const Block& a, const Block& b, const Pairs& pairs, const Sink& sink,
             cudaStream_t stream) const override {
    const bool any = least_ <= total_;
    if (!any && sink.keep != Keep::matrix) return;
    const dim3 blocks(blocks_of(pairs.n_cols, counts_side), blocks_of(pairs.n_rows, counts_side));
    launch(count_pairs<BitCounter>, blocks, tile_threads, stream,
           words_of(a, pairs.row, pairs.n_rows), words_of(b, pairs.col, pairs.n_cols),
           Counts{total_, any ? total_ - least_ : 0}, pairs, sink);
  }

 private:
  Words words_of(const Block& block, std::int32_t first, std::int32_t n) const {
    const auto* words = static_cast<const std::uint32_t*>(block.values);
    return {words + static_cast<std::size_t>(first) * n_words_, static_cast<std::uint32_t>(n),
            n_words_};
  }

  std::uint32_t n_words_, total_, least_;  // words of 32 bits
};

}  // namespace

std::unique_ptr<Kernel> hamming_kernel(std::size_t n_words, double threshold) {
  return std::make_unique<Hamming>(n_words, threshold);
}

}  // namespace clusterimg::cuda
