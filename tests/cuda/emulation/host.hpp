// The CUDA runtime on the CPU, for tests of what the host does.
//
// Work given to a stream is only noted down. It runs when the host waits for it, so who reads a
// result too early finds what was there before, and new memory is full of 0xA5. Memory of a device
// can be touched while its work runs, by nobody at other times: the host that does so crashes, as
// it would on a machine with a GPU. Copies from and to memory that is not pinned are done at the
// call, as CUDA does them.
#pragma once
#include "machine.hpp"

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
  give_back(on.memory + at, bytes);
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
