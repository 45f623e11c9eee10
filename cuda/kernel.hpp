// What a kernel of the CUDA backend is: it scores the pairs of two blocks of items that are on a
// device, and gives those it finds to a sink. The driver (driver.hpp) owns blocks, streams and
// memory; no kernel knows of the others, of tiles or of the host.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels.hpp"

namespace clusterimg::cuda {

// The pairs of one launch: rows of block a with columns of block b, counted from the first of each.
// A pair counts if j - i >= gap, by the numbers of its items in their sets.
struct Pairs {
  std::int32_t row, n_rows;  // rows [row, row + n_rows) of block a
  std::int32_t col, n_cols;
  std::int32_t first_i, first_j;  // number of the item in row `row`, in column `col`, of its set
  std::int32_t gap;
};

constexpr std::int32_t all_pairs = INT32_MIN;  // gap of a rectangle; 1 leaves i < j, 0 i <= j

// Where scores go.
//   matrix       all scores of a launch, (n_rows, n_cols) float32; none for pairs that don't count
//   edges        pairs above the threshold, in any order, and those that are still to be decided
//   components   pairs above the threshold are united; those still to be decided are listed
enum class Keep : std::int32_t { matrix, edges, components };

struct Sink {
  Keep keep;
  float* matrix;
  Edge* list;
  std::uint32_t capacity;   // of the list; what comes when it is full is counted, and lost
  std::uint32_t* n_listed;  // may end above `capacity`
  std::int32_t* parents;    // of a union-find over all items; see union_find.cuh
};

// Items [first, first + n) of a set, on a device.
struct Block {
  std::int32_t first, n;
  const void* values;           // elements of the items, one after another
  const std::int64_t* offsets;  // (n + 1) where each begins, from 0, in elements; null where all
                                // are of one length
  const std::int32_t* shapes;   // (n, 2) height and width, or null
  void* prepared;               // what `prepare` made, `prepared_bytes` of it
};

class Kernel {
 public:
  virtual ~Kernel() = default;

  // Bytes of device memory for what is prepared of a block of n items with that many elements.
  virtual std::size_t prepared_bytes(std::size_t, std::size_t) const { return 0; }
  virtual void prepare(const Block&, cudaStream_t) const {}

  // Launches are cut at multiples of `tile` rows and columns.
  virtual std::int32_t tile() const = 0;
  // Operations of a pair, about, of items with that many elements on average: what makes a launch
  // short enough to be interrupted.
  virtual double operations(double a_elements, double b_elements) const = 0;

  // Scores the pairs, as the sink asks. Scores of a list are exact where `decide` is not there;
  // where it is, the list holds every pair that may be above the threshold.
  virtual void score(const Block& a, const Block& b, const Pairs&, const Sink&,
                     cudaStream_t) const = 0;
  // Writes the exact scores of the listed pairs, of which there may be more than the list holds: it
  // does nothing then. Under `components` it also unites those above the threshold.
  virtual void decide(const Block&, const Block&, const Pairs&, const Sink&, cudaStream_t) const {}
};

}  // namespace clusterimg::cuda
