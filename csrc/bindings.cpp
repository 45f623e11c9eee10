// Python bindings of the compiled core: check shapes, take pointers, release the GIL once, call.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#endif

#include "edge.hpp"
#include "features/phash.hpp"
#include "joins/counts.hpp"
#include "joins/descriptor.hpp"
#include "joins/ssim.hpp"
#include "joins/template.hpp"
#include "kernels.hpp"
#include "pairwise.hpp"
#include "union_find.hpp"

namespace py = pybind11;
using namespace clusterimg;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;
template <class T>
using MaybeArray = std::optional<Array<T>>;

void require(bool condition, const std::string& message) {
  if (!condition) throw py::value_error(message);
}

std::string shape_of(const py::array& array) {
  return py::str(array.attr("shape")).cast<std::string>();
}

template <class T>
std::size_t length(const Array<T>& array, py::ssize_t axis = 0) {
  return static_cast<std::size_t>(array.shape(axis));
}

// Hands a vector's memory to NumPy without a copy.
template <class T>
py::array_t<T> to_array(std::vector<T>&& values) {
  auto* owned = new std::vector<T>(std::move(values));
  py::capsule owner(owned, [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>(static_cast<py::ssize_t>(owned->size()), owned->data(), owner);
}

// Runs `work(monitor)` without the GIL; takes it back now and then for signals and progress.
template <class Work>
void run_released(const py::object& progress, const Work& work) {
  bool raised = false;
  Monitor monitor([&](std::uint64_t done) {
    const py::gil_scoped_acquire hold;
    try {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      if (!progress.is_none()) progress(done);
      return true;
    } catch (py::error_already_set& error) {
      error.restore();
      raised = true;
      return false;
    }
  });
  {
    const py::gil_scoped_release release;
    work(monitor);
  }
  if (raised) throw py::error_already_set();
}

template <class Scorer>
py::array_t<Edge> join_edges(const Plane& plane, const Scorer& scorer, int n_threads,
                             const py::object& progress) {
  std::vector<Edge> edges;
  run_released(progress, [&](Monitor& monitor) {
    EdgeSink sink(plane.n_rows, Scorer::rows);
    score_pairs(plane, scorer, sink, n_threads, monitor);
    if (!monitor.stopped()) edges = sink.take();
  });
  return to_array(std::move(edges));
}

template <class Scorer>
py::array_t<float> join_matrix(const Plane& plane, const Scorer& scorer, int n_threads,
                               const py::object& progress) {
  py::array_t<float> out({plane.n_rows, plane.n_cols});
  float* data = out.mutable_data();
  std::fill(data, data + plane.n_rows * plane.n_cols, static_cast<float>(no_score));
  run_released(progress, [&](Monitor& monitor) {
    MatrixSink sink(data, plane);
    score_pairs(plane, scorer, sink, n_threads, monitor);
  });
  return out;
}

// A triangle emits no diagonal: an image against itself scores 1 under every method.
py::array_t<float> with_diagonal(py::array_t<float> matrix, bool triangle) {
  auto view = matrix.mutable_unchecked<2>();
  for (py::ssize_t k = 0; triangle && k < view.shape(0); ++k) view(k, k) = 1.0f;
  return matrix;
}

// Calls `use(scorer, plane)` on the codes or signatures of one or two sets.
template <class Word, class MakeScorer, class Use>
auto with_rows(const Array<Word>& a, const MaybeArray<Word>& others, const char* name,
               const MakeScorer& make, const Use& use) {
  const Array<Word>& b = others ? *others : a;
  require(a.ndim() == 2 && a.shape(1) > 0,
          std::string(name) + " must have shape (n_images, n), n > 0, got " + shape_of(a));
  require(b.ndim() == 2 && b.shape(1) == a.shape(1),
          "others must have shape (m_images, " + std::to_string(a.shape(1)) + "), got " +
              shape_of(b));
  return use(make(a.data(), b.data(), length(a, 1)), Plane{length(a), length(b), !others});
}

py::array_t<Edge> hamming_edges(const Array<std::uint64_t>& codes,
                                const MaybeArray<std::uint64_t>& others, double threshold,
                                int n_threads, const py::object& progress) {
  return with_rows(
      codes, others, "codes",
      [&](auto a, auto b, std::size_t n) { return hamming_scorer(a, b, n, threshold); },
      [&](const auto& scorer, const Plane& plane) {
        return join_edges(plane, scorer, n_threads, progress);
      });
}

py::array_t<float> hamming_matrix(const Array<std::uint64_t>& codes,
                                  const MaybeArray<std::uint64_t>& others, int n_threads,
                                  const py::object& progress) {
  return with_rows(
      codes, others, "codes",
      [&](auto a, auto b, std::size_t n) { return hamming_scorer(a, b, n, no_score); },
      [&](const auto& scorer, const Plane& plane) {
        return with_diagonal(join_matrix(plane, scorer, n_threads, progress), plane.triangle);
      });
}

py::array_t<Edge> signature_edges(const Array<std::uint32_t>& signatures,
                                  const MaybeArray<std::uint32_t>& others, double threshold,
                                  int n_threads, const py::object& progress) {
  return with_rows(
      signatures, others, "signatures",
      [&](auto a, auto b, std::size_t n) { return signature_scorer(a, b, n, threshold); },
      [&](const auto& scorer, const Plane& plane) {
        return join_edges(plane, scorer, n_threads, progress);
      });
}

py::array_t<float> signature_matrix(const Array<std::uint32_t>& signatures,
                                    const MaybeArray<std::uint32_t>& others, int n_threads,
                                    const py::object& progress) {
  return with_rows(
      signatures, others, "signatures",
      [&](auto a, auto b, std::size_t n) { return signature_scorer(a, b, n, no_score); },
      [&](const auto& scorer, const Plane& plane) {
        return with_diagonal(join_matrix(plane, scorer, n_threads, progress), plane.triangle);
      });
}

struct ImageShape {
  std::size_t height, width;
};

ImageShape common_shape(const Array<std::uint8_t>& a, const Array<std::uint8_t>& b,
                        py::ssize_t least) {
  const std::string side = std::to_string(least);
  require(a.ndim() == 3 && a.shape(1) >= least && a.shape(2) >= least,
          "images must have shape (n_images, height, width), each side at least " + side +
              ", got " + shape_of(a));
  require(b.ndim() == 3 && b.shape(1) == a.shape(1) && b.shape(2) == a.shape(2),
          "others must have the height and width of images " + shape_of(a) + ", got " +
              shape_of(b));
  return {length(a, 1), length(a, 2)};
}

SsimScorer ssim_scorer(const Array<std::uint8_t>& a, const Array<std::uint8_t>& b, bool exact,
                       double threshold) {
  const ImageShape shape = common_shape(a, b, 7);
  return {{a.data(), length(a)}, {b.data(), length(b)}, shape.height, shape.width,
          exact,                 threshold};
}

py::array_t<Edge> ssim_edges(const Array<std::uint8_t>& images,
                             const MaybeArray<std::uint8_t>& others, double threshold,
                             int n_threads, const py::object& progress) {
  const Array<std::uint8_t>& b = others ? *others : images;
  const SsimScorer scorer = ssim_scorer(images, b, true, threshold);
  return join_edges({length(images), length(b), !others}, scorer, n_threads, progress);
}

py::array_t<float> ssim_matrix(const Array<std::uint8_t>& images,
                               const MaybeArray<std::uint8_t>& others, int n_threads,
                               const py::object& progress) {
  const Array<std::uint8_t>& b = others ? *others : images;
  const SsimScorer scorer = ssim_scorer(images, b, false, no_score);
  const Plane plane{length(images), length(b), !others};
  return with_diagonal(join_matrix(plane, scorer, n_threads, progress), plane.triangle);
}

py::array_t<Edge> template_edges(const Array<std::uint8_t>& images,
                                 const MaybeArray<std::uint8_t>& others, double threshold,
                                 int n_threads, const py::object& progress) {
  const Array<std::uint8_t>& b = others ? *others : images;
  const ImageShape shape = common_shape(images, b, 1);
  const std::size_t n_pixels = shape.height * shape.width;
  const WideImages wide_a(images.data(), length(images), n_pixels);
  const WideImages wide_b(b.data(), others ? length(b) : 0, n_pixels);
  const TemplateScorer scorer(wide_a, others ? wide_b : wide_a, n_pixels, threshold);
  return join_edges({length(images), length(b), !others}, scorer, n_threads, progress);
}

py::array_t<float> template_matrix(const Array<std::uint8_t>& images,
                                   const MaybeArray<std::uint8_t>& others, int n_threads,
                                   const py::object& progress) {
  const Array<std::uint8_t>& b = others ? *others : images;
  const ImageShape shape = common_shape(images, b, 1);
  const std::size_t n_pixels = shape.height * shape.width;
  const WideImages wide_a(images.data(), length(images), n_pixels);
  const WideImages wide_b(b.data(), others ? length(b) : 0, n_pixels);
  const TemplateScorer scorer(wide_a, others ? wide_b : wide_a, n_pixels, no_score);
  const Plane plane{length(images), length(b), !others};
  return with_diagonal(join_matrix(plane, scorer, n_threads, progress), plane.triangle);
}

void check_offsets(const Array<std::int64_t>& offsets, std::size_t total) {
  require(offsets.ndim() == 1 && offsets.shape(0) >= 1 && offsets.at(0) == 0 &&
              offsets.at(offsets.shape(0) - 1) == static_cast<std::int64_t>(total),
          "offsets must rise from 0 to the number of rows " + std::to_string(total));
  for (py::ssize_t k = 1; k < offsets.shape(0); ++k)
    require(offsets.at(k - 1) <= offsets.at(k), "offsets must never fall");
}

struct RaggedArrays {
  Array<std::uint8_t> pixels;
  Array<std::int64_t> offsets;
  Array<std::int32_t> shapes;

  RaggedImages view() const {
    check_offsets(offsets, length(pixels));
    const std::size_t n = length(offsets) - 1;
    require(shapes.ndim() == 2 && length(shapes) == n && shapes.shape(1) == 2,
            "shapes must have shape (n_images, 2), got " + shape_of(shapes));
    for (py::ssize_t k = 0; k < static_cast<py::ssize_t>(n); ++k) {
      const std::int64_t height = shapes.at(k, 0), width = shapes.at(k, 1);
      require(height > 0 && width > 0 && height * width == offsets.at(k + 1) - offsets.at(k),
              "image " + std::to_string(k) + " must hold height x width pixels");
    }
    return {pixels.data(), offsets.data(), shapes.data(), n};
  }
};

using RaggedTuple =
    std::tuple<Array<std::uint8_t>, Array<std::int64_t>, Array<std::int32_t>>;

RaggedArrays ragged(const RaggedTuple& parts) {
  return {std::get<0>(parts), std::get<1>(parts), std::get<2>(parts)};
}

py::array_t<Edge> sliding_edges(const RaggedTuple& images, const std::optional<RaggedTuple>& others,
                                double threshold, int n_threads, const py::object& progress) {
  const RaggedArrays a = ragged(images), b = ragged(others ? *others : images);
  const SlidingScorer scorer(a.view(), b.view(), threshold);
  return join_edges({a.view().n, b.view().n, !others}, scorer, n_threads, progress);
}

py::array_t<float> sliding_matrix(const RaggedTuple& images,
                                  const std::optional<RaggedTuple>& others, int n_threads,
                                  const py::object& progress) {
  const RaggedArrays a = ragged(images), b = ragged(others ? *others : images);
  const SlidingScorer scorer(a.view(), b.view(), no_score);
  const Plane plane{a.view().n, b.view().n, !others};
  return with_diagonal(join_matrix(plane, scorer, n_threads, progress), plane.triangle);
}

using DescriptorTuple = std::tuple<Array<std::uint64_t>, Array<std::int64_t>>;

DescriptorSets descriptor_sets(const DescriptorTuple& parts) {
  const Array<std::uint64_t>& words = std::get<0>(parts);
  const Array<std::int64_t>& offsets = std::get<1>(parts);
  require(words.ndim() == 2 && words.shape(1) == 4,
          "descriptors must have shape (total, 4) in 64-bit words, got " + shape_of(words));
  check_offsets(offsets, length(words));
  const std::size_t n = length(offsets) - 1;
  for (py::ssize_t k = 0; k < static_cast<py::ssize_t>(n); ++k)
    require(offsets.at(k + 1) - offsets.at(k) < (1 << 20),
            "an image must have fewer than 1048576 descriptors");
  return {words.data(), offsets.data(), n};
}

py::array_t<Edge> descriptor_edges(const DescriptorTuple& descriptors,
                                   const std::optional<DescriptorTuple>& others, double threshold,
                                   bool relative, std::uint32_t max_distance, int n_threads,
                                   const py::object& progress) {
  const DescriptorSets a = descriptor_sets(descriptors);
  const DescriptorSets b = descriptor_sets(others ? *others : descriptors);
  const DescriptorScorer scorer(a, b, {relative, max_distance}, threshold);
  return join_edges({a.n, b.n, !others}, scorer, n_threads, progress);
}

py::array_t<float> descriptor_matrix(const DescriptorTuple& descriptors,
                                     const std::optional<DescriptorTuple>& others, bool relative,
                                     std::uint32_t max_distance, int n_threads,
                                     const py::object& progress) {
  const DescriptorSets a = descriptor_sets(descriptors);
  const DescriptorSets b = descriptor_sets(others ? *others : descriptors);
  const DescriptorScorer scorer(a, b, {relative, max_distance}, no_score);
  return join_matrix({a.n, b.n, !others}, scorer, n_threads, progress);
}

py::array_t<std::int32_t> connected_components(const Array<Edge>& edges, std::size_t n_images) {
  require(edges.ndim() == 1, "edges must be one-dimensional, got " + shape_of(edges));
  const Edge* data = edges.data();
  const std::size_t n_edges = length(edges);
  for (std::size_t e = 0; e < n_edges; ++e)
    require(data[e].i >= 0 && data[e].j >= 0 &&
                static_cast<std::size_t>(std::max(data[e].i, data[e].j)) < n_images,
            "edge " + std::to_string(e) + " must join images below " + std::to_string(n_images) +
                ", got (" + std::to_string(data[e].i) + ", " + std::to_string(data[e].j) + ")");
  std::vector<std::int32_t> labels(n_images);
  {
    const py::gil_scoped_release release;
    components(data, n_edges, n_images, labels.data());
  }
  return to_array(std::move(labels));
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

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (std::size_t k = 0; k < n_usable_isas(); ++k) names.emplace_back(usable_isa(k).isa);
  return names;
}

void select_isa(const std::string& name) {
  if (use_isa(name.c_str())) return;
  std::string known;
  for (const std::string& isa : isas()) known += (known.empty() ? "" : ", ") + isa;
  throw py::value_error("CLUSTERIMG_ISA must be one of " + known + " on this machine, got " + name);
}

void choose_isa_at_import() {
  const std::size_t n = n_usable_isas();
  if (n == 0) throw py::import_error("this CPU lacks x86-64-v2 (SSE4.2 and POPCNT)");
  const char* cap = std::getenv("CLUSTERIMG_ISA");
  if (cap != nullptr && *cap != '\0')
    select_isa(cap);
  else
    use_isa(usable_isa(n - 1).isa);
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  PYBIND11_NUMPY_DTYPE(Edge, i, j, score);
  choose_isa_at_import();
#if !defined(_WIN32)
  pthread_atfork(nullptr, nullptr, [] { in_forked_child() = true; });
#endif
  m.doc() = "Compiled core of clusterimg: exact pairwise image similarity on arrays.";

  const auto arg = [](const char* name) { return py::arg(name).noconvert(); };
  const auto others = py::arg("others").noconvert() = py::none();
  const py::kw_only kw;
  const auto threshold = py::arg("threshold");
  const auto threads = py::arg("n_threads") = 0;
  const auto progress = py::arg("progress") = py::none();

  m.def("hamming_edges", &hamming_edges, arg("codes"), others, kw, threshold, threads, progress);
  m.def("hamming_matrix", &hamming_matrix, arg("codes"), others, kw, threads, progress);
  m.def("signature_edges", &signature_edges, arg("signatures"), others, kw, threshold, threads,
        progress);
  m.def("signature_matrix", &signature_matrix, arg("signatures"), others, kw, threads, progress);
  m.def("ssim_edges", &ssim_edges, arg("images"), others, kw, threshold, threads, progress);
  m.def("ssim_matrix", &ssim_matrix, arg("images"), others, kw, threads, progress);
  m.def("template_edges", &template_edges, arg("images"), others, kw, threshold, threads,
        progress);
  m.def("template_matrix", &template_matrix, arg("images"), others, kw, threads, progress);
  m.def("sliding_edges", &sliding_edges, arg("images"), others, kw, threshold, threads,
        progress);
  m.def("sliding_matrix", &sliding_matrix, arg("images"), others, kw, threads, progress);
  m.def("descriptor_edges", &descriptor_edges, arg("descriptors"), others, kw, threshold,
        py::arg("relative"), py::arg("max_distance"), threads, progress);
  m.def("descriptor_matrix", &descriptor_matrix, arg("descriptors"), others, kw,
        py::arg("relative"), py::arg("max_distance"), threads, progress);
  m.def("components", &connected_components, arg("edges"), py::arg("n_images"));
  m.def("phash", &phash_bits, arg("grey"), py::arg("hash_size"), py::arg("highfreq_factor"));

  m.def("isa", [] { return std::string(kernels().isa); });
  m.def("isas", &isas);
  m.def("use_isa", &select_isa, py::arg("name"));
  m.def("available_threads", &available_threads);
#if defined(_OPENMP)
  m.attr("openmp") = true;
#else
  m.attr("openmp") = false;
#endif
}
