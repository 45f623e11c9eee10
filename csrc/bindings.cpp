// Python bindings of the compiled core: check shapes, take pointers, release the GIL once, call.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#endif

#include "edge.hpp"
#include "features/area.hpp"
#include "features/phash.hpp"
#include "joins/join.hpp"
#include "kernels.hpp"
#include "pairwise.hpp"
#include "python.hpp"
#include "union_find.hpp"

using namespace clusterimg;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;
template <class T>
using MaybeArray = std::optional<Array<T>>;

template <class T>
std::size_t length(const Array<T>& array, py::ssize_t axis = 0) {
  return static_cast<std::size_t>(array.shape(axis));
}

// Whether k is the index of one of n images.
bool names(std::int32_t k, std::size_t n) { return k >= 0 && static_cast<std::size_t>(k) < n; }

// The edges that `score(plane, sink, monitor)` puts into its sink.
template <class AJoin, class Score>
py::array edges_by(const Score& score, const AJoin& join, bool triangle,
                   const py::object& progress) {
  Edges edges;
  run_released(progress, [&](Monitor& monitor) {
    EdgeSink sink(join.n_rows, AJoin::Scorer::rows);
    score({join.n_rows, join.n_cols, triangle}, sink, monitor);
    edges = sink.take(monitor);
  });
  return to_array(std::move(edges));
}

template <class AJoin>
py::array edges_of(const AJoin& join, bool triangle, int n_threads, const py::object& progress) {
  const auto score = [&](const Plane& plane, EdgeSink& sink, Monitor& monitor) {
    score_above(join, plane, sink, n_threads, monitor);
  };
  return edges_by(score, join, triangle, progress);
}

// The components of the pairs of one set, without a list of the pairs.
template <class AJoin>
py::array_t<std::int32_t> components_of(const AJoin& join, int n_threads,
                                        const py::object& progress) {
  const Plane plane{join.n_rows, join.n_rows, true};
  py::array_t<std::int32_t> out(static_cast<py::ssize_t>(join.n_rows));
  std::int32_t* labels = out.mutable_data();
  run_released(progress, [&](Monitor& monitor) {
    ComponentSink sink(labels, plane, AJoin::Scorer::rows, monitor);
    score_above(join, plane, sink, n_threads, monitor);
    sink.label();
  });
  return out;
}

template <class AJoin>
py::array_t<float> matrix_of(const AJoin& join, bool triangle, int n_threads,
                             const py::object& progress) {
  const Plane plane{join.n_rows, join.n_cols, triangle};
  py::array_t<float> out({plane.n_rows, plane.n_cols});
  float* data = out.mutable_data();
  run_released(progress,
               [&](Monitor& monitor) { fill_matrix(join, plane, data, n_threads, monitor); });
  return out;
}

template <class Scorer>
py::array_t<double> scores_of(const Join<Scorer>& join, const Array<std::int32_t>& i,
                              const Array<std::int32_t>& j, int n_threads,
                              const py::object& progress) {
  require(i.ndim() == 1 && j.ndim() == 1 && length(i) == length(j),
          "i and j must have one length, got " + shape_of(i) + " and " + shape_of(j));
  const std::size_t n_pairs = length(i);
  const std::int32_t* row = i.data();
  const std::int32_t* col = j.data();
  py::array_t<double> out(i.shape(0));
  double* scores = out.mutable_data();
  run_released(progress, [&](Monitor& monitor) {
    Pulse pulse(monitor);
    for (std::size_t k = 0; k < n_pairs; ++k) {
      if (!names(row[k], join.n_rows) || !names(col[k], join.n_cols))
        throw py::value_error("pair " + std::to_string(k) + " must name images that are there");
      pulse.after(1);
    }
    score_listed(join.scorer, row, col, n_pairs, scores, n_threads, monitor);
  });
  return out;
}

// What `make` builds a join from: which scores are asked for.
struct Asked {
  bool canonical;  // false: the dense matrix, where a fast score within the tolerance will do
  double threshold;
};

// Defines NAME_edges, NAME_components, NAME_matrix and NAME_scores. `make(a, b, asked, options...)`
// checks two inputs and returns their join.
template <class Input, class... Options, class Make, class... OptionArgs>
void def_kernel(py::module_& m, const std::string& name, const char* input, const Make& make,
                const OptionArgs&... option_args) {
  const py::arg values = py::arg(input).noconvert();
  const auto others = py::arg("others").noconvert() = py::none();
  const auto threads = py::arg("n_threads") = 0;
  const auto progress = py::arg("progress") = py::none();
  m.def((name + "_edges").c_str(),
        [make](const Input& a, const std::optional<Input>& b, double threshold, int n_threads,
               const py::object& report, Options... options) {
          return edges_of(make(a, b ? *b : a, Asked{true, threshold}, options...), !b, n_threads,
                          report);
        },
        values, others, py::kw_only(), py::arg("threshold"), threads, progress, option_args...);
  m.def((name + "_components").c_str(),
        [make](const Input& a, double threshold, int n_threads, const py::object& report,
               Options... options) {
          return components_of(make(a, a, Asked{true, threshold}, options...), n_threads, report);
        },
        values, py::kw_only(), py::arg("threshold"), threads, progress, option_args...);
  m.def((name + "_matrix").c_str(),
        [make](const Input& a, const std::optional<Input>& b, int n_threads,
               const py::object& report, Options... options) {
          return matrix_of(make(a, b ? *b : a, Asked{false, no_score}, options...), !b, n_threads,
                           report);
        },
        values, others, py::kw_only(), threads, progress, option_args...);
  m.def((name + "_scores").c_str(),
        [make](const Input& a, const std::optional<Input>& b, const Array<std::int32_t>& i,
               const Array<std::int32_t>& j, int n_threads, const py::object& report,
               Options... options) {
          return scores_of(make(a, b ? *b : a, Asked{true, no_score}, options...), i, j, n_threads,
                           report);
        },
        values, others, py::kw_only(), py::arg("i").noconvert(), py::arg("j").noconvert(), threads,
        progress, option_args...);
}

template <class Word>
void check_rows(const Array<Word>& a, const Array<Word>& b, const std::string& name) {
  require(a.ndim() == 2 && a.shape(1) > 0,
          name + " must have shape (n_images, n), n > 0, got " + shape_of(a));
  require(
      b.ndim() == 2 && b.shape(1) == a.shape(1),
      "others must have as many columns as " + name + " " + shape_of(a) + ", got " + shape_of(b));
}

HammingJoin hamming_join(const Array<std::uint64_t>& a, const Array<std::uint64_t>& b,
                         Asked asked) {
  check_rows(a, b, "codes");
  const std::size_t n_words = length(a, 1);
  const HammingScorer scorer(a.data(), b.data(), n_words, asked.threshold);
  return {{scorer, length(a), length(b)}, a.data(), b.data(), n_words};
}

// As hamming_edges, in the way that is named, whatever it costs: for tests and benchmarks.
py::array hamming_edges_as(const Array<std::uint64_t>& a,
                           const std::optional<Array<std::uint64_t>>& b, double threshold,
                           const std::string& look, std::size_t depth, int n_threads,
                           const py::object& progress) {
  require(look == "index" || look == "folded" || look == "capped" || look == "counted" ||
              look == "dense",
          "look must be index, folded, capped, counted or dense, got " + look);
  require(look != "index" || (depth >= 1 && depth <= 4),
          "depth must be 1 to 4, got " + std::to_string(depth));
  const HammingJoin join = hamming_join(a, b ? *b : a, Asked{true, threshold});
  if (!join.scorer.any()) return to_array(Edges());
  require(look != "index" || HammingIndex::serves(join.scorer.radius(), join.n_words),
          "threshold must leave a radius of 28 bits a word at most");
  const HammingPlan plan{look == "index" ? depth : 0, look == "folded"   ? Look::folded
                                                      : look == "capped" ? Look::capped
                                                      : look == "dense"  ? Look::dense
                                                                         : Look::counted};
  const auto score = [&](const Plane& plane, EdgeSink& sink, Monitor& monitor) {
    score_by(plan, join, plane, sink, n_threads, monitor);
  };
  return edges_by(score, join, !b, progress);
}

std::string hamming_plan(const Array<std::uint64_t>& a,
                         const std::optional<Array<std::uint64_t>>& b, double threshold) {
  const HammingJoin join = hamming_join(a, b ? *b : a, Asked{true, threshold});
  if (!join.scorer.any()) return "no pairs: no score can be above the threshold";
  return text_of(join.plan(!b), join.codes(!b), join.scorer.radius());
}

Join<SignatureScorer> signature_join(const Array<std::uint32_t>& a, const Array<std::uint32_t>& b,
                                     Asked asked) {
  check_rows(a, b, "signatures");
  const Signatures sets{a.data(), b.data(), length(a), length(b), length(a, 1)};
  return {{sets, asked.threshold}, sets.n_a, sets.n_b};
}

void check_images(const Array<std::uint8_t>& a, const Array<std::uint8_t>& b, py::ssize_t least) {
  require(a.ndim() == 3 && a.shape(1) >= least && a.shape(2) >= least,
          "images must have shape (n_images, height, width), each side at least " +
              std::to_string(least) + ", got " + shape_of(a));
  require(
      b.ndim() == 3 && b.shape(1) == a.shape(1) && b.shape(2) == a.shape(2),
      "others must have the height and width of images " + shape_of(a) + ", got " + shape_of(b));
}

Join<SsimScorer> ssim_join(const Array<std::uint8_t>& a, const Array<std::uint8_t>& b,
                           Asked asked) {
  check_images(a, b, 7);
  return {{a.data(), length(a), b.data(), length(b), length(a, 1), length(a, 2), asked.canonical,
           asked.threshold},
          length(a),
          length(b)};
}

// What the bound of an SSIM join finds of each pair's loss, for tests of it.
py::array_t<double> ssim_losses(const Array<std::uint8_t>& images) {
  check_images(images, images, 7);
  const std::size_t n = length(images);
  const SsimScorer scorer(images.data(), n, images.data(), n, length(images, 1), length(images, 2),
                          true, 0.5);
  Monitor monitor([](std::uint64_t) {});
  SsimScorer::State state = scorer.make_state(monitor);
  py::array_t<double> out({n, n});
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      out.mutable_data()[i * n + j] = scorer.mean_loss(state, i, j);
  return out;
}

TemplateJoin template_join(const Array<std::uint8_t>& a, const Array<std::uint8_t>& b,
                           Asked asked) {
  check_images(a, b, 1);
  const std::size_t height = length(a, 1), width = length(a, 2);
  const TemplateScorer scorer(a.data(), b.data(), height * width, asked.threshold);
  return {{scorer, length(a), length(b)}, a.data(), b.data(), height, width, asked.threshold};
}

// Flattened images of any sizes, their offsets (n + 1), their shapes (n, 2).
using ImageTuple = std::tuple<Array<std::uint8_t>, Array<std::int64_t>, Array<std::int32_t>>;

RaggedImages ragged_images(const ImageTuple& parts) {
  const auto& [pixels, offsets, shapes] = parts;
  require(pixels.ndim() == 1, "pixels must be one-dimensional, got " + shape_of(pixels));
  check_offsets(offsets, length(pixels));
  check_sides(shapes, offsets);
  return {pixels.data(), offsets.data(), shapes.data(), length(offsets) - 1};
}

Join<SlidingScorer> sliding_join(const ImageTuple& a, const ImageTuple& b, Asked asked) {
  const RaggedImages images = ragged_images(a), others = ragged_images(b);
  return {{images, others, asked.threshold}, images.n, others.n};
}

// What the errors of a template at all positions in an image are not below, for tests of it.
py::array_t<float> sliding_bounds(const Array<std::uint8_t>& image,
                                  const Array<std::uint8_t>& templ) {
  require(image.ndim() == 2 && templ.ndim() == 2 && templ.size() > 0 &&
              templ.shape(0) <= image.shape(0) && templ.shape(1) <= image.shape(1),
          "templ must fit inside image, got " + shape_of(templ) + " and " + shape_of(image));
  const std::int64_t offsets[] = {0, image.size()}, templ_offsets[] = {0, templ.size()};
  const auto shape = [](const auto& a) {
    return std::array<std::int32_t, 2>{static_cast<std::int32_t>(a.shape(0)),
                                       static_cast<std::int32_t>(a.shape(1))};
  };
  const std::array<std::int32_t, 2> sides = shape(image), templ_sides = shape(templ);
  const SlidingScorer scorer({image.data(), offsets, sides.data(), 1},
                             {templ.data(), templ_offsets, templ_sides.data(), 1}, no_score);
  Monitor monitor([](std::uint64_t) {});
  SlidingScorer::State state = scorer.make_state(monitor);
  py::array_t<float> out(
      {image.shape(0) - templ.shape(0) + 1, image.shape(1) - templ.shape(1) + 1});
  scorer.lower_bounds(state, 0, 0, out.mutable_data());
  return out;
}

// Descriptors of all images as 64-bit words (total, 4), and their offsets (n + 1).
using DescriptorTuple = std::tuple<Array<std::uint64_t>, Array<std::int64_t>>;

DescriptorSets descriptor_sets(const DescriptorTuple& parts) {
  const auto& [words, offsets] = parts;
  require(words.ndim() == 2 && words.shape(1) == 4,
          "descriptors must have shape (total, 4) in 64-bit words, got " + shape_of(words));
  check_offsets(offsets, length(words));
  check_descriptor_counts(offsets);
  return {words.data(), offsets.data(), length(offsets) - 1};
}

Join<DescriptorScorer> descriptor_join(const DescriptorTuple& a, const DescriptorTuple& b,
                                       Asked asked, const std::string& rule,
                                       std::uint32_t max_distance) {
  const MatchRule match_rule = match_rule_of(rule, max_distance);
  const DescriptorSets sets = descriptor_sets(a), others = descriptor_sets(b);
  return {{sets, others, match_rule, asked.threshold}, sets.n, others.n};
}

py::array_t<std::int32_t> connected_components(const Array<Edge>& edges, std::size_t n_images) {
  require(edges.ndim() == 1, "edges must be one-dimensional, got " + shape_of(edges));
  const Edge* data = edges.data();
  const std::size_t n_edges = length(edges);
  py::array_t<std::int32_t> out(static_cast<py::ssize_t>(n_images));
  std::int32_t* labels = out.mutable_data();
  run_released(py::none(), [&](Monitor& monitor) {
    Pulse pulse(monitor);
    UnionFind sets(labels, n_images);
    const std::size_t e = sets.unite_all(data, n_edges, pulse);
    if (e < n_edges)
      throw py::value_error("edge " + std::to_string(e) + " must join images below " +
                            std::to_string(n_images) + ", got (" + std::to_string(data[e].i) +
                            ", " + std::to_string(data[e].j) + ")");
    sets.label(pulse);
  });
  return out;
}

py::tuple phash_bits(const Array<std::uint8_t>& grey, std::size_t hash_size,
                     std::size_t highfreq_factor) {
  require(grey.ndim() == 2 && grey.shape(0) > 0 && grey.shape(1) > 0,
          "grey must have shape (height, width), got " + shape_of(grey));
  require(hash_size >= 8 && hash_size <= 64 && hash_size % 8 == 0,
          "hash_size must be a multiple of 8 from 8 to 64, got " + std::to_string(hash_size));
  require(highfreq_factor >= 1 && highfreq_factor <= 16,
          "highfreq_factor must be 1 to 16, got " + std::to_string(highfreq_factor));
  std::vector<std::uint64_t> words(hash_size * hash_size / 64);
  std::size_t ties = 0;
  {
    const py::gil_scoped_release release;
    ties = phash(grey.data(), length(grey, 0), length(grey, 1), hash_size, highfreq_factor,
                 words.data());
  }
  return py::make_tuple(to_array(std::move(words)), ties);
}

py::object area_shrunk(const Array<std::uint8_t>& grey, std::size_t height, std::size_t width) {
  require(grey.ndim() == 2 && grey.shape(0) > 0 && grey.shape(1) > 0,
          "grey must have shape (height, width), got " + shape_of(grey));
  const std::size_t n_rows = length(grey, 0), n_columns = length(grey, 1);
  if (height == 0 || width == 0 || !can_shrink_area(n_rows, n_columns, height, width))
    return py::none();
  py::array_t<std::uint8_t> small({height, width});
  std::uint8_t* out = small.mutable_data();
  {
    const py::gil_scoped_release release;
    shrink_area(grey.data(), n_rows, n_columns, height, width, out);
  }
  return std::move(small);
}

std::vector<std::string> isas(bool runnable_only) {
  std::vector<std::string> names;
  for (std::size_t k = 0; k < n_isas(); ++k)
    if (!runnable_only || can_run_isa(k)) names.emplace_back(isa_name(k));
  return names;
}

void select_isa(const std::string& name) {
  if (!use_isa(name.c_str()))
    throw py::value_error("this CPU or build has no instruction set " + name);
}

void use_best_isa() {
  const std::vector<std::string> names = isas(true);
  if (names.empty()) throw py::import_error("this CPU lacks x86-64-v2 (SSE4.2 and POPCNT)");
  select_isa(names.back());
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  PYBIND11_NUMPY_DTYPE(Edge, i, j, score);
  use_best_isa();
#if !defined(_WIN32)
  pthread_atfork(nullptr, nullptr, [] { in_forked_child() = true; });
#endif
  m.doc() = "Compiled core of clusterimg: exact pairwise image similarity on arrays.";

  def_kernel<Array<std::uint64_t>>(m, "hamming", "codes", hamming_join);
  m.def("hamming_edges_as", &hamming_edges_as, py::arg("codes").noconvert(),
        py::arg("others").noconvert() = py::none(), py::kw_only(), py::arg("threshold"),
        py::arg("look"), py::arg("depth") = 0, py::arg("n_threads") = 0,
        py::arg("progress") = py::none());
  m.def("hamming_plan", &hamming_plan, py::arg("codes").noconvert(),
        py::arg("others").noconvert() = py::none(), py::kw_only(), py::arg("threshold"));
  def_kernel<Array<std::uint32_t>>(m, "signature", "signatures", signature_join);
  def_kernel<Array<std::uint8_t>>(m, "ssim", "images", ssim_join);
  m.def("ssim_losses", &ssim_losses, py::arg("images").noconvert());
  def_kernel<Array<std::uint8_t>>(m, "template", "images", template_join);
  def_kernel<ImageTuple>(m, "sliding", "images", sliding_join);
  m.def("sliding_bounds", &sliding_bounds, py::arg("image").noconvert(),
        py::arg("templ").noconvert());
  def_kernel<DescriptorTuple, std::string, std::uint32_t>(
      m, "descriptor", "descriptors", descriptor_join, py::arg("rule"), py::arg("max_distance"));
  m.def("components", &connected_components, py::arg("edges").noconvert(), py::arg("n_images"));
  m.def("phash", &phash_bits, py::arg("grey").noconvert(), py::kw_only(), py::arg("hash_size"),
        py::arg("highfreq_factor"));
  m.def("shrink_area", &area_shrunk, py::arg("grey").noconvert(), py::kw_only(), py::arg("height"),
        py::arg("width"));

  m.def("isa", [] { return std::string(kernels().isa); });
  m.def("isas", [] { return isas(true); });
  m.def("built_isas", [] { return isas(false); });
  m.def("use_isa", &select_isa, py::arg("name"));
  m.def("available_threads", &available_threads);
#if defined(_OPENMP)
  m.attr("openmp") = true;
#else
  m.attr("openmp") = false;
#endif
}
