// Connected components by union-find. The parent of an item never stands behind it, so the root of
// a component is its lowest member, and one pass from front to back leads every item to its root.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

#include "parallel.hpp"

namespace clusterimg {

class UnionFind {
 public:
  // Works in `items`, (n), which become the labels at the end: new memory costs more than the work.
  UnionFind(std::int32_t* items, std::size_t n) : parent_(items), n_(n), flatten_at_(n / 2 + 1) {
    for (std::size_t k = 0; k < n; ++k) parent_[k] = static_cast<std::int32_t>(k);
  }

  // Rem's algorithm with splicing (Dijkstra 1976): climbs from both items at once, always on the
  // side of the higher parent, and ties what it passes to the lower one. In most graphs that is one
  // look at each parent and no search for a root.
  void unite(std::int32_t a, std::int32_t b) {
    std::int32_t above_a = parent_[at(a)], above_b = parent_[at(b)];
    while (above_a != above_b) {
      if (above_a < above_b) {
        std::swap(a, b);
        std::swap(above_a, above_b);
      }
      parent_[at(a)] = above_b;
      if (a == above_a) return;
      a = above_a;
      above_a = parent_[at(a)];
    }
  }

  // Unites pairs that have an i and a j. Between ever longer stretches every item is led to its
  // root, so that most pairs of a large component are settled by one comparison.
  template <class Pair>
  void unite_all(const Pair* pairs, std::size_t n_pairs, Pulse& pulse) {
    for (std::size_t k = 0; k < n_pairs; ++k) unite(pairs[k].i, pairs[k].j);
    pulse.after(16 * n_pairs);
    n_united_ += n_pairs;
    if (n_united_ < flatten_at_) return;
    flatten(pulse);
    flatten_at_ = 2 * n_united_;
  }

  // Turns the items into labels: components of two or more numbered by first appearance, the rest
  // -1. Nothing can be united afterwards.
  void label(Pulse& pulse) {
    // A root stands before its members: mark it once one shows up, number it in the second pass.
    constexpr std::int32_t has_members = -1, alone = -1;
    for (std::size_t k = 0; k < n_; ++k) {
      const std::int32_t parent = parent_[k];
      if (at(parent) == k) continue;
      std::int32_t& above = parent_[at(parent)];
      if (above == parent)
        above = has_members;
      else if (above != has_members)
        parent_[k] = above;
    }
    pulse.after(4 * n_);
    std::int32_t next = 0;
    for (std::size_t k = 0; k < n_; ++k) {
      std::int32_t& item = parent_[k];
      if (item == has_members)
        item = next++;
      else
        item = at(item) == k ? alone : parent_[at(item)];
    }
    pulse.after(4 * n_);
  }

 private:
  static std::size_t at(std::int32_t k) { return static_cast<std::size_t>(k); }

  // Leads every item straight to its root.
  void flatten(Pulse& pulse) {
    for (std::size_t k = 0; k < n_; ++k) parent_[k] = parent_[at(parent_[k])];
    pulse.after(n_);
  }

  std::int32_t* parent_;
  std::size_t n_, n_united_ = 0, flatten_at_;
};

}  // namespace clusterimg
