// Kernels and host code that try the emulation itself; tests/cuda/test_emulation.py calls them.
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "runtime.hpp"
#include "union_find.cuh"

#define CHECKS extern "C" __attribute__((visibility("default")))

using namespace clusterimg::cuda;

namespace {

constexpr unsigned all_lanes = 0xffffffffU;

__device__ int me() { return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); }

// --- orders, barriers, shared memory ---

// Who writes last, with no barrier.
__global__ void last_writer(const int*, int* out) { out[blockIdx.x] = me(); }

// The turn of each thread, before a barrier and after it.
__global__ void turns(const int*, int* out) {
  __shared__ int turn;
  if (threadIdx.x == 0) turn = 0;
  __syncthreads();
  out[threadIdx.x] = atomicAdd(&turn, 1);
  __syncthreads();
  out[blockDim.x + threadIdx.x] = atomicAdd(&turn, 1);
}

// What a neighbour has written: with a barrier and, for in[0], without.
__global__ void neighbour(const int* in, int* out) {
  __shared__ int values[1024];
  values[threadIdx.x] = me();
  if (in[0] == 0) __syncthreads();
  out[me()] = values[(threadIdx.x + 1) % blockDim.x];
}

__global__ void unwritten_shared(const int*, int* out) {
  __shared__ int values[64];
  out[me()] = values[threadIdx.x];
  values[threadIdx.x] = 7;
}

__global__ void votes(const int* in, int* out) {
  const int any = __syncthreads_or(in[me()]);
  const int count = __syncthreads_count(in[me()]);
  out[me()] = any * 10000 + count;
}

__global__ void places(const int*, int* out) {
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] =
      static_cast<int>(threadIdx.x + 10 * threadIdx.y + 100 * threadIdx.z + 1000 * blockIdx.x +
                       10000 * blockIdx.y + 100000 * blockIdx.z);
}

// --- what is an error ---

__global__ void divergent_barrier(const int*, int* out) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
  out[me()] = 1;
}
__global__ void exited_thread(const int*, int* out) {
  if (threadIdx.x == 5) return;
  __syncthreads();
  out[me()] = 1;
}
__global__ void mask_without_lane(const int*, int* out) { out[me()] = __shfl_sync(0xffffU, 1, 0); }
__global__ void masks_differ(const int*, int* out) {
  out[me()] = __any_sync(threadIdx.x % 32 == 3 ? 0x7fffffffU : all_lanes, 1);
}
__global__ void lane_exited(const int*, int* out) {
  if (threadIdx.x == 7) return;
  __syncwarp();
  out[me()] = 1;
}
__global__ void lanes_elsewhere(const int*, int* out) {
  if (threadIdx.x % 2)
    out[me()] = __shfl_sync(all_lanes, 1, 0);
  else
    out[me()] = __shfl_sync(all_lanes, 2, 0);
}
__global__ void barrier_against_warp(const int*, int* out) {
  if (threadIdx.x < 3)
    __syncwarp();
  else
    __syncthreads();
  out[me()] = 1;
}
__global__ void lane_that_is_not_there(const int*, int* out) {
  out[me()] = __any_sync(all_lanes, 1);
}
__global__ void selector_with_sign(const int*, int* out) {
  out[me()] = static_cast<int>(__byte_perm(1, 2, 0x8000));
}
__global__ void writes_beyond(const int* in, int* out) {
  if (me() == 0) out[in[0]] = 1;
}

// --- collectives of a warp; in[0] is the width or mask ---

__global__ void shuffles(const int* in, int* out) {
  const int width = in[0], argument = in[1], value = 100 + me(), n = static_cast<int>(blockDim.x);
  out[me()] = __shfl_sync(all_lanes, value, argument, width);
  out[n + me()] = __shfl_up_sync(all_lanes, value, static_cast<unsigned>(argument), width);
  out[2 * n + me()] = __shfl_down_sync(all_lanes, value, static_cast<unsigned>(argument), width);
  out[3 * n + me()] = __shfl_xor_sync(all_lanes, value, argument, width);
  const double wide = __shfl_sync(all_lanes, value / 8.0, argument, width);
  out[4 * n + me()] = static_cast<int>(8 * wide);
}
// The lanes of a mask and the others, each on their own.
__global__ void in_masks(const int* in, int* out) {
  const unsigned named = static_cast<unsigned>(in[0]), lane = threadIdx.x % 32;
  const int value = in[1 + me()], n = static_cast<int>(blockDim.x);
  const unsigned mask = named >> lane & 1 ? named : ~named;
  out[me()] = static_cast<int>(__ballot_sync(mask, value & 1));
  out[n + me()] = __any_sync(mask, value & 1) * 2 + __all_sync(mask, value & 1);
  out[2 * n + me()] = __reduce_min_sync(mask, value);
  out[3 * n + me()] = __reduce_max_sync(mask, value);
  out[4 * n + me()] = __reduce_add_sync(mask, value);
  out[5 * n + me()] = static_cast<int>(__reduce_min_sync(mask, static_cast<unsigned>(value)));
  out[6 * n + me()] = static_cast<int>(__reduce_max_sync(mask, static_cast<unsigned>(value)));
  out[7 * n + me()] = static_cast<int>(__reduce_or_sync(mask, static_cast<unsigned>(value)));
}

// --- functions of one thread: in holds three words for each ---

#define EACH(name, formula)                                                      \
  __global__ void name(const int* in, int* out) {                                \
    const int x = in[3 * me()], y = in[3 * me() + 1], z = in[3 * me() + 2];      \
    const auto ux = static_cast<unsigned>(x), uy = static_cast<unsigned>(y),     \
               uz = static_cast<unsigned>(z);                                    \
    [[maybe_unused]] const auto wide =                                           \
        static_cast<unsigned long long>(ux) << 32 | static_cast<unsigned>(y);    \
    [[maybe_unused]] const float f = __int_as_float(x), g = __uint_as_float(uy); \
    (void)z, (void)uz;                                                           \
    out[me()] = static_cast<int>(formula);                                       \
  }
EACH(popc, __popc(ux))
EACH(popcll, __popcll(wide))
EACH(ffs, __ffs(x))
EACH(ffsll, __ffsll(static_cast<long long>(wide)))
EACH(clz, __clz(x))
EACH(clzll, __clzll(static_cast<long long>(wide)))
EACH(brev, __brev(ux))
EACH(funnelshift_r, __funnelshift_r(ux, uy, uz))
EACH(funnelshift_l, __funnelshift_l(ux, uy, uz))
EACH(funnelshift_rc, __funnelshift_rc(ux, uy, uz))
EACH(funnelshift_lc, __funnelshift_lc(ux, uy, uz))
EACH(byte_perm, __byte_perm(ux, uy, uz & 0x7777))
EACH(dp4a_signed, __dp4a(x, y, z))
EACH(dp4a_unsigned, __dp4a(ux, uy, uz))
EACH(vcmpeq4, __vcmpeq4(ux, uy))
EACH(vcmpgtu4, __vcmpgtu4(ux, uy))
EACH(vabsdiffu4, __vabsdiffu4(ux, uy))
EACH(vminu4, __vminu4(ux, uy))
EACH(vmaxs4, __vmaxs4(ux, uy))
EACH(vsadu4, __vsadu4(ux, uy))
EACH(mulhi, __mulhi(x, y))
EACH(umulhi, __umulhi(ux, uy))
EACH(min_signed, min(x, y))
EACH(max_mixed, max(x, uy))
EACH(float_bits, static_cast<unsigned>(__float_as_int(f)) + __float_as_uint(g))
EACH(fdividef, __float_as_int(__fdividef(f, g)))
EACH(frcp_rn, __float_as_int(__frcp_rn(f)))
EACH(fmaf_rn, __float_as_int(__fmaf_rn(f, g, __int_as_float(z))))

// All threads of all blocks at the same few words.
__global__ void atomics(const int*, int* out) {
  atomicAdd(out, 1);
  atomicMax(out + 1, me());
  atomicMin(out + 2, me());
  atomicOr(reinterpret_cast<unsigned*>(out + 3), 1U << threadIdx.x % 32);
  atomicAdd(reinterpret_cast<unsigned long long*>(out + 4), 1ULL << 31);
  if (atomicCAS(out + 6, -1, me()) == -1) atomicAdd(out + 7, 1);
}

// Unites neighbours: one component.
__global__ void chain(const int*, int* out) { unite(out, me(), max(me() - 1, 0)); }

using Each = void (*)(const int*, int*);
const std::map<std::string, Each>& kernels() {
#define NAMED(name) \
  {                 \
    #name, name     \
  }
  static const std::map<std::string, Each> all{NAMED(last_writer),
                                               NAMED(turns),
                                               NAMED(neighbour),
                                               NAMED(unwritten_shared),
                                               NAMED(votes),
                                               NAMED(places),
                                               NAMED(divergent_barrier),
                                               NAMED(exited_thread),
                                               NAMED(mask_without_lane),
                                               NAMED(masks_differ),
                                               NAMED(lane_exited),
                                               NAMED(lanes_elsewhere),
                                               NAMED(barrier_against_warp),
                                               NAMED(lane_that_is_not_there),
                                               NAMED(selector_with_sign),
                                               NAMED(writes_beyond),
                                               NAMED(shuffles),
                                               NAMED(in_masks),
                                               NAMED(popc),
                                               NAMED(popcll),
                                               NAMED(ffs),
                                               NAMED(ffsll),
                                               NAMED(clz),
                                               NAMED(clzll),
                                               NAMED(brev),
                                               NAMED(funnelshift_r),
                                               NAMED(funnelshift_l),
                                               NAMED(funnelshift_rc),
                                               NAMED(funnelshift_lc),
                                               NAMED(byte_perm),
                                               NAMED(dp4a_signed),
                                               NAMED(dp4a_unsigned),
                                               NAMED(vcmpeq4),
                                               NAMED(vcmpgtu4),
                                               NAMED(vabsdiffu4),
                                               NAMED(vminu4),
                                               NAMED(vmaxs4),
                                               NAMED(vsadu4),
                                               NAMED(mulhi),
                                               NAMED(umulhi),
                                               NAMED(min_signed),
                                               NAMED(max_mixed),
                                               NAMED(float_bits),
                                               NAMED(fdividef),
                                               NAMED(frcp_rn),
                                               NAMED(fmaf_rn),
                                               NAMED(atomics),
                                               NAMED(chain)};
  return all;
}

// --- the host ---

std::string wrong;  // what a scenario found

void expect(bool holds, const char* what) {
  if (!holds) wrong += std::string(what) + "; ";
}
template <class T>
void copy(T* to, const T* from, std::size_t n, cudaStream_t stream) {
  check(cudaMemcpyAsync(to, from, n * sizeof(T), cudaMemcpyDefault, stream), "copy");
}

__global__ void add_one(int* values) { values[me()] += 1; }

constexpr int poison = static_cast<int>(0xA5A5A5A5);

void work_is_deferred() {
  const Stream stream;
  Event event;
  Pinned<int> from(64), back(64);
  OnDevice<int> there(64);
  std::fill(from.data(), from.data() + 64, 1);
  copy(there.data(), from.data(), 64, stream);
  launch(add_one, 2, 32, stream, there.data());
  copy(back.data(), there.data(), 64, stream);
  event.record(stream);
  expect(back.data()[0] == poison, "read before it was waited for it is there");
  from.data()[1] = 2;  // before the copy has run
  expect(!event.passed(), "an event has passed at once");
  event.wait();
  expect(event.passed(), "it has not passed when it was waited for");
  expect(back.data()[0] == 2 && back.data()[1] == 3, "what came back is wrong");
}

void polling_gets_there() {
  const Stream stream;
  Event event;
  OnDevice<int> there(64);
  check(cudaMemsetAsync(there.data(), 0, there.bytes(), stream), "memset");
  launch(add_one, 2, 32, stream, there.data());
  event.record(stream);
  int rounds = 0;
  while (!event.passed() && rounds < 100) ++rounds;
  expect(rounds > 0 && rounds < 100, "it takes some rounds");
}

void eager_work_is_done() {
  const Stream stream;
  Pinned<int> back(64);
  OnDevice<int> there(64);
  check(cudaMemsetAsync(there.data(), 0, there.bytes(), stream), "memset");
  launch(add_one, 2, 32, stream, there.data());
  copy(back.data(), there.data(), 64, stream);
  expect(back.data()[63] == 1, "it is not there at once");
}

void pageable_copies_are_done() {
  const Stream stream;
  std::vector<int> from(64, 1), back(64, 0);
  OnDevice<int> there(64);
  copy(there.data(), from.data(), 64, stream);
  from[0] = 5;  // it was taken already
  copy(back.data(), there.data(), 64, stream);
  expect(back[0] == 1 && back[63] == 1, "what came back is wrong");
}

void streams_wait_for_events() {
  const Stream first, second;
  Event event;
  Pinned<int> back(2);
  OnDevice<int> there(2);
  check(cudaMemsetAsync(there.data(), 0, there.bytes(), first), "memset");
  event.record(first);
  copy(back.data(), there.data(), 1, second);
  check(cudaStreamSynchronize(second), "wait");
  expect(back.data()[0] == poison, "a stream waited for another that it was not told to");
  check(cudaStreamWaitEvent(second, event, 0), "await");
  copy(back.data() + 1, there.data(), 1, second);
  check(cudaStreamSynchronize(second), "wait");
  expect(back.data()[1] == 0, "a stream did not wait for an event");
}

void legacy_stream_waits_for_blocking_ones() {
  cudaStream_t blocking = nullptr;
  check(cudaStreamCreateWithFlags(&blocking, cudaStreamDefault), "stream");
  OnDevice<int> there(2);
  int back[2] = {0, 0};
  check(cudaMemsetAsync(there.data(), 0, sizeof(int), blocking), "memset");
  {
    const Stream other;
    check(cudaMemsetAsync(there.data() + 1, 0, sizeof(int), other), "memset");
    check(cudaMemcpy(back, there.data(), sizeof back, cudaMemcpyDeviceToHost), "copy");
  }
  expect(back[0] == 0, "the legacy stream did not wait for a blocking one");
  expect(back[1] == poison, "the legacy stream waited for one that does not block");
  check(cudaStreamDestroy(blocking), "destroy");
}

void rows_are_copied() {
  const Stream stream;
  std::vector<int> from(12), back(12, -1);
  for (int k = 0; k < 12; ++k) from[k] = k;
  OnDevice<int> there(12);
  check(cudaMemcpyAsync(there.data(), from.data(), there.bytes(), cudaMemcpyHostToDevice, stream),
        "copy");
  // Two rows of two from the middle of rows of four, into rows of three.
  check(cudaMemcpy2DAsync(back.data(), 3 * sizeof(int), there.data() + 1, 4 * sizeof(int),
                          2 * sizeof(int), 2, cudaMemcpyDeviceToHost, stream),
        "copy of rows");
  expect(back == std::vector<int>{1, 2, -1, 5, 6, -1, -1, -1, -1, -1, -1, -1}, "rows are wrong");
}

void memory_is_bounded() {  // to 1 MB
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "info");
  expect(free == 1 << 20 && total == 1 << 20, "a megabyte");
  {
    OnDevice<char> most(1 << 19), more(1 << 19);
    check(cudaMemGetInfo(&free, &total), "info");
    expect(free == 0, "nothing is free");
    void* memory = nullptr;
    expect(cudaMalloc(&memory, 1) == cudaErrorMemoryAllocation, "there was more memory");
    expect(cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess,
           "the error stayed");
  }
  const OnDevice<char> all(1 << 20);
}

void devices_are_apart() {  // two of them
  int n = 0, device = -1;
  check(cudaGetDeviceCount(&n), "count");
  expect(n == 2 && cudaSetDevice(2) == cudaErrorInvalidDevice, "two devices");
  cudaGetLastError();
  const OnDevice<int> first(32);
  check(cudaSetDevice(1), "device");
  const OnDevice<int> second(32);
  cudaPointerAttributes of_first{}, of_second{}, of_host{};
  check(cudaPointerGetAttributes(&of_first, first.data()), "attributes");
  check(cudaPointerGetAttributes(&of_second, second.data()), "attributes");
  check(cudaPointerGetAttributes(&of_host, &n), "attributes");
  expect(of_first.device == 0 && of_second.device == 1, "memory is of a device");
  expect(of_first.type == cudaMemoryTypeDevice && of_host.type == cudaMemoryTypeUnregistered,
         "memory is of a kind");
  check(cudaGetDevice(&device), "device");
  expect(device == 1, "the device is another");
  const Stream stream;
  launch(add_one, 1, 32, stream, first.data());  // memory of the other device
  expect(cudaStreamSynchronize(stream) == cudaErrorIllegalAddress, "it was not seen");
  check(cudaSetDevice(0), "device");
  expect(cudaDeviceSynchronize() == cudaSuccess, "the other device failed too");
}

void errors_stick() {
  const Stream stream;
  OnDevice<int> there(64);
  launch(divergent_barrier, 1, 64, stream, there.data(), there.data());
  expect(cudaGetLastError() == cudaSuccess, "it failed before it ran");
  expect(cudaStreamSynchronize(stream) == cudaErrorAssert, "it did not fail");
  expect(cudaGetLastError() == cudaErrorAssert && cudaGetLastError() == cudaErrorAssert,
         "the error went");
  void* memory = nullptr;
  expect(cudaMalloc(&memory, 1) == cudaErrorAssert, "the device works");
  expect(std::strstr(cudaGetErrorString(cudaErrorAssert), "divergent barrier"), "no text");
}

void launches_are_checked() {
  const Stream stream;
  OnDevice<int> there(64);
  const auto error = [&](dim3 blocks, dim3 threads) {
    cudaLaunchConfig_t config{};
    config.gridDim = blocks;
    config.blockDim = threads;
    config.stream = stream;
    const cudaError_t found = cudaLaunchKernelEx(&config, add_one, there.data());
    cudaGetLastError();
    return found;
  };
  expect(error(0, 32) == cudaErrorInvalidConfiguration, "no blocks");
  expect(error(1, 1025) == cudaErrorInvalidConfiguration, "too many threads");
  expect(error(dim3(1, 65536), 32) == cudaErrorInvalidConfiguration, "too many blocks in y");
  expect(error(2, 32) == cudaSuccess, "a good one");
  int* host = nullptr;
  expect(cudaMemcpyAsync(there.data() + 60, there.data(), 20, cudaMemcpyDefault, stream) ==
             cudaErrorInvalidValue,
         "a copy beyond the end");
  cudaGetLastError();
  expect(cudaFree(&host) == cudaErrorInvalidValue, "freed what was not given");
  cudaGetLastError();
}

const std::map<std::string, void (*)()>& scenarios() {
  static const std::map<std::string, void (*)()> all{
      NAMED(work_is_deferred),        NAMED(polling_gets_there),
      NAMED(eager_work_is_done),      NAMED(pageable_copies_are_done),
      NAMED(streams_wait_for_events), NAMED(legacy_stream_waits_for_blocking_ones),
      NAMED(rows_are_copied),         NAMED(memory_is_bounded),
      NAMED(devices_are_apart),       NAMED(errors_stick),
      NAMED(launches_are_checked)};
  return all;
}

// What went wrong in `work`, or nothing.
template <class Work>
const char* text_of(const Work& work) {
  wrong.clear();
  try {
    work();
  } catch (const std::exception& error) {
    wrong += error.what();
  }
  return wrong.c_str();
}

}  // namespace

CHECKS const char* run_scenario(const char* name) {
  return text_of([&] { scenarios().at(name)(); });
}

// Runs a kernel on copies of two arrays of which the second comes back. shape: blocks, threads.
CHECKS const char* run_kernel(const char* name, const int* shape, const int* in, int n_in, int* out,
                              int n_out) {
  return text_of([&] {
    const Stream stream;
    OnDevice<int> from(n_in), to(n_out);
    copy(from.data(), in, from.size(), stream);
    copy(to.data(), out, to.size(), stream);
    launch(kernels().at(name), dim3(shape[0], shape[1], shape[2]),
           dim3(shape[3], shape[4], shape[5]), stream, from.data(), to.data());
    check(cudaStreamSynchronize(stream), "the device failed");
    copy(out, to.data(), to.size(), stream);
    check(cudaFree(nullptr), "the device failed");
  });
}

// The device's last word on what was freed.
CHECKS const char* device_error() {
  const cudaError_t error = cudaDeviceSynchronize();
  return error == cudaSuccess ? "" : cudaGetErrorString(error);
}
