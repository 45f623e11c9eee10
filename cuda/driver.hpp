// Joins on one device or several: what is asked for, and who does it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "edge.hpp"
#include "parallel.hpp"
#include "plan.hpp"
#include "worker.hpp"

namespace clusterimg::cuda {

struct Resources {
  std::vector<int> devices;   // by number, one at least
  std::size_t memory;         // most bytes on each; 0: most of what is free
  std::size_t list_capacity;  // pairs; 0: as suits
};

// All return what each device did. Pairs are told to the monitor as they are done.

// Edges in (i, j) order.
std::vector<Usage> find_edges(const Join& join, const Resources& resources, Edges& out,
                              Monitor& monitor);
// Component labels (n) of a triangle.
std::vector<Usage> find_components(const Join& join, const Resources& resources,
                                   std::int32_t* labels, Monitor& monitor);
// Scores (n_rows, n_cols).
std::vector<Usage> fill_matrix(const Join& join, const Resources& resources, float* out,
                               Monitor& monitor);

}  // namespace clusterimg::cuda
