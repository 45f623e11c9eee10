// The CUDA runtime on the CPU, for tests of what the host does.
//
// Work given to a stream is only noted down. It runs when the host waits for it, so who reads a
// result too early finds what was there before, and new memory is full of 0xA5. Memory of a device
// can be touched while its work runs, by nobody at other times: the host that does so crashes, as
// it would on a machine with a GPU. Copies from and to memory that is not pinned are done at the
// call, as CUDA does them.
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "device.hpp"

// 1. Types and constants, with CUDA's values

enum cudaError_t : int {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInitializationError = 3,
  cudaErrorCudartUnloading = 4,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInvalidMemcpyDirection = 21,
  cudaErrorInsufficientDriver = 35,
  cudaErrorDevicesUnavailable = 46,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorECCUncorrectable = 214,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchTimeout = 702,
  cudaErrorAssert = 710,
  cudaErrorHardwareStackError = 714,
  cudaErrorLaunchFailure = 719,
  cudaErrorUnknown = 999
};

enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault
};
enum cudaMemoryType {
  cudaMemoryTypeUnregistered,
  cudaMemoryTypeHost,
  cudaMemoryTypeDevice,
  cudaMemoryTypeManaged
};
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
  void *devicePointer, *hostPointer;
};

enum cudaDeviceAttr {
  cudaDevAttrMaxThreadsPerBlock = 1,
  cudaDevAttrMaxSharedMemoryPerBlock = 8,
  cudaDevAttrWarpSize = 10,
  cudaDevAttrClockRate = 13,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrIntegrated = 18,
  cudaDevAttrMemoryClockRate = 36,
  cudaDevAttrGlobalMemoryBusWidth = 37,
  cudaDevAttrL2CacheSize = 38,
  cudaDevAttrMaxThreadsPerMultiProcessor = 39,
  cudaDevAttrAsyncEngineCount = 40,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76
};
struct cudaDeviceProp {
  char name[256];
  std::size_t totalGlobalMem, sharedMemPerBlock;
  int major, minor, multiProcessorCount, warpSize, maxThreadsPerBlock, l2CacheSize, memoryBusWidth;
  int integrated, asyncEngineCount, maxThreadsPerMultiProcessor, regsPerBlock;
};

constexpr unsigned cudaStreamDefault = 0, cudaStreamNonBlocking = 1;
constexpr unsigned cudaEventDefault = 0, cudaEventBlockingSync = 1, cudaEventDisableTiming = 2;
constexpr unsigned cudaHostAllocDefault = 0, cudaHostAllocPortable = 1;

namespace emulation {
struct Stream;
struct Event;
}  // namespace emulation
using cudaStream_t = emulation::Stream*;
using cudaEvent_t = emulation::Event*;
#define cudaStreamLegacy (reinterpret_cast<cudaStream_t>(0x1))
#define cudaStreamPerThread (reinterpret_cast<cudaStream_t>(0x2))

struct cudaLaunchAttribute;
struct cudaLaunchConfig_t {
  dim3 gridDim{}, blockDim{};
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

namespace emulation {

// 2. Devices

struct Stream {
  int device = 0;
  bool blocking = false;  // waits for the legacy stream, and that one for it
  std::deque<std::function<void()>> work{};
  std::uint64_t n_given = 0, n_done = 0;
};

// What a stream had been given when the event was recorded.
struct Event {
  Stream* stream = nullptr;
  std::uint64_t after = 0;
  bool timed = false;
  std::chrono::steady_clock::time_point when{};
};

constexpr std::size_t usual_memory = std::size_t{1} << 30;
constexpr std::size_t most_memory = std::size_t{8} << 30;  // addresses of a device, not memory
constexpr std::size_t gap = 512;                           // around each allocation; of 0x5C
constexpr unsigned char new_byte = 0xA5, gap_byte = 0x5C;

struct Device {
  char* memory = nullptr;
  std::size_t total = usual_memory, used = 0;
  int major = 9, minor = 0;
  std::map<std::size_t, std::size_t> taken{};  // where and how many bytes
  cudaError_t error = cudaSuccess;             // sticks
  std::string text{};
  long long calls_left = -1;  // until it vanishes; for ever
  cudaError_t vanishes_with = cudaErrorDevicesUnavailable;
  int open = 0;
  Stream legacy{}, per_thread{};
};

struct Machine {
  std::recursive_mutex mutex{};
  int driver = 13000;
  int n_devices = 1;
  std::deque<Device> devices{};  // those that were ever there
  std::map<char*, std::size_t> pinned{};
  std::multimap<std::size_t, char*> pinned_before{};  // to be given again: fresh pages are slow
  std::set<Stream*> streams{};
  std::set<Event*> events{};
  bool eager = false;  // work runs when it is given
  std::deque<std::string> texts{};
  long long n_calls = 0, n_launches = 0;
};
inline Machine& machine() {
  static Machine* all = new Machine;  // never destroyed: what is freed at exit still finds it
  return *all;
}

inline thread_local int current_device = 0;
inline thread_local cudaError_t last_error = cudaSuccess;

inline Device& device(int number) {
  Machine& all = machine();
  while (static_cast<int>(all.devices.size()) <= number) {
    all.devices.emplace_back();
    Device& made = all.devices.back();
    made.memory = static_cast<char*>(
        mmap(nullptr, most_memory, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (made.memory == MAP_FAILED) std::abort();
    for (Stream* stream : {&made.legacy, &made.per_thread}) {
      stream->device = static_cast<int>(all.devices.size()) - 1;
      stream->blocking = true;
      all.streams.insert(stream);
    }
  }
  return all.devices[static_cast<std::size_t>(number)];
}

// Memory of a device can be touched while one of these lives.
class Open {
 public:
  explicit Open(Device& device) : device_(device) {
    if (device_.open++ == 0) mprotect(device_.memory, most_memory, PROT_READ | PROT_WRITE);
  }
  Open(const Open&) = delete;
  ~Open() {
    if (--device_.open == 0) mprotect(device_.memory, most_memory, PROT_NONE);
  }

 private:
  Device& device_;
};

inline void break_device(Device& on, cudaError_t error, const std::string& text) {
  if (on.error != cudaSuccess) return;
  on.error = error;
  on.text = text;
}

inline int device_of(const void* pointer) {
  const char* byte = static_cast<const char*>(pointer);
  std::deque<Device>& all = machine().devices;
  for (std::size_t d = 0; d < all.size(); ++d)
    if (byte >= all[d].memory && byte < all[d].memory + most_memory) return static_cast<int>(d);
  return -1;
}

// Whether [pointer, pointer + bytes) lies in one allocation of the device.
inline bool is_taken(Device& on, const void* pointer, std::size_t bytes) {
  const std::size_t at = static_cast<std::size_t>(static_cast<const char*>(pointer) - on.memory);
  auto after = on.taken.upper_bound(at);
  if (after == on.taken.begin()) return false;
  --after;
  return at + bytes <= after->first + after->second;
}

inline bool is_pinned(const void* pointer) {
  char* byte = static_cast<char*>(const_cast<void*>(pointer));
  auto after = machine().pinned.upper_bound(byte);
  if (after == machine().pinned.begin()) return false;
  --after;
  return byte < after->first + after->second;
}

inline void mark([[maybe_unused]] void* from, [[maybe_unused]] std::size_t bytes,
                 [[maybe_unused]] bool usable) {
#ifdef EMULATION_ASAN
  if (usable)
    ASAN_UNPOISON_MEMORY_REGION(from, bytes);
  else
    ASAN_POISON_MEMORY_REGION(from, bytes);
#endif
}
inline bool intact([[maybe_unused]] const char* from, [[maybe_unused]] std::size_t bytes) {
#ifndef EMULATION_ASAN  // which finds the write itself
  for (std::size_t k = 0; k < bytes; ++k)
    if (static_cast<unsigned char>(from[k]) != gap_byte) return false;
#endif
  return true;
}

// 3. Work

inline void run_next(Stream& stream) {
  std::function<void()> work = std::move(stream.work.front());
  stream.work.pop_front();
  Device& on = device(stream.device);
  if (on.error == cudaSuccess) {
    const Open open(on);
    work();
  }
  ++stream.n_done;
}

inline void run_until(Stream& stream, std::uint64_t n) {
  while (stream.n_done < n && !stream.work.empty()) run_next(stream);
}

inline void give(Stream& stream, std::function<void()> work) {
  Device& on = device(stream.device);
  if (stream.blocking) {  // both ways between the legacy stream and the others
    std::vector<std::pair<Stream*, std::uint64_t>> first;
    for (Stream* other : machine().streams)
      if (other->device == stream.device && other != &stream && other->blocking &&
          (&stream == &on.legacy || other == &on.legacy))
        first.emplace_back(other, other->n_given);
    work = [first, work = std::move(work)] {
      for (const auto& [other, n] : first)
        if (machine().streams.count(other)) run_until(*other, n);
      work();
    };
  }
  stream.work.push_back(std::move(work));
  ++stream.n_given;
  if (machine().eager) run_until(stream, stream.n_given);
}

inline void run_all(int number) {
  const std::set<Stream*> streams = machine().streams;
  for (Stream* stream : streams)
    if (stream->device == number) run_until(*stream, stream->n_given);
}

// One call of the runtime: takes the lock, counts, and tells what sticks to the device.
class Call {
 public:
  explicit Call(int number = current_device) : lock_(machine().mutex), number_(number) {
    Machine& all = machine();
    ++all.n_calls;
    if (all.driver == 0)
      error_ = cudaErrorInsufficientDriver;
    else if (all.n_devices == 0)
      error_ = cudaErrorNoDevice;
    else if (number_ < 0 || number_ >= all.n_devices)
      error_ = cudaErrorInvalidDevice;
    if (error_ != cudaSuccess) return;
    Device& on = device(number_);
    if (on.calls_left > 0) --on.calls_left;
    if (on.calls_left == 0) {
      on.calls_left = -1;
      break_device(on, on.vanishes_with, "the emulated device vanished");
    }
    error_ = on.error;
  }
  Device& on() const { return device(number_); }
  bool failed() const { return error_ != cudaSuccess; }
  // What the call returns: `error`, or what was or became wrong with the device.
  cudaError_t end(cudaError_t error = cudaSuccess) const {
    cudaError_t out = error_ != cudaSuccess ? error_ : error;
    if (error_ == cudaSuccess && on().error != cudaSuccess) out = on().error;
    if (out != cudaSuccess && out != cudaErrorNotReady) last_error = out;
    return out;
  }

 private:
  std::unique_lock<std::recursive_mutex> lock_;
  int number_;
  cudaError_t error_ = cudaSuccess;
};

// The stream itself, or null if there is none.
inline Stream* find(cudaStream_t stream) {
  if (stream == nullptr || stream == cudaStreamLegacy) return &device(current_device).legacy;
  if (stream == cudaStreamPerThread) return &device(current_device).per_thread;
  return machine().streams.count(stream) ? stream : nullptr;
}

struct Rows {  // of a copy: `n` of `bytes`, that far apart
  std::size_t bytes, n, to_pitch, from_pitch;
};
inline void copy_rows(char* to, const char* from, const Rows& rows) {
  for (std::size_t r = 0; r < rows.n; ++r)
    std::memmove(to + r * rows.to_pitch, from + r * rows.from_pitch, rows.bytes);
}

inline cudaError_t copy(void* to, const void* from, const Rows& rows, cudaMemcpyKind kind,
                        cudaStream_t on_stream) {
  const Call call;
  if (call.failed()) return call.end();
  Stream* stream = find(on_stream);
  if (!stream) return call.end(cudaErrorInvalidResourceHandle);
  if (rows.bytes == 0 || rows.n == 0) return call.end();
  const int to_device = device_of(to), from_device = device_of(from);
  const cudaMemcpyKind is =
      to_device >= 0     ? from_device >= 0 ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice
      : from_device >= 0 ? cudaMemcpyDeviceToHost
                         : cudaMemcpyHostToHost;
  if (kind != cudaMemcpyDefault && kind != is) return call.end(cudaErrorInvalidValue);
  const std::size_t to_bytes = (rows.n - 1) * rows.to_pitch + rows.bytes;
  const std::size_t from_bytes = (rows.n - 1) * rows.from_pitch + rows.bytes;
  if ((to_device >= 0 && !is_taken(device(to_device), to, to_bytes)) ||
      (from_device >= 0 && !is_taken(device(from_device), from, from_bytes)))
    return call.end(cudaErrorInvalidValue);
  char* target = static_cast<char*>(to);
  const char* source = static_cast<const char*>(from);
  const auto run = [=] {
    const Open a(device(std::max(to_device, 0))), b(device(std::max(from_device, 0)));
    copy_rows(target, source, rows);
  };
  if (is == cudaMemcpyHostToDevice && !is_pinned(from)) {  // taken from there before it returns
    auto staged = std::make_shared<std::vector<char>>(rows.bytes * rows.n);
    copy_rows(staged->data(), source, {rows.bytes, rows.n, rows.bytes, rows.from_pitch});
    give(*stream, [=] {
      copy_rows(target, staged->data(), {rows.bytes, rows.n, rows.to_pitch, rows.bytes});
    });
  } else {
    give(*stream, run);
    if (to_device < 0 && !is_pinned(to)) run_until(*stream, stream->n_given);
  }
  return call.end();
}

// A pointer among the arguments of a kernel that is one of the host, or of another device.
template <class T>
bool is_foreign([[maybe_unused]] const T& argument, [[maybe_unused]] int number) {
  if constexpr (std::is_pointer_v<T>) {
    const int at = device_of(argument);
    return argument != nullptr && at != number && !(at < 0 && is_pinned(argument));
  } else {
    return false;
  }
}

}  // namespace emulation

// 4. The runtime's functions

inline cudaError_t cudaGetLastError() {
  const std::lock_guard<std::recursive_mutex> lock(emulation::machine().mutex);
  cudaError_t error = std::exchange(emulation::last_error, cudaSuccess);
  if (emulation::current_device < static_cast<int>(emulation::machine().devices.size()) &&
      emulation::device(emulation::current_device).error != cudaSuccess)
    error = emulation::device(emulation::current_device).error;
  return error;
}
inline cudaError_t cudaPeekAtLastError() {
  const cudaError_t error = emulation::last_error;
  const cudaError_t with_device = cudaGetLastError();
  emulation::last_error = error;
  return with_device;
}

inline const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define EMULATION_NAME(name) \
  case name:                 \
    return #name;
    EMULATION_NAME(cudaSuccess)
    EMULATION_NAME(cudaErrorInvalidValue)
    EMULATION_NAME(cudaErrorMemoryAllocation)
    EMULATION_NAME(cudaErrorInitializationError)
    EMULATION_NAME(cudaErrorCudartUnloading)
    EMULATION_NAME(cudaErrorInvalidConfiguration)
    EMULATION_NAME(cudaErrorInvalidMemcpyDirection)
    EMULATION_NAME(cudaErrorInsufficientDriver)
    EMULATION_NAME(cudaErrorDevicesUnavailable)
    EMULATION_NAME(cudaErrorNoDevice)
    EMULATION_NAME(cudaErrorInvalidDevice)
    EMULATION_NAME(cudaErrorNoKernelImageForDevice)
    EMULATION_NAME(cudaErrorECCUncorrectable)
    EMULATION_NAME(cudaErrorInvalidResourceHandle)
    EMULATION_NAME(cudaErrorNotReady)
    EMULATION_NAME(cudaErrorIllegalAddress)
    EMULATION_NAME(cudaErrorLaunchTimeout)
    EMULATION_NAME(cudaErrorAssert)
    EMULATION_NAME(cudaErrorHardwareStackError)
    EMULATION_NAME(cudaErrorLaunchFailure)
    EMULATION_NAME(cudaErrorUnknown)
#undef EMULATION_NAME
  }
  return "unrecognized error code";
}

// What sticks to a device comes with what the emulation says of it.
inline const char* cudaGetErrorString(cudaError_t error) {
  emulation::Machine& all = emulation::machine();
  const std::lock_guard<std::recursive_mutex> lock(all.mutex);
  const auto text = [&](const emulation::Device& device) -> const char* {
    if (device.error != error || device.text.empty()) return nullptr;
    all.texts.push_back(device.text);
    return all.texts.back().c_str();
  };
  const std::size_t first = static_cast<std::size_t>(emulation::current_device);
  if (error != cudaSuccess && first < all.devices.size())
    if (const char* found = text(all.devices[first])) return found;
  if (error != cudaSuccess)
    for (const emulation::Device& device : all.devices)
      if (const char* found = text(device)) return found;
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    default:
      return cudaGetErrorName(error);
  }
}

inline cudaError_t cudaDriverGetVersion(int* version) {
  *version = emulation::machine().driver;
  return cudaSuccess;
}
inline cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* n) {
  const std::lock_guard<std::recursive_mutex> lock(emulation::machine().mutex);
  *n = emulation::machine().driver == 0 ? 0 : emulation::machine().n_devices;
  if (*n > 0) return cudaSuccess;
  return emulation::last_error =
             emulation::machine().driver == 0 ? cudaErrorInsufficientDriver : cudaErrorNoDevice;
}
inline cudaError_t cudaSetDevice(int number) {
  const emulation::Call call(number);
  if (call.failed()) return call.end();
  emulation::current_device = number;
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* number) {
  *number = emulation::current_device;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int number) {
  const emulation::Call call(number);
  if (call.failed()) return call.end();
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      return *value = 1024, cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      return *value = 48 << 10, cudaSuccess;
    case cudaDevAttrWarpSize:
      return *value = 32, cudaSuccess;
    case cudaDevAttrClockRate:
      return *value = 1755000, cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      return *value = 4, cudaSuccess;
    case cudaDevAttrIntegrated:
      return *value = 0, cudaSuccess;
    case cudaDevAttrMemoryClockRate:
      return *value = 2619000, cudaSuccess;
    case cudaDevAttrGlobalMemoryBusWidth:
      return *value = 5120, cudaSuccess;
    case cudaDevAttrL2CacheSize:
      return *value = 50 << 20, cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      return *value = 2048, cudaSuccess;
    case cudaDevAttrAsyncEngineCount:
      return *value = 3, cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      return *value = call.on().major, cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      return *value = call.on().minor, cudaSuccess;
  }
  return call.end(cudaErrorInvalidValue);
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int number) {
  const emulation::Call call(number);
  if (call.failed()) return call.end();
  *properties = {};
  std::strcpy(properties->name, "emulated device");
  properties->totalGlobalMem = call.on().total;
  properties->sharedMemPerBlock = 48 << 10;
  properties->major = call.on().major;
  properties->minor = call.on().minor;
  properties->multiProcessorCount = 4;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->l2CacheSize = 50 << 20;
  properties->memoryBusWidth = 5120;
  properties->asyncEngineCount = 3;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->regsPerBlock = 65536;
  return cudaSuccess;
}
inline cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  const emulation::Call call;
  if (call.failed()) return call.end();
  *total = call.on().total;
  *free = *total - std::min(*total, call.on().used);
  return call.end();
}

template <class T>
cudaError_t cudaMalloc(T** memory, std::size_t bytes) {
  using namespace emulation;
  const Call call;
  if (call.failed()) return call.end();
  *memory = nullptr;
  if (bytes == 0) return call.end();
  Device& on = call.on();
  if (bytes > on.total - std::min(on.total, on.used)) return call.end(cudaErrorMemoryAllocation);
  std::size_t at = gap;  // the first gap that it fits into
  for (const auto& [begin, size] : on.taken) {
    if (begin >= at + bytes + gap) break;
    at = (begin + size + gap + 511) / 512 * 512;
  }
  if (at + bytes + gap > most_memory) return call.end(cudaErrorMemoryAllocation);
  const Open open(on);
  mark(on.memory + at - gap, bytes + 2 * gap, true);
  std::memset(on.memory + at - gap, gap_byte, bytes + 2 * gap);
  std::memset(on.memory + at, new_byte, bytes);
  mark(on.memory + at - gap, gap, false);
  mark(on.memory + at + bytes, gap, false);
  on.taken[at] = bytes;
  on.used += bytes;
  *memory = reinterpret_cast<T*>(on.memory + at);
  return call.end();
}

inline cudaError_t cudaFree(void* memory) {
  using namespace emulation;
  const int number = device_of(memory);
  const Call call(number < 0 ? current_device : number);
  if (memory == nullptr) return call.end();
  if (number < 0) return call.end(cudaErrorInvalidValue);
  Device& on = device(number);  // one that failed forgets it too
  run_all(number);
  const auto found =
      on.taken.find(static_cast<std::size_t>(static_cast<char*>(memory) - on.memory));
  if (found == on.taken.end()) return call.end(cudaErrorInvalidValue);
  const auto [at, bytes] = *found;
  const Open open(on);
  if (!intact(on.memory + at - gap, gap) || !intact(on.memory + at + bytes, gap))
    break_device(on, cudaErrorIllegalAddress,
                 "a kernel wrote in front of or behind the " + std::to_string(bytes) +
                     " bytes of an allocation");
  if (on.error == cudaSuccess) std::memset(on.memory + at, new_byte, bytes);
  mark(on.memory + at, bytes, false);
  on.used -= bytes;
  on.taken.erase(found);
  return call.end();
}

template <class T>
cudaError_t cudaMallocHost(T** memory, std::size_t bytes, unsigned = 0) {
  using namespace emulation;
  const Call call;
  if (call.failed()) return call.end();
  *memory = nullptr;
  if (bytes == 0) return call.end();
  const auto before = machine().pinned_before.find(bytes);
  char* made = nullptr;
  if (before != machine().pinned_before.end()) {
    made = before->second;
    machine().pinned_before.erase(before);
    mark(made, bytes, true);
  } else {
    made = static_cast<char*>(std::malloc(bytes));
  }
  if (!made) return call.end(cudaErrorMemoryAllocation);
  std::memset(made, new_byte, bytes);
  machine().pinned[made] = bytes;
  *memory = reinterpret_cast<T*>(made);
  return call.end();
}
template <class T>
cudaError_t cudaHostAlloc(T** memory, std::size_t bytes, unsigned flags) {
  return cudaMallocHost(memory, bytes, flags);
}
inline cudaError_t cudaFreeHost(void* memory) {
  using namespace emulation;
  const Call call;
  if (memory == nullptr) return call.end();
  for (int d = 0; d < static_cast<int>(machine().devices.size()); ++d) run_all(d);
  const auto found = machine().pinned.find(static_cast<char*>(memory));
  if (found == machine().pinned.end()) return call.end(cudaErrorInvalidValue);
  if (found->second > std::size_t{1} << 20 && machine().pinned_before.size() < 8) {
    machine().pinned_before.emplace(found->second, found->first);
    mark(memory, found->second, false);
  } else {
    std::free(memory);
  }
  machine().pinned.erase(found);
  return call.end();
}

inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* out, const void* pointer) {
  using namespace emulation;
  const Call call;
  if (call.failed()) return call.end();
  const int number = device_of(pointer);
  void* same = const_cast<void*>(pointer);
  if (number >= 0 && is_taken(device(number), pointer, 1))
    *out = {cudaMemoryTypeDevice, number, same, nullptr};
  else if (is_pinned(pointer))
    *out = {cudaMemoryTypeHost, current_device, same, same};
  else
    *out = {cudaMemoryTypeUnregistered, -2, nullptr, same};
  return call.end();
}

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes,
                                   cudaMemcpyKind kind, cudaStream_t stream = nullptr) {
  return emulation::copy(to, from, {bytes, 1, bytes, bytes}, kind, stream);
}
inline cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from,
                                     std::size_t from_pitch, std::size_t width, std::size_t height,
                                     cudaMemcpyKind kind, cudaStream_t stream = nullptr) {
  if (width > to_pitch || width > from_pitch) return cudaErrorInvalidValue;
  return emulation::copy(to, from, {width, height, to_pitch, from_pitch}, kind, stream);
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream);
inline cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}
inline cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, std::size_t bytes,
                                       cudaStream_t stream = nullptr) {
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}
inline cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes,
                                   cudaStream_t on_stream = nullptr) {
  using namespace emulation;
  const Call call;
  if (call.failed()) return call.end();
  Stream* stream = find(on_stream);
  if (!stream) return call.end(cudaErrorInvalidResourceHandle);
  const int number = device_of(to);
  if (bytes > 0 && (number < 0 || !is_taken(device(number), to, bytes)))
    return call.end(cudaErrorInvalidValue);
  if (bytes > 0) give(*stream, [=] { std::memset(to, value, bytes); });
  return call.end();
}
inline cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  return cudaMemsetAsync(to, value, bytes, nullptr);
}

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  using namespace emulation;
  const Call call;
  *stream = nullptr;
  if (call.failed()) return call.end();
  *stream = new Stream{current_device, (flags & cudaStreamNonBlocking) == 0};
  machine().streams.insert(*stream);
  return call.end();
}
inline cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t on_stream) {
  using namespace emulation;
  const Call call;
  Stream* stream = call.failed() ? nullptr : find(on_stream);
  if (!call.failed() && !stream) return call.end(cudaErrorInvalidResourceHandle);
  if (stream) run_until(*stream, stream->n_given);
  // The legacy stream waits for those that wait for it.
  if (stream && stream == &device(stream->device).legacy)
    for (Stream* other : std::set<Stream*>(machine().streams))
      if (other->device == stream->device && other->blocking) run_until(*other, other->n_given);
  return call.end(stream ? device(stream->device).error : cudaSuccess);
}
inline cudaError_t cudaStreamQuery(cudaStream_t on_stream) {
  using namespace emulation;
  const Call call;
  Stream* stream = call.failed() ? nullptr : find(on_stream);
  if (!stream) return call.end(cudaErrorInvalidResourceHandle);
  if (stream->work.empty()) return call.end();
  run_next(*stream);
  return call.end(cudaErrorNotReady);
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  using namespace emulation;
  const Call call;
  if (!machine().streams.count(stream)) return call.end(cudaErrorInvalidResourceHandle);
  run_until(*stream, stream->n_given);
  for (Event* event : machine().events)
    if (event->stream == stream) event->stream = nullptr;
  machine().streams.erase(stream);
  delete stream;
  return call.end();
}
inline cudaError_t cudaDeviceSynchronize() {
  using namespace emulation;
  const Call call;
  if (!call.failed()) run_all(current_device);
  return call.end();
}

inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  using namespace emulation;
  const Call call;
  *event = nullptr;
  if (call.failed()) return call.end();
  *event = new Event{};
  (*event)->timed = (flags & cudaEventDisableTiming) == 0;
  machine().events.insert(*event);
  return call.end();
}
inline cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const emulation::Call call;
  if (emulation::machine().events.erase(event) == 0)
    return call.end(cudaErrorInvalidResourceHandle);
  delete event;
  return call.end();
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t on_stream = nullptr) {
  using namespace emulation;
  const Call call;
  if (call.failed()) return call.end();
  Stream* stream = find(on_stream);
  if (!stream || !machine().events.count(event)) return call.end(cudaErrorInvalidResourceHandle);
  give(*stream, [event] {
    if (machine().events.count(event)) event->when = std::chrono::steady_clock::now();
  });
  event->stream = stream;
  event->after = stream->n_given;
  return call.end();
}
inline cudaError_t cudaEventQuery(cudaEvent_t event) {
  using namespace emulation;
  const Call call;
  if (call.failed()) return call.end();
  if (!machine().events.count(event)) return call.end(cudaErrorInvalidResourceHandle);
  if (!event->stream || event->stream->n_done >= event->after) return call.end();
  run_next(*event->stream);  // it gets on, and is not there yet
  return call.end(cudaErrorNotReady);
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  using namespace emulation;
  const Call call;
  if (call.failed()) return call.end();
  if (!machine().events.count(event)) return call.end(cudaErrorInvalidResourceHandle);
  Stream* stream = event->stream;
  if (stream) run_until(*stream, event->after);
  return call.end(stream ? device(stream->device).error : cudaSuccess);
}
inline cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  using namespace emulation;
  const Call call;
  if (call.failed()) return call.end();
  for (Event* event : {begin, end}) {
    if (!machine().events.count(event) || !event->timed)
      return call.end(cudaErrorInvalidResourceHandle);
    if (event->stream && event->stream->n_done < event->after) return call.end(cudaErrorNotReady);
  }
  *milliseconds = std::chrono::duration<float, std::milli>(end->when - begin->when).count();
  return call.end();
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t on_stream, cudaEvent_t event, unsigned = 0) {
  using namespace emulation;
  const Call call;
  if (call.failed()) return call.end();
  Stream* stream = find(on_stream);
  if (!stream || !machine().events.count(event)) return call.end(cudaErrorInvalidResourceHandle);
  if (Stream* first = event->stream)
    give(*stream, [first, n = event->after] {
      if (machine().streams.count(first)) run_until(*first, n);
    });
  return call.end();
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  using namespace emulation;
  const Call call;
  if (call.failed()) return call.end();
  Stream* stream = find(config->stream);
  if (!stream) return call.end(cudaErrorInvalidResourceHandle);
  const dim3 grid = config->gridDim, block = config->blockDim;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || block.x == 0 || block.y == 0 || block.z == 0 ||
      grid.x > 2147483647U || grid.y > 65535 || grid.z > 65535 || block.z > 64 ||
      std::uint64_t{block.x} * block.y * block.z > 1024 || config->dynamicSmemBytes > 0)
    return call.end(cudaErrorInvalidConfiguration);
  if (stream->device != current_device) return call.end(cudaErrorInvalidResourceHandle);
  std::tuple<Parameters...> values{static_cast<Parameters>(arguments)...};
  ++machine().n_launches;
  const int number = stream->device;
  give(*stream, [=] {
    Device& on = device(number);
    const bool foreign =
        std::apply([&](const auto&... each) { return (is_foreign(each, number) || ...); }, values);
    if (foreign)
      return break_device(on, cudaErrorIllegalAddress,
                          "a kernel was given a pointer that is not of its device");
    const std::string failure = run_grid(grid, block, [&] { std::apply(kernel, values); });
    if (!failure.empty()) break_device(on, cudaErrorAssert, failure);
  });
  return call.end();
}
