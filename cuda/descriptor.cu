// Launches of descriptor.cuh.
#include "descriptor.cuh"
#include "launch.hpp"
#include "runtime.hpp"

namespace clusterimg::cuda {
namespace {

class DescriptorKernel : public Kernel {
 public:
  DescriptorKernel(MatchRule rule, double threshold) : rule_(rule), threshold_(threshold) {
    // Matches are counted by their distance; under `ratio` good ones as 0.
    if (rule.kind == MatchRule::ratio) rule_.max_distance = 0;
  }

  std::int32_t tile() const override { return 1; }
  double operations(double a_rows, double b_rows) const override {
    const double of_a_distance = rule_.kind == MatchRule::ratio ? 4 : 1.5;
    return 4e4 + of_a_distance * a_rows * b_rows;
  }

  void score(const Block& a, const Block& b, const Pairs& pairs, const Sink& sink,
             cudaStream_t stream) const override {
    if (sink.keep != Keep::matrix && threshold_ >= 1) return;  // no share is above 1
    const dim3 blocks(static_cast<unsigned>(pairs.n_cols), static_cast<unsigned>(pairs.n_rows));
    launch(rule_.kind == MatchRule::ratio ? score_descriptors<true> : score_descriptors<false>,
           blocks, dim3(descriptor_threads), stream, sets_of(a), sets_of(b), pairs, rule_,
           threshold_, sink);
  }

 private:
  static DescriptorSets sets_of(const Block& block) {
    return {static_cast<const std::uint32_t*>(block.values), block.offsets};
  }

  MatchRule rule_;
  double threshold_;
};

}  // namespace

std::unique_ptr<Kernel> descriptor_kernel(MatchRule rule, double threshold) {
  return std::make_unique<DescriptorKernel>(rule, threshold);
}

}  // namespace clusterimg::cuda
