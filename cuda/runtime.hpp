// The CUDA runtime with errors as exceptions and owners for what it hands out.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>

namespace clusterimg::cuda {

// A call of the runtime that failed.
struct Failure : std::runtime_error {
  cudaError_t code;
  Failure(cudaError_t error, const std::string& what)
      : std::runtime_error(what + ": " + cudaGetErrorString(error)), code(error) {}
  Failure(const Failure& failure, const std::string& where)
      : std::runtime_error(where + ": " + failure.what()), code(failure.code) {}
  bool is_memory() const { return code == cudaErrorMemoryAllocation; }
};

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // or a later call would report it once more
  throw Failure(error, what);
}

// Memory of a device, or of the host where the device can reach it at full speed.
struct DeviceMemory {
  static void* take(std::size_t bytes) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, bytes), "no memory on the device");
    return memory;
  }
  static void give(void* memory) { cudaFree(memory); }
};
struct PinnedMemory {
  static void* take(std::size_t bytes) {
    void* memory = nullptr;
    check(cudaMallocHost(&memory, bytes), "no pinned memory");
    return memory;
  }
  static void give(void* memory) { cudaFreeHost(memory); }
};

template <class T, class Memory>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t n)
      : data_(n > 0 ? static_cast<T*>(Memory::take(n * sizeof(T))) : nullptr), n_(n) {}
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), n_(std::exchange(other.n_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(n_, other.n_);
    return *this;
  }
  ~Buffer() {
    if (data_) Memory::give(data_);
  }
  T* data() const { return data_; }
  std::size_t size() const { return n_; }
  std::size_t bytes() const { return n_ * sizeof(T); }

 private:
  T* data_ = nullptr;
  std::size_t n_ = 0;
};

template <class T>
using OnDevice = Buffer<T, DeviceMemory>;
template <class T>
using Pinned = Buffer<T, PinnedMemory>;

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "no stream"); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(stream_); }
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "no event"); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }
  void record(cudaStream_t stream) { check(cudaEventRecord(event_, stream), "the device failed"); }
  operator cudaEvent_t() const { return event_; }
  void wait() const { check(cudaEventSynchronize(event_), "the device failed"); }
  bool passed() const {
    const cudaError_t state = cudaEventQuery(event_);
    if (state == cudaErrorNotReady) return false;
    check(state, "the device failed");
    return true;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

// Calls a kernel: launch(kernel, blocks, threads, stream, arguments...).
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 blocks, dim3 threads, cudaStream_t stream,
            const Arguments&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = threads;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...),
        "a kernel could not be launched");
}

// Uses a device on this thread, and the one before at its end. To choose a device opens it, so none
// is chosen without need.
class OnThisDevice {
 public:
  explicit OnThisDevice(int device) : device_(device) {
    check(cudaGetDevice(&before_), "no device");
    if (before_ != device_) check(cudaSetDevice(device_), "no such device");
  }
  OnThisDevice(const OnThisDevice&) = delete;
  OnThisDevice& operator=(const OnThisDevice&) = delete;
  ~OnThisDevice() {
    if (before_ != device_) cudaSetDevice(before_);
  }

 private:
  int device_, before_ = 0;
};

inline unsigned blocks_of(std::size_t n, std::size_t per_block) {
  return static_cast<unsigned>((n + per_block - 1) / per_block);
}

}  // namespace clusterimg::cuda
