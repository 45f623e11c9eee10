// A join: the items of two sets, the scorer of a pair, and the fastest way that is known to the
// pairs above a threshold (`score_above`) and to the scores of all (`fill_matrix`).
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "../kernels.hpp"
#include "../pairwise.hpp"
#include "counts.hpp"
#include "descriptor.hpp"
#include "hamming.hpp"
#include "hamming_counted.hpp"
#include "hamming_dense.hpp"
#include "hamming_found.hpp"
#include "hamming_index.hpp"
#include "hamming_plan.hpp"
#include "signature_matrix.hpp"
#include "sliding.hpp"
#include "ssim.hpp"
#include "template.hpp"

namespace clusterimg {

// A scorer over the pairs of n_rows x n_cols items.
template <class AScorer>
struct Join {
  using Scorer = AScorer;
  Scorer scorer;
  std::size_t n_rows, n_cols;
};

// The pairs of images of one size, most of which sketches may show to be unlike.
struct TemplateJoin : Join<TemplateScorer> {
  const std::uint8_t* a;
  const std::uint8_t* b;
  std::size_t height, width;
  double threshold;

  bool sketched() const { return threshold > 0.0 && threshold < 1.0 && height * width >= 64; }
};

// The pairs of codes, which an index may find without a look at all of them.
struct HammingJoin : Join<HammingScorer> {
  const std::uint64_t* a;
  const std::uint64_t* b;
  std::size_t n_words;

  Codes codes(bool triangle) const { return {a, b, n_rows, n_cols, n_words, triangle}; }
  HammingPlan plan(bool triangle) const { return plan_of(codes(triangle), scorer.radius()); }
};

// Scores the pairs of a plane of which only those above the threshold are asked for.
template <class AJoin, class Sink>
void score_above(const AJoin& join, const Plane& plane, Sink& sink, int n_threads,
                 Monitor& monitor) {
  score_pairs(plane, join.scorer, sink, n_threads, monitor);
}

template <class Sink>
void score_above(const TemplateJoin& join, const Plane& plane, Sink& sink, int n_threads,
                 Monitor& monitor) {
  if (join.sketched())
    score_sketched(join.scorer, join.a, join.b, join.height, join.width, plane, sink, n_threads,
                   monitor);
  else
    score_pairs(plane, join.scorer, sink, n_threads, monitor);
}

template <class Sink>
void score_above(const Join<SignatureScorer>& join, const Plane& plane, Sink& sink, int n_threads,
                 Monitor& monitor) {
  NearSignatures near(join.scorer);
  near.prepare(n_threads, monitor);
  score_pairs(plane, near, sink, n_threads, monitor);
}

template <class Sink>
void score_by(HammingPlan plan, const HammingJoin& join, const Plane& plane, Sink& sink,
              int n_threads, Monitor& monitor) {
  const Codes codes = join.codes(plane.triangle);
  if (plan.depth > 0) {
    sink.give(HammingIndex(codes, join.scorer.radius(), plan.depth).edges(n_threads, monitor));
  } else if (Sink::keeps_edges) {
    const std::size_t radius = join.scorer.radius();
    if (plan.look == Look::folded || plan.look == Look::capped)
      sink.give(HammingFound(codes, radius, plan.look).edges(n_threads, monitor));
    else if (plan.look == Look::dense && codes.n_words == 1)
      sink.give(HammingDense(codes, radius).edges(n_threads, monitor));
    else
      sink.give(HammingCount(codes, radius).edges(n_threads, monitor));
  } else {
    HammingScorer scorer = join.scorer;
    scorer.look(plan.look);
    score_pairs(plane, scorer, sink, n_threads, monitor);
  }
}

template <class Sink>
void score_above(const HammingJoin& join, const Plane& plane, Sink& sink, int n_threads,
                 Monitor& monitor) {
  if (join.scorer.any()) score_by(join.plan(plane.triangle), join, plane, sink, n_threads, monitor);
}

// A triangle emits no diagonal: an item is scored against itself apart.
template <class Scorer, class Sink>
void fill_matrix_through(Sink sink, const Scorer& scorer, const Plane& plane, float* out,
                         int n_threads, Monitor& monitor) {
  score_pairs(plane, scorer, sink, n_threads, monitor);
  if (!plane.triangle) return;
  auto state = scorer.make_state(monitor);
  for (std::size_t k = 0; k < plane.n_rows; ++k)
    out[k * plane.n_cols + k] = static_cast<float>(scorer.score(state, k, k));
}

// Writes the scores of all pairs of a plane, -inf where there is none, into `out`.
template <class Scorer>
void fill_matrix(const Join<Scorer>& join, const Plane& plane, float* out, int n_threads,
                 Monitor& monitor) {
  for (std::size_t i = 0; i < plane.n_rows; ++i) {
    std::fill_n(out + i * plane.n_cols, plane.n_cols, static_cast<float>(no_score));
    monitor.check();
  }
  fill_matrix_through(MatrixSink(out, plane), join.scorer, plane, out, n_threads, monitor);
}

inline void fill_matrix(const Join<SignatureScorer>& join, const Plane& plane, float* out,
                        int n_threads, Monitor& monitor) {
  const Signatures& sets = join.scorer.sets();
  if (SignatureCodes::fits(sets)) {
    SignatureCodes codes(sets, plane.triangle);
    codes.prepare(n_threads, monitor);
    fill_matrix_through(TileSink(out, plane), AllSignatures(sets, codes), plane, out, n_threads,
                        monitor);
  } else {
    const CountScorer<std::uint32_t> scorer(sets.a, sets.b, sets.n_slots,
                                            static_cast<std::uint32_t>(sets.n_slots),
                                            kernels().signature_tile, true, no_score);
    fill_matrix(Join<CountScorer<std::uint32_t>>{scorer, join.n_rows, join.n_cols}, plane, out,
                n_threads, monitor);
  }
}

}  // namespace clusterimg
