// An array as a caller has it: NumPy's, or one that lies on a device and says so by
// `__cuda_array_interface__`, as Python's DeviceArray does of whatever it was made of. Nothing is
// copied.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "python.hpp"
#include "runtime.hpp"

namespace clusterimg::cuda {

struct Array {
  const void* data;
  std::vector<std::size_t> shape;
  int device;        // -1: the host
  py::object owner;  // keeps the memory

  std::size_t n_axes() const { return shape.size(); }
  std::string shape_text() const {
    std::string text = "(";
    for (const std::size_t n : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
    return text + (shape.size() == 1 ? ",)" : ")");
  }
};

// Whether a type is that of unsigned integers of some bytes, or of signed ones: the same bits,
// which is what libraries have that know no other of that size.
inline bool is_integer(char kind, std::size_t bytes, std::size_t wanted) {
  return (kind == 'u' || kind == 'i') && bytes == wanted;
}

// Notes which device has it, and waits for what was to write it.
inline Array settled(Array array) {
  if (array.data == nullptr) return array;  // of an empty one
  cudaPointerAttributes attributes{};
  check(cudaPointerGetAttributes(&attributes, array.data), "an array's device can't be told");
  array.device = attributes.type == cudaMemoryTypeDevice ? attributes.device : -1;
  const py::gil_scoped_release release;  // it may wait for a callback in Python
  const OnThisDevice there(attributes.device);
  check(cudaDeviceSynchronize(), "the device failed");
  return array;
}

inline Array by_interface(const py::object& object, std::size_t element, const std::string& name) {
  const py::dict facts = object.attr("__cuda_array_interface__");
  const std::string type = facts["typestr"].cast<std::string>();
  require(type.size() == 3 && is_integer(type[1], static_cast<std::size_t>(type[2] - '0'), element),
          name + " must have integers of " + std::to_string(element) + " bytes, got " + type);
  Array array{nullptr, {}, -1, object};
  array.shape = facts["shape"].cast<std::vector<std::size_t>>();
  array.data =
      reinterpret_cast<const void*>(facts["data"].cast<py::tuple>()[0].cast<std::uintptr_t>());
  require(!facts.contains("strides") || facts["strides"].is_none(),
          name + " must be contiguous in C order, and say so by no strides");
  return settled(std::move(array));
}

// An array of unsigned integers T with that many axes.
template <class T>
Array array_of(const py::object& object, std::size_t n_axes, const std::string& name) {
  Array array;
  if (py::isinstance<py::array>(object)) {
    require(py::isinstance<py::array_t<T, py::array::c_style>>(object),
            name + " must be contiguous in C order, of " +
                py::str(py::dtype::of<T>()).cast<std::string>());
    const auto values = py::reinterpret_borrow<py::array>(object);
    array = {values.data(), {}, -1, object};
    for (py::ssize_t axis = 0; axis < values.ndim(); ++axis)
      array.shape.push_back(static_cast<std::size_t>(values.shape(axis)));
  } else {
    require(py::hasattr(object, "__cuda_array_interface__"), name + " must be an array");
    array = by_interface(object, sizeof(T), name);
  }
  require(array.n_axes() == n_axes,
          name + " must have " + std::to_string(n_axes) + " axes, got shape " + array.shape_text());
  return array;
}

}  // namespace clusterimg::cuda
