// What tests ask of the emulated machine; tests/cuda/emulated.py calls it through ctypes.
#include "host.hpp"

#define KNOB extern "C" __attribute__((visibility("default")))

using namespace emulation;

namespace {

std::unique_lock<std::recursive_mutex> locked() {
  return std::unique_lock<std::recursive_mutex>(machine().mutex);
}

}  // namespace

// One whole device, no work left, all as at the start; who still has memory keeps it.
KNOB void emulation_reset() {
  const auto lock = locked();
  Machine& all = machine();
  settings = {};
  planted = 0;
  all.driver = 13000;
  all.n_devices = 1;
  all.eager = false;
  all.n_calls = all.n_launches = 0;
  for (Stream* stream : all.streams) {
    stream->work.clear();
    stream->n_done = stream->n_given;
  }
  for (Device& each : all.devices) {
    each.error = cudaSuccess;
    each.text.clear();
    each.calls_left = -1;
    each.total = usual_memory;
    each.major = 9;
    each.minor = 0;
  }
  last_error = cudaSuccess;
  current_device = 0;
}

KNOB void emulation_order(int order, unsigned seed) {
  const auto lock = locked();
  settings.order = static_cast<Order>(order);
  settings.seed = seed;
}
KNOB void emulation_plant(int number) { planted = number; }
// How many run blocks at once.
KNOB void emulation_os_threads(int n) {
  const auto lock = locked();
  settings.n_os_threads = n;
}
// Whether work runs as soon as it is given.
KNOB void emulation_eager(int eager) {
  const auto lock = locked();
  machine().eager = eager != 0;
}

KNOB void emulation_driver(int version) {
  const auto lock = locked();
  machine().driver = version;
}
KNOB void emulation_devices(int n) {
  const auto lock = locked();
  machine().n_devices = n;
}
KNOB void emulation_capability(int number, int major, int minor) {
  const auto lock = locked();
  device(number).major = major;
  device(number).minor = minor;
}
KNOB void emulation_memory(int number, std::size_t bytes) {
  const auto lock = locked();
  device(number).total = bytes;
}
// The device fails at the call after so many more of the runtime, and at all that come.
KNOB void emulation_vanish(int number, long long calls, int error) {
  const auto lock = locked();
  device(number).calls_left = calls + 1;
  device(number).vanishes_with = static_cast<cudaError_t>(error);
}

KNOB std::size_t emulation_used(int number) {
  const auto lock = locked();
  return device(number).used;
}
KNOB std::size_t emulation_pinned() {
  const auto lock = locked();
  std::size_t bytes = 0;
  for (const auto& [memory, size] : machine().pinned) bytes += size;
  return bytes;
}
KNOB long long emulation_calls() {
  const auto lock = locked();
  return machine().n_calls;
}
KNOB long long emulation_launches() {
  const auto lock = locked();
  return machine().n_launches;
}

// A copy in the memory of a device, for arrays that lie there; null where there is no room.
KNOB void* emulation_to_device(int number, const void* values, std::size_t bytes) {
  const auto lock = locked();
  const int before = std::exchange(current_device, number);
  char* memory = nullptr;
  if (cudaMalloc(&memory, bytes) == cudaSuccess && memory)
    cudaMemcpy(memory, values, bytes, cudaMemcpyHostToDevice);
  current_device = before;
  return memory;
}
KNOB void emulation_free(void* memory) { cudaFree(memory); }
