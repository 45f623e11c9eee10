// Items of a set, in the memory of the host or of a device, and how they are cut into blocks.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernel.hpp"
#include "runtime.hpp"

namespace clusterimg::cuda {

struct Items {
  const void* values;
  std::size_t n;
  std::size_t element_bytes;
  std::size_t length;                     // elements of each item, where there are no offsets
  const std::int64_t* offsets = nullptr;  // (n + 1), on the host
  const std::int32_t* shapes = nullptr;   // (n, 2), on the host
  int device = -1;                        // that holds the values; -1: the host

  std::size_t begin_of(std::size_t k) const {
    return offsets ? static_cast<std::size_t>(offsets[k]) : k * length;
  }
};

// Items [first, first + n).
struct Span {
  std::int32_t first, n;
  bool operator==(const Span& other) const { return first == other.first && n == other.n; }
  bool operator!=(const Span& other) const { return !(*this == other); }
};

// Elements of an item of a block, on average.
inline double elements_of(const Items& items, Span span) {
  const auto first = static_cast<std::size_t>(span.first), n = static_cast<std::size_t>(span.n);
  return static_cast<double>(items.begin_of(first + n) - items.begin_of(first)) /
         static_cast<double>(n);
}

// Where the parts of a block lie in its memory, each at a multiple of 256 bytes.
struct Parts {
  std::size_t prepared, offsets, shapes, end;  // the values come first
};

inline std::size_t rounded(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

inline Parts parts_of(const Items& items, Span span, const Kernel& kernel) {
  const auto first = static_cast<std::size_t>(span.first), n = static_cast<std::size_t>(span.n);
  const std::size_t elements = items.begin_of(first + n) - items.begin_of(first);
  Parts parts{};
  parts.prepared = rounded(elements * items.element_bytes);
  parts.offsets = parts.prepared + rounded(kernel.prepared_bytes(n, elements));
  parts.shapes = parts.offsets + (items.offsets ? rounded((n + 1) * sizeof(std::int64_t)) : 0);
  parts.end = parts.shapes + (items.shapes ? rounded(2 * n * sizeof(std::int32_t)) : 0);
  return parts;
}

// Cuts a set into blocks of at most that many bytes, as few as can be.
inline std::vector<Span> cut(const Items& items, const Kernel& kernel, std::size_t most_bytes) {
  std::vector<Span> spans;
  const auto n = static_cast<std::int32_t>(items.n);
  for (std::int32_t first = 0; first < n; first += spans.back().n) {
    std::int32_t low = 0, high = n - first;  // low fits, what is above high does not
    while (low < high) {
      const std::int32_t middle = low + (high - low + 1) / 2;
      if (parts_of(items, {first, middle}, kernel).end <= most_bytes)
        low = middle;
      else
        high = middle - 1;
    }
    if (low == 0)
      throw Failure(cudaErrorMemoryAllocation,
                    "item " + std::to_string(first) + " needs " +
                        std::to_string(parts_of(items, {first, 1}, kernel).end) +
                        " bytes of device memory of " + std::to_string(most_bytes));
    spans.push_back({first, low});
  }
  return spans;
}

}  // namespace clusterimg::cuda
