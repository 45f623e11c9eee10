// Connected components by union-find: path halving, and the lower root wins, so that the root of
// a component is its lowest member.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "edge.hpp"
#include "parallel.hpp"

namespace clusterimg {

class UnionFind {
 public:
  explicit UnionFind(std::size_t n) : parent_(n) {
    for (std::size_t k = 0; k < n; ++k) parent_[k] = static_cast<std::int32_t>(k);
  }

  std::int32_t find(std::int32_t k) {
    while (parent_[at(k)] != k) {
      parent_[at(k)] = parent_[at(parent_[at(k)])];
      k = parent_[at(k)];
    }
    return k;
  }

  void unite(std::int32_t a, std::int32_t b) {
    if (parent_[at(a)] == parent_[at(b)]) return;
    a = find(a);
    b = find(b);
    if (a < b)
      parent_[at(b)] = a;
    else
      parent_[at(a)] = b;
  }

  // Components of two or more are numbered by first appearance; the rest is -1.
  void label(std::int32_t* labels, Pulse& pulse) {
    const std::size_t n = parent_.size();
    for (std::size_t k = 0; k < n; ++k) labels[k] = -1;
    // A root stands before its members: mark it once a member shows up, number it afterwards.
    constexpr std::int32_t has_members = 0;
    for (std::size_t k = 0; k < n; ++k) {
      const std::int32_t root = find(static_cast<std::int32_t>(k));
      if (root != static_cast<std::int32_t>(k)) labels[root] = has_members;
      pulse.after(16);
    }
    std::int32_t next = 0;
    for (std::size_t k = 0; k < n; ++k) {
      const std::int32_t root = parent_[k];
      if (root != static_cast<std::int32_t>(k))
        labels[k] = labels[root];
      else if (labels[k] == has_members)
        labels[k] = next++;
      pulse.after(4);
    }
  }

 private:
  static std::size_t at(std::int32_t k) { return static_cast<std::size_t>(k); }
  std::vector<std::int32_t> parent_;
};

inline void components(const Edge* edges, std::size_t n_edges, std::size_t n, std::int32_t* labels,
                       Pulse& pulse) {
  UnionFind sets(n);
  for (std::size_t e = 0; e < n_edges; ++e) {
    sets.unite(edges[e].i, edges[e].j);
    pulse.after(16);
  }
  sets.label(labels, pulse);
}

}  // namespace clusterimg
