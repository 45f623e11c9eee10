// The emulated machine: its devices and their memory, streams, and work that waits; host.hpp has
// what programs call.
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

// Freed memory must not pile up: every change of its protection goes through all pages there are.
inline void give_back(char* memory, std::size_t bytes) {
  constexpr std::size_t page = 4096;
  const auto begin = reinterpret_cast<std::uintptr_t>(memory), end = begin + bytes;
  const std::uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
  std::memset(memory, new_byte, std::min(bytes, first - begin));
  if (first >= last) return;
  madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  std::memset(reinterpret_cast<void*>(last), new_byte, end - last);
}

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
