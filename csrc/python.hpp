// What bindings of compiled modules share: checks with a sentence, arrays without a copy, and calls
// without the GIL.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kernels.hpp"
#include "parallel.hpp"

namespace clusterimg {

namespace py = pybind11;

inline void require(bool condition, const std::string& message) {
  if (!condition) throw py::value_error(message);
}

inline std::string shape_of(const py::array& array) {
  return py::str(array.attr("shape")).cast<std::string>();
}

// Where each item begins, and how high and wide images are: (n + 1), (n, 2).
using Offsets = py::array_t<std::int64_t, py::array::c_style>;
using Sides = py::array_t<std::int32_t, py::array::c_style>;

inline void check_offsets(const Offsets& offsets, std::size_t total) {
  require(offsets.ndim() == 1 && offsets.shape(0) >= 1 && offsets.at(0) == 0 &&
              offsets.at(offsets.shape(0) - 1) == static_cast<std::int64_t>(total),
          "offsets must rise from 0 to the number of rows " + std::to_string(total));
  for (py::ssize_t k = 1; k < offsets.shape(0); ++k)
    require(offsets.at(k - 1) <= offsets.at(k), "offsets must never fall");
}

inline void check_sides(const Sides& shapes, const Offsets& offsets) {
  const py::ssize_t n = offsets.shape(0) - 1;
  require(shapes.ndim() == 2 && shapes.shape(0) == n && shapes.shape(1) == 2,
          "shapes must have shape (n_images, 2), got " + shape_of(shapes));
  for (py::ssize_t k = 0; k < n; ++k) {
    const std::int64_t height = shapes.at(k, 0), width = shapes.at(k, 1);
    require(height > 0 && width > 0 && height * width == offsets.at(k + 1) - offsets.at(k),
            "image " + std::to_string(k) + " must hold height x width pixels");
  }
}

inline void check_descriptor_counts(const Offsets& offsets) {
  for (py::ssize_t k = 1; k < offsets.shape(0); ++k)
    require(offsets.at(k) - offsets.at(k - 1) < (1 << 20),
            "an image must have fewer than 1048576 descriptors");
}

inline MatchRule match_rule_of(const std::string& rule, std::uint32_t max_distance) {
  require(rule == "absolute" || rule == "relative" || rule == "ratio",
          "rule must be absolute, relative or ratio, got " + rule);
  return {rule == "absolute"   ? MatchRule::absolute
          : rule == "relative" ? MatchRule::relative
                               : MatchRule::ratio,
          max_distance};
}

// Hands a vector's memory to NumPy without a copy.
template <class T, class Allocator>
py::array to_array(std::vector<T, Allocator>&& values,
                   const py::dtype& dtype = py::dtype::of<T>()) {
  using Values = std::vector<T, Allocator>;
  auto* owned = new Values(std::move(values));
  py::capsule owner(owned, [](void* p) { delete static_cast<Values*>(p); });
  return py::array(dtype, static_cast<py::ssize_t>(owned->size()), owned->data(), owner);
}

// The dtype of an Edge, for a module beside the one that has registered it: pybind11 takes a type
// only once.
inline py::dtype edge_dtype() {
  py::list names, formats, offsets;
  const auto add = [&](const char* name, const char* format, std::size_t offset) {
    names.append(name);
    formats.append(format);
    offsets.append(offset);
  };
  add("i", "i4", offsetof(Edge, i));
  add("j", "i4", offsetof(Edge, j));
  add("score", "f8", offsetof(Edge, score));
  return py::dtype(names, formats, offsets, sizeof(Edge));
}

// Runs `work(monitor)` without the GIL; takes it back now and then for signals and progress.
template <class Work>
void run_released(const py::object& progress, const Work& work) {
  Monitor monitor([&](std::uint64_t done) {
    const py::gil_scoped_acquire hold;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!progress.is_none()) progress(done);
  });
  const py::gil_scoped_release release;
  work(monitor);
}

}  // namespace clusterimg
