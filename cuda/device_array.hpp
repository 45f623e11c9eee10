// An array as a caller has it: NumPy's, or one that lies on a device and says so by
// `__cuda_array_interface__` or DLPack. Nothing is copied.
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

// The start of a DLPack capsule, as its specification lays it out (dlpack.h, version 0 and 1 share
// it).
struct DLTensor {
  void* data;
  std::int32_t device_type, device_id;
  std::int32_t n_axes;
  std::uint8_t type_code, type_bits;
  std::uint16_t type_lanes;
  std::int64_t* shape;
  std::int64_t* strides;
  std::uint64_t byte_offset;
};
constexpr std::int32_t dl_cuda = 2;

// Whether a type is that of unsigned integers of some bytes, or of signed ones: the same bits,
// which is what libraries have that know no other of that size.
inline bool is_integer(char kind, std::size_t bytes, std::size_t wanted) {
  return (kind == 'u' || kind == 'i') && bytes == wanted;
}

inline void require_rows(const Array& array, const std::vector<std::int64_t>& strides,
                         std::size_t element, const std::string& name) {
  std::size_t step = element;
  for (std::size_t axis = array.n_axes(); axis-- > 0; step *= array.shape[axis])
    require(array.shape[axis] < 2 || strides[axis] == static_cast<std::int64_t>(step),
            name + " must be contiguous in C order");
}

// Notes which device has it, and waits for what was to write it.
inline Array settled(Array array) {
  if (array.data == nullptr) return array;  // of an empty one
  cudaPointerAttributes attributes{};
  check(cudaPointerGetAttributes(&attributes, array.data), "an array's device can't be told");
  array.device = attributes.type == cudaMemoryTypeDevice ? attributes.device : -1;
  int before = 0;
  check(cudaGetDevice(&before), "no device");
  check(cudaSetDevice(attributes.device), "no such device");
  check(cudaDeviceSynchronize(), "the device failed");
  check(cudaSetDevice(before), "no such device");
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
  if (facts.contains("strides") && !facts["strides"].is_none())
    require_rows(array, facts["strides"].cast<std::vector<std::int64_t>>(), element, name);
  return settled(std::move(array));
}

inline Array by_dlpack(const py::object& object, std::size_t element, const std::string& name) {
  py::capsule capsule = object.attr("__dlpack__")();
  const auto* tensor = static_cast<const DLTensor*>(capsule.get_pointer());
  require(tensor->device_type == dl_cuda, name + " must lie on a CUDA device or be a NumPy array");
  require(tensor->type_lanes == 1 && tensor->type_code < 2 &&
              is_integer(tensor->type_code == 0 ? 'i' : 'u', tensor->type_bits / 8u, element),
          name + " must have integers of " + std::to_string(element) + " bytes");
  Array array{static_cast<const std::uint8_t*>(tensor->data) + tensor->byte_offset,
              {},
              -1,
              py::make_tuple(object, capsule)};
  std::vector<std::int64_t> strides;
  for (std::int32_t axis = 0; axis < tensor->n_axes; ++axis) {
    array.shape.push_back(static_cast<std::size_t>(tensor->shape[axis]));
    if (tensor->strides)
      strides.push_back(tensor->strides[axis] * static_cast<std::int64_t>(element));
  }
  if (tensor->strides) require_rows(array, strides, element, name);
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
  } else if (py::hasattr(object, "__cuda_array_interface__")) {
    array = by_interface(object, sizeof(T), name);
  } else {
    require(py::hasattr(object, "__dlpack__"), name + " must be an array");
    array = by_dlpack(object, sizeof(T), name);
  }
  require(array.n_axes() == n_axes,
          name + " must have " + std::to_string(n_axes) + " axes, got shape " + array.shape_text());
  return array;
}

}  // namespace clusterimg::cuda
