// Connected components by union-find. The parent of an item never stands behind it, so the root of
// a component is its lowest member, and a pass from front to back meets every parent before its
// children.
//
// Time goes into what a processor can't foresee: whether a pair unites, and memory that is far
// away. So the usual pair takes no branch that depends on the parents, writes to a place that is
// known before they are (or no later load could pass the store), and parents are fetched ahead: a
// wrong guess then costs no wait for memory besides.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "edge.hpp"
#include "parallel.hpp"

namespace clusterimg {

// What the compiler is told, where it can be told: that a choice can't be foreseen, so that it
// makes no branch of it; that a condition seldom holds; that memory will be needed; what not to
// inline.
#if defined(__GNUC__)
#define CLUSTERIMG_APART __attribute__((noinline))
inline std::uint32_t chosen(std::uint32_t value) {
  asm("" : "+r"(value));
  return value;
}
inline bool seldom(bool condition) { return __builtin_expect(condition, false); }
inline void fetch(const void* where) { __builtin_prefetch(where); }
#else
#define CLUSTERIMG_APART
inline std::uint32_t chosen(std::uint32_t value) { return value; }
inline bool seldom(bool condition) { return condition; }
inline void fetch(const void*) {}
#endif

class UnionFind {
 public:
  // Works in `items`, (n), which become the labels at the end: new memory costs more than the work.
  UnionFind(std::int32_t* items, std::size_t n)
      : parent_(items), n_(n), n_names_(static_cast<Item>(std::min(n, most_items))) {
    for (std::size_t k = 0; k < n; ++k) parent_[k] = static_cast<std::int32_t>(k);
  }

  // Unites pairs that have an i and a j, in any order, fastest where i < j and i rises. Returns how
  // many it has united: fewer than n_pairs if the next one names an item that is not there.
  template <class Pair>
  std::size_t unite_all(const Pair* pairs, std::size_t n_pairs, Pulse& pulse) {
    for (std::size_t begin = 0; begin < n_pairs; begin += block) {
      const std::size_t end = std::min(n_pairs, begin + block);
      const std::size_t done = end + ahead <= n_pairs ? unite_block<true>(pairs, begin, end)
                                                      : unite_block<false>(pairs, begin, end);
      if (done < end) return done;
      pulse.after(16 * (end - begin));
      if (n_detours_ > n_ / 16) flatten(pulse);
    }
    return n_pairs;
  }

  // Turns the items into labels: components of two or more numbered by first appearance, the rest
  // -1. Nothing can be united afterwards.
  void label(Pulse& pulse) {
    std::vector<std::uint8_t, LargeAllocator<std::uint8_t>> has_children(n_);
    std::uint8_t* children = has_children.data();
    // A root writes 0 for itself before its children, which stand behind it, write 1.
    each([=](Item k) { children[above(k)] = above(k) != k; }, pulse);
    Item next = 0;
    each(
        [=, &next](Item k) {
          const Item parent = above(k);
          const Item first = (parent == k) & children[k];  // 1 or 0
          const Item own = next | (first - 1);             // if not the first of several, -1
          const Item of_parent = above(parent);
          put(k, parent == k ? own : of_parent);
          next += first;
        },
        pulse);
  }

 private:
  using Item = std::uint32_t;
  static constexpr std::size_t most_items = std::size_t{1} << 31;
  static constexpr std::size_t block = 2048;  // pairs between two looks at how it goes
  static constexpr std::size_t ahead = 32;    // pairs by which parents are fetched before their use
  static constexpr std::size_t stream = 2048;  // bytes by which pairs are

  Item above(Item k) const { return static_cast<Item>(parent_[k]); }
  void put(Item k, Item parent) { parent_[k] = static_cast<std::int32_t>(parent); }

  template <bool fetches, class Pair>
  CLUSTERIMG_APART std::size_t unite_block(const Pair* pairs, std::size_t begin, std::size_t end) {
    std::int32_t* const parent = parent_;  // in a register, whatever is written
    const Item n_names = n_names_;
    const auto unite_at = [=](std::size_t k) {
      if (fetches) fetch(parent + static_cast<Item>(pairs[k + ahead].j));
      const Item i = static_cast<Item>(pairs[k].i), j = static_cast<Item>(pairs[k].j);
      if (seldom((j >= n_names) | (i > j))) return unite_turned(i, j);
      // Most often j is a root, which is put below the parent of i, or has the same parent.
      const Item above_i = static_cast<Item>(parent[i]), above_j = static_cast<Item>(parent[j]);
      const Item to = chosen(above_j == j ? above_i : above_j);
      parent[j] = static_cast<std::int32_t>(to);
      if (seldom(to != above_i)) unite(i, j);
      return true;
    };
    std::size_t k = begin;
    for (; k + 4 <= end; k += 4) {
      fetch(reinterpret_cast<const char*>(pairs + k) + stream);
      for (std::size_t next = k; next < k + 4; ++next)
        if (!unite_at(next)) return next;
    }
    for (; k < end; ++k)
      if (!unite_at(k)) return k;
    return end;
  }

  // A pair with its ends the other way round, if both are there.
  CLUSTERIMG_APART bool unite_turned(Item i, Item j) {
    if (i >= n_names_ || j >= n_names_) return false;
    unite(i, j);
    return true;
  }

  // Rem's algorithm with splicing (Dijkstra 1976): climbs from both items at once, always on the
  // side of the higher parent, and ties what it passes to the lower one. In most graphs that is one
  // look at each parent and no search for a root.
  CLUSTERIMG_APART void unite(Item a, Item b) {
    Item above_a = above(a), above_b = above(b);
    while (above_a != above_b) {
      if (above_a < above_b) {
        std::swap(a, b);
        std::swap(above_a, above_b);
      }
      put(a, above_b);
      if (a == above_a) return;
      a = above_a;
      above_a = above(a);
      ++n_detours_;
    }
  }

  // Leads every item straight to its root. Worth its time once that many steps were taken for want
  // of it; where every step ties two components together, it never is.
  void flatten(Pulse& pulse) {
    each([this](Item k) { put(k, above(above(k))); }, pulse);
    n_detours_ = 0;
  }

  template <class Visit>
  void each(const Visit& visit, Pulse& pulse) {
    constexpr std::size_t piece = std::size_t{1} << 18;
    for (std::size_t begin = 0; begin < n_; begin += piece) {
      const std::size_t end = std::min(n_, begin + piece);
      for (std::size_t k = begin; k < end; ++k) visit(static_cast<Item>(k));
      pulse.after(4 * (end - begin));
    }
  }

  std::int32_t* parent_;
  std::size_t n_;
  Item n_names_;
  std::size_t n_detours_ = 0;
};

}  // namespace clusterimg
