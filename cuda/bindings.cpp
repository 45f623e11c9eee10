// Python bindings of the CUDA backend: check shapes, take pointers, release the GIL once, call.
// Nothing asks for a device before a function does.
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "device_array.hpp"
#include "driver.hpp"
#include "edge.hpp"
#include "launch.hpp"
#include "pairwise.hpp"

using namespace clusterimg;
using namespace clusterimg::cuda;

namespace {

constexpr int least_capability = 75;

// Such as 90; 0 if it can't be told. All properties of a device would take far longer.
int capability(int device) {
  int major = 0, minor = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  return 10 * major + minor;
}

// Devices by number that can run our kernels.
std::vector<int> usable_devices() {
  int n = 0;
  if (cudaGetDeviceCount(&n) != cudaSuccess) n = 0;
  std::vector<int> usable;
  for (int k = 0; k < n; ++k)
    if (capability(k) >= least_capability) usable.push_back(k);
  cudaGetLastError();
  return usable;
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// None if a device can be used, else why not.
std::optional<std::string> why() {
  int driver = 0, runtime = 0, n = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const cudaError_t error = cudaGetDeviceCount(&n);
  cudaGetLastError();
  if (driver == 0) return "this machine has no NVIDIA driver";
  if (error == cudaErrorInsufficientDriver)
    return "the NVIDIA driver is for CUDA " + version_text(driver) + ", this build needs one for " +
           version_text(runtime) + " or later";
  if (error == cudaErrorNoDevice || (error == cudaSuccess && n == 0))
    return "the NVIDIA driver sees no device";
  if (error == cudaErrorInitializationError)
    return "CUDA can't start in this process: one that was forked from a user of CUDA has none";
  if (error != cudaSuccess) return std::string("CUDA can't be used: ") + cudaGetErrorString(error);
  if (usable_devices().empty())
    return "no device has compute capability 7.5 or later, which this build needs";
  return std::nullopt;
}

py::list device_list() {
  py::list all;
  for (const int number : usable_devices()) {
    const OnThisDevice here(number);
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, number), "no such device");
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "the device's memory can't be told");
    int kilohertz = 0;
    check(cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, number), "no such device");
    py::dict device;
    device["number"] = number;
    device["name"] = std::string(properties.name);
    device["capability"] =
        std::to_string(properties.major) + "." + std::to_string(properties.minor);
    device["memory"] = total;
    device["free"] = free;
    device["multiprocessors"] = properties.multiProcessorCount;
    device["clock_mhz"] = kilohertz / 1000;
    all.append(device);
  }
  return all;
}

py::dict version_dict() {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  py::dict versions;
  versions["runtime"] = version_text(runtime);
  versions["driver"] = driver == 0 ? py::object(py::none()) : py::str(version_text(driver));
  versions["architectures"] = std::string(CLUSTERIMG_CUDA_ARCHITECTURES);
  return versions;
}

// --- the latest call, of each thread ---

std::vector<Usage>& latest() {
  thread_local std::vector<Usage> usage;
  return usage;
}

py::list last_run() {
  py::list all;
  for (const Usage& usage : latest()) {
    py::dict device;
    device["number"] = usage.device;
    device["name"] = usage.name;
    device["bytes"] = usage.bytes;
    device["launches"] = usage.launches;
    device["cut"] = usage.cut;
    device["pairs"] = usage.pairs;
    all.append(device);
  }
  return all;
}

// --- joins ---

struct Asked {
  double threshold;
  std::optional<std::vector<int>> devices;
  std::size_t memory, list_capacity;
  py::object progress;

  Resources resources() const {
    const std::vector<int> usable = usable_devices();
    if (usable.empty()) throw Failure(cudaErrorNoDevice, "no device can be used");
    Resources r{devices ? *devices : usable, memory, list_capacity};
    require(!r.devices.empty(), "devices must name one at least");
    for (const int device : r.devices)
      require(std::count(usable.begin(), usable.end(), device) == 1,
              "devices must be of those that can be used, got " + std::to_string(device));
    return r;
  }
};

// Two sets, checked, and the kernel for them.
struct Sets {
  std::unique_ptr<Kernel> kernel;
  Items a, b;
  std::vector<Array> owners;
  std::vector<py::object> places{};  // offsets and shapes
};

// Runs `find(join, resources, monitor)`, which returns what each device did, if there are pairs.
template <class Find>
void run_join(const Sets& sets, bool triangle, Keep keep, const Asked& asked, const Find& find) {
  latest().clear();
  if (sets.a.n == 0 || sets.b.n == 0) return;
  require(sets.a.n < most_items && sets.b.n < most_items,
          "a set must have fewer than 2147483648 items");
  const cuda::Join join{*sets.kernel, sets.a, sets.b, triangle, asked.threshold, keep};
  const Resources resources = asked.resources();
  run_released(asked.progress,
               [&](Monitor& monitor) { latest() = find(join, resources, monitor); });
}

py::array edges_of(const Sets& sets, bool triangle, const Asked& asked) {
  Edges edges;
  run_join(sets, triangle, Keep::edges, asked, [&](const auto& join, const auto& on, Monitor& m) {
    return find_edges(join, on, edges, m);
  });
  return to_array(std::move(edges), edge_dtype());
}

py::array_t<std::int32_t> components_of(const Sets& sets, const Asked& asked) {
  py::array_t<std::int32_t> out(static_cast<py::ssize_t>(sets.a.n));
  std::int32_t* labels = out.mutable_data();
  run_join(sets, true, Keep::components, asked, [&](const auto& join, const auto& on, Monitor& m) {
    return find_components(join, on, labels, m);
  });
  return out;
}

py::array_t<float> matrix_of(const Sets& sets, bool triangle, const Asked& asked) {
  py::array_t<float> out({sets.a.n, sets.b.n});
  float* scores = out.mutable_data();
  run_join(sets, triangle, Keep::matrix, asked, [&](const auto& join, const auto& on, Monitor& m) {
    return fill_matrix(join, on, scores, m);
  });
  return out;
}

// Defines NAME_edges, NAME_components and NAME_matrix. `make(a, b, threshold, options...)` checks
// two inputs and returns their sets and kernel.
template <class... Options, class Make, class... OptionArgs>
void def_kernel(py::module_& m, const std::string& name, const char* input, const Make& make,
                const OptionArgs&... option_args) {
  using Devices = std::optional<std::vector<int>>;
  const py::arg values = py::arg(input);
  const auto others = py::arg("others") = py::none();
  const auto progress = py::arg("progress") = py::none();
  const auto devices = py::arg("devices") = py::none();
  const auto memory = py::arg("memory") = 0;
  const auto list = py::arg("list_capacity") = 0;
  m.def((name + "_edges").c_str(),
        [make](const py::object& a, const py::object& b, double threshold, const py::object& report,
               const Devices& on, std::size_t bytes, std::size_t room, Options... options) {
          return edges_of(make(a, b.is_none() ? a : b, threshold, options...), b.is_none(),
                          Asked{threshold, on, bytes, room, report});
        },
        values, others, py::kw_only(), py::arg("threshold"), progress, devices, memory, list,
        option_args...);
  m.def((name + "_components").c_str(),
        [make](const py::object& a, double threshold, const py::object& report, const Devices& on,
               std::size_t bytes, std::size_t room, Options... options) {
          return components_of(make(a, a, threshold, options...),
                               Asked{threshold, on, bytes, room, report});
        },
        values, py::kw_only(), py::arg("threshold"), progress, devices, memory, list,
        option_args...);
  m.def((name + "_matrix").c_str(),
        [make](const py::object& a, const py::object& b, const py::object& report,
               const Devices& on, std::size_t bytes, Options... options) {
          return matrix_of(make(a, b.is_none() ? a : b, no_score, options...), b.is_none(),
                           Asked{no_score, on, bytes, 0, report});
        },
        values, others, py::kw_only(), progress, devices, memory, option_args...);
}

// --- inputs of each kernel ---

// Two sets of rows of one length, and the kernel for them.
template <class Word>
Sets row_sets(const py::object& a, const py::object& b, double threshold, const std::string& name,
              std::unique_ptr<Kernel> (*make)(std::size_t, double)) {
  const Array first = array_of<Word>(a, 2, name), second = array_of<Word>(b, 2, "others");
  require(first.shape[1] > 0 && first.shape[1] == second.shape[1],
          name + " and others must have as many columns, one at least, got " + first.shape_text() +
              " and " + second.shape_text());
  const auto items = [](const Array& rows) {
    return Items{rows.data, rows.shape[0], sizeof(Word), rows.shape[1],
                 nullptr,   nullptr,       rows.device};
  };
  return {make(first.shape[1], threshold), items(first), items(second), {first, second}};
}

Items images_of(const Array& array) {
  return {array.data, array.shape[0], 1,           array.shape[1] * array.shape[2],
          nullptr,    nullptr,        array.device};
}

using MakeImageKernel = std::unique_ptr<Kernel> (*)(std::size_t, std::size_t, double);

Sets image_sets(const py::object& a, const py::object& b, double threshold, std::size_t least,
                MakeImageKernel make) {
  const Array first = array_of<std::uint8_t>(a, 3, "images");
  const Array second = array_of<std::uint8_t>(b, 3, "others");
  const std::size_t height = first.shape[1], width = first.shape[2];
  require(
      height >= least && width >= least && second.shape[1] == height && second.shape[2] == width,
      "images and others must be of one height and width, each at least " + std::to_string(least) +
          ", got " + first.shape_text() + " and " + second.shape_text());
  return {make(height, width, threshold), images_of(first), images_of(second), {first, second}};
}

// The longest item.
std::size_t most_between(const Offsets& offsets) {
  std::int64_t most = 0;
  for (py::ssize_t k = 1; k < offsets.shape(0); ++k)
    most = std::max(most, offsets.at(k) - offsets.at(k - 1));
  return static_cast<std::size_t>(most);
}

// Flattened images of any sizes, their offsets (n + 1), their shapes (n, 2).
using ImageTuple = std::tuple<py::object, Offsets, Sides>;

Items ragged_images(const ImageTuple& parts, Array& pixels) {
  const auto& [values, offsets, shapes] = parts;
  pixels = array_of<std::uint8_t>(values, 1, "pixels");
  check_offsets(offsets, pixels.shape[0]);
  check_sides(shapes, offsets);
  return {pixels.data,
          static_cast<std::size_t>(offsets.shape(0)) - 1,
          1,
          0,
          offsets.data(),
          shapes.data(),
          pixels.device};
}

Sets sliding_sets(const py::object& a, const py::object& b, double threshold) {
  const auto first = a.cast<ImageTuple>(), second = b.cast<ImageTuple>();
  Sets sets;
  sets.owners.resize(2);
  for (const ImageTuple& set : {first, second}) {
    sets.places.push_back(std::get<1>(set));
    sets.places.push_back(std::get<2>(set));
  }
  sets.a = ragged_images(first, sets.owners[0]);
  sets.b = ragged_images(second, sets.owners[1]);
  const std::size_t pixels =
      std::max(most_between(std::get<1>(first)), most_between(std::get<1>(second)));
  sets.kernel = sliding_kernel(pixels, threshold);
  return sets;
}

// Descriptors of all images as 64-bit words (total, 4), and their offsets (n + 1).
using DescriptorTuple = std::tuple<py::object, Offsets>;

Items descriptor_items(const DescriptorTuple& parts, Array& words) {
  const auto& [values, offsets] = parts;
  words = array_of<std::uint64_t>(values, 2, "descriptors");
  require(words.shape[1] == 4,
          "descriptors must have shape (total, 4) in 64-bit words, got " + words.shape_text());
  check_offsets(offsets, words.shape[0]);
  check_descriptor_counts(offsets);
  return {
      words.data,  static_cast<std::size_t>(offsets.shape(0)) - 1, 32, 0, offsets.data(), nullptr,
      words.device};
}

Sets descriptor_sets(const py::object& a, const py::object& b, double threshold,
                     const std::string& rule, std::uint32_t max_distance) {
  const MatchRule match_rule = match_rule_of(rule, max_distance);
  const auto first = a.cast<DescriptorTuple>(), second = b.cast<DescriptorTuple>();
  Sets sets;
  sets.owners.resize(2);
  sets.places = {std::get<1>(first), std::get<1>(second)};
  sets.a = descriptor_items(first, sets.owners[0]);
  sets.b = descriptor_items(second, sets.owners[1]);
  sets.kernel = descriptor_kernel(match_rule, threshold);
  return sets;
}

}  // namespace

PYBIND11_MODULE(_core_cuda, m) {
  py::register_exception<Failure>(m, "DeviceFailure", PyExc_RuntimeError);
  m.doc() = "CUDA kernels of clusterimg: exact pairwise image similarity on arrays.";

  def_kernel(m, "hamming", "codes", [](const py::object& a, const py::object& b, double threshold) {
    return row_sets<std::uint64_t>(a, b, threshold, "codes", hamming_kernel);
  });
  def_kernel(m, "signature", "signatures",
             [](const py::object& a, const py::object& b, double threshold) {
               return row_sets<std::uint32_t>(a, b, threshold, "signatures", signature_kernel);
             });
  def_kernel(m, "ssim", "images", [](const py::object& a, const py::object& b, double threshold) {
    return image_sets(a, b, threshold, 7, ssim_kernel);
  });
  def_kernel(m, "template", "images",
             [](const py::object& a, const py::object& b, double threshold) {
               return image_sets(a, b, threshold, 1, template_kernel);
             });
  def_kernel(m, "sliding", "images", sliding_sets);
  def_kernel<std::string, std::uint32_t>(m, "descriptor", "descriptors", descriptor_sets,
                                         py::arg("rule"), py::arg("max_distance"));

  m.def("why", &why);
  m.def("device_count", [] { return usable_devices().size(); });
  m.def("devices", &device_list);
  m.def("versions", &version_dict);
  m.def("last_run", &last_run);
}
