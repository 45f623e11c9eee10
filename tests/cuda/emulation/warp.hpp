// What the threads of a block and the lanes of a warp do together.
#pragma once
#include "device.hpp"

// The place of the call goes along: what CUDA calls a different barrier.
#define EMULATION_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EMULATION_SITE) {
  emulation::team->barrier("__syncthreads", {file, line}, false);
}
inline int __syncthreads_or(int value, EMULATION_SITE) {
  return emulation::team->barrier("__syncthreads_or", {file, line}, value != 0) > 0;
}
inline int __syncthreads_count(int value, EMULATION_SITE) {
  return static_cast<int>(
      emulation::team->barrier("__syncthreads_count", {file, line}, value != 0));
}

namespace emulation {

constexpr std::uint64_t undefined = 0xA5A5A5A5A5A5A5A5;  // what a lane outside the mask gives

template <class T>
std::uint64_t to_bits(T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles are of 4 or 8 bytes");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

// Every lane gets the value of another lane, by its number.
template <class T>
T shuffle(const char* what, Site site, unsigned mask, T value, unsigned from) {
  const std::uint64_t bits = team->collective(
      what, site, mask, to_bits(value), from, [](Thread* lanes, std::uint32_t members) {
        std::uint64_t values[32];
        for (unsigned l = 0; l < 32; ++l) values[l] = members >> l & 1 ? lanes[l].value : undefined;
        for (unsigned l = 0; l < 32; ++l)
          if (members >> l & 1) lanes[l].value = values[lanes[l].argument];
      });
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Every lane gets `first` combined with the values of all.
template <class T, class Combine>
T reduce(const char* what, Site site, unsigned mask, T value, T first, const Combine& combine) {
  const std::uint64_t bits = team->collective(what, site, mask, to_bits(value), 0,
                                              [&](Thread* lanes, std::uint32_t members) {
                                                T all = first;
                                                for (unsigned l = 0; l < 32; ++l) {
                                                  if (!(members >> l & 1)) continue;
                                                  T each;
                                                  std::memcpy(&each, &lanes[l].value, sizeof each);
                                                  all = combine(all, each, l);
                                                }
                                                for (unsigned l = 0; l < 32; ++l)
                                                  if (members >> l & 1)
                                                    lanes[l].value = to_bits(all);
                                              });
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline unsigned lane() {
  return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
}

inline unsigned ballot(const char* what, Site site, unsigned mask, bool value) {
  return reduce<unsigned>(what, site, mask, value, 0U,
                          [](unsigned all, unsigned each, unsigned l) { return all | each << l; });
}

}  // namespace emulation

inline void __syncwarp(unsigned mask = 0xffffffffU, EMULATION_SITE) {
  emulation::ballot("__syncwarp", {file, line}, mask, false);
}
inline unsigned __ballot_sync(unsigned mask, int value, EMULATION_SITE) {
  return emulation::ballot("__ballot_sync", {file, line}, mask, value != 0);
}
inline int __any_sync(unsigned mask, int value, EMULATION_SITE) {
  return emulation::ballot("__any_sync", {file, line}, mask, value != 0) != 0;
}
inline int __all_sync(unsigned mask, int value, EMULATION_SITE) {
  return emulation::ballot("__all_sync", {file, line}, mask, value != 0) == mask;
}

// The warp falls into segments of `width` lanes, a power of two; who asks beyond its own keeps its
// value.
template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, EMULATION_SITE) {
  const unsigned own = emulation::lane(), w = static_cast<unsigned>(width);
  return emulation::shuffle("__shfl_sync", {file, line}, mask, value,
                            (own & ~(w - 1)) | (static_cast<unsigned>(from) & (w - 1)));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned step, int width = 32, EMULATION_SITE) {
  const unsigned own = emulation::lane(), w = static_cast<unsigned>(width);
  return emulation::shuffle("__shfl_up_sync", {file, line}, mask, value,
                            (own & (w - 1)) >= step ? own - step : own);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned step, int width = 32, EMULATION_SITE) {
  const unsigned own = emulation::lane(), w = static_cast<unsigned>(width);
  return emulation::shuffle("__shfl_down_sync", {file, line}, mask, value,
                            (own & (w - 1)) + step < w ? own + step : own);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, EMULATION_SITE) {
  const unsigned own = emulation::lane(), w = static_cast<unsigned>(width);
  const unsigned from = own ^ static_cast<unsigned>(bits);
  return emulation::shuffle("__shfl_xor_sync", {file, line}, mask, value,
                            from < (own & ~(w - 1)) + w ? from : own);
}

// Overloads are of int and unsigned; `and`, `or` and `xor` of unsigned alone.
#define EMULATION_REDUCE(T, name, first, formula)                                            \
  inline T __reduce_##name##_sync(unsigned mask, T value, EMULATION_SITE) {                  \
    return emulation::reduce<T>("__reduce_" #name "_sync", {file, line}, mask, value, first, \
                                [](T a, T b, unsigned) { return static_cast<T>(formula); }); \
  }
EMULATION_REDUCE(unsigned, add, 0U, a + b)
EMULATION_REDUCE(int, add, 0, static_cast<unsigned>(a) + static_cast<unsigned>(b))
EMULATION_REDUCE(unsigned, min, ~0U, a < b ? a : b)
EMULATION_REDUCE(int, min, INT32_MAX, a < b ? a : b)
EMULATION_REDUCE(unsigned, max, 0U, a > b ? a : b)
EMULATION_REDUCE(int, max, INT32_MIN, a > b ? a : b)
EMULATION_REDUCE(unsigned, and, ~0U, a& b)
EMULATION_REDUCE(unsigned, or, 0U, a | b)
EMULATION_REDUCE(unsigned, xor, 0U, a ^ b)
