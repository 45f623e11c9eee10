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
