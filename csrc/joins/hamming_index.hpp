// Pairs of codes within a small Hamming radius, found without a look at all pairs.
//
// Cut 64 bits into m blocks. Codes that differ in at most r bits differ in at most r blocks, so
// they agree in m - r or more of them (pigeonhole): with m = r + k, in k at least. All choices of
// blocks b1 < b2 < ... < bk are walked as a tree: codes are sorted by one block, those of a bucket
// by a later one, and so on; the pairs of a bucket after k blocks are counted bit by bit.
//
// Which buckets are counted early does not matter, and small ones are, where to sort on would cost
// more. A pair meets in a bucket for each choice of blocks in which it agrees, and is kept in one
// of them: where the blocks of the bucket are the first ones in which it agrees. Every pair within
// the radius passes through exactly one such bucket at each depth up to k, so it is kept once.
//
// Of longer codes the first 64 bits are the index: within r bits in all is within r bits there.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "../edge.hpp"
#include "../kernels.hpp"
#include "../pairwise.hpp"
#include "../parallel.hpp"

namespace clusterimg {

// The rows of a, then those of b; with `triangle` there is no b.
struct Codes {
  const std::uint64_t* a;
  const std::uint64_t* b;
  std::size_t n_a, n_b, n_words;
  bool triangle;

  std::size_t size() const { return triangle ? n_a : n_a + n_b; }
  const std::uint64_t* row(std::size_t k) const {
    return k < n_a ? a + k * n_words : b + (k - n_a) * n_words;
  }
  std::uint64_t pairs() const { return pairs_of({n_a, n_b, triangle}, {0, n_a}, {0, n_b}); }
};

// 64 bits in m nearly equal blocks, m of 8 or more, so that a block has 256 values at most.
class Blocks {
 public:
  static constexpr std::size_t most_values = 256;

  explicit Blocks(std::size_t m) : count_(m) {
    for (std::size_t b = 0; b <= m; ++b) start_[b] = static_cast<unsigned>(64 * b / m);
  }
  std::size_t count() const { return count_; }
  std::size_t n_values(std::size_t b) const {
    return std::size_t{1} << (start_[b + 1] - start_[b]);
  }
  std::size_t value(std::uint64_t bits, std::size_t b) const {
    return (bits >> start(b)) & (n_values(b) - 1);
  }
  unsigned start(std::size_t b) const { return start_[b]; }

 private:
  std::size_t count_;
  std::array<unsigned, 65> start_{};
};

class HammingIndex {
 public:
  // Pairs that differ in at most `radius` bits; `depth` blocks are sorted by at most.
  HammingIndex(const Codes& codes, std::size_t radius, std::size_t depth)
      : codes_(codes), radius_(radius), depth_(depth), blocks_(n_blocks(radius, depth)) {}

  static std::size_t n_blocks(std::size_t radius, std::size_t depth) {
    return std::max<std::size_t>(8, radius + depth);
  }

  std::vector<Edge> edges(int n_threads, Monitor& monitor) const {
    std::vector<Entry> entries(codes_.size()), sorted(codes_.size());
    for (std::size_t k = 0; k < entries.size(); ++k)
      entries[k] = {codes_.row(k)[0], static_cast<std::uint32_t>(k)};
    std::vector<std::vector<Edge>> found;
    const std::size_t n_choices = blocks_.count() - depth_ + 1;
    for (std::size_t first = 0; first < n_choices; ++first) {
      const Buckets buckets = sort(entries.data(), entries.size(), first, sorted.data());
      const std::size_t n_buckets = blocks_.n_values(first), before = found.size();
      found.resize(before + n_buckets);
      for_each_unit(
          n_buckets, n_threads, monitor, [&] { return Walk(*this, first, monitor); },
          [&](std::size_t unit, Walk& walk) {
            const std::size_t n = buckets[unit + 1] - buckets[unit];
            found[before + unit] = walk.pairs(sorted.data() + buckets[unit], n);
            monitor.advance(codes_.pairs() / (n_choices * n_buckets));
            monitor.check();
          });
    }
    return joined(found);
  }

 private:
  struct Entry {
    std::uint64_t bits;
    std::uint32_t index;
  };
  using Buckets = std::array<std::uint32_t, Blocks::most_values + 1>;

  // Sorts entries by a block into `out`, and returns where each bucket begins.
  Buckets sort(const Entry* entries, std::size_t n, std::size_t block, Entry* out) const {
    const unsigned shift = blocks_.start(block);
    const std::size_t n_values = blocks_.n_values(block), mask = n_values - 1;
    Buckets begin;
    std::fill_n(begin.begin(), n_values + 1, 0);
    for (std::size_t k = 0; k < n; ++k) ++begin[((entries[k].bits >> shift) & mask) + 1];
    for (std::size_t v = 0; v < n_values; ++v) begin[v + 1] += begin[v];
    std::array<std::uint32_t, Blocks::most_values> next;
    std::copy_n(begin.begin(), n_values, next.begin());
    for (std::size_t k = 0; k < n; ++k) out[next[(entries[k].bits >> shift) & mask]++] = entries[k];
    return begin;
  }

  // The part of the tree below one block that was sorted by, for one thread.
  class Walk {
   public:
    Walk(const HammingIndex& index, std::size_t first, Monitor& monitor)
        : index_(index), pulse_(monitor), levels_(index.depth_) {
      chosen_[0] = first;
    }

    std::vector<Edge> pairs(const Entry* entries, std::size_t n) {
      found_.clear();
      if (n > 1) walk(entries, n, 1);
      return found_;
    }

   private:
    // `entries` agree in the `depth` blocks chosen so far.
    void walk(const Entry* entries, std::size_t n, std::size_t depth) {
      const std::size_t from = chosen_[depth - 1] + 1;
      const std::size_t end = index_.blocks_.count() - (index_.depth_ - depth) + 1;
      if (depth == index_.depth_ || n < sort_costs_pairs * (end - from)) {
        count(entries, n, depth);
        return;
      }
      std::vector<Entry>& sorted = levels_[depth];
      if (sorted.size() < n) sorted.resize(n);
      for (std::size_t block = from; block < end; ++block) {
        chosen_[depth] = block;
        const Buckets begin = index_.sort(entries, n, block, sorted.data());
        pulse_.after(n);
        for (std::size_t v = 0; v < index_.blocks_.n_values(block); ++v)
          if (begin[v + 1] - begin[v] > 1)
            walk(sorted.data() + begin[v], begin[v + 1] - begin[v], depth + 1);
      }
    }

    void count(const Entry* entries, std::size_t n, std::size_t depth) {
      if (near_.size() < n) near_.resize(n);
      for (std::size_t i = 0; i + 1 < n; ++i) {
        const Entry* others = entries + i + 1;
        const std::size_t n_near = kernels().hamming_near(
            entries[i].bits, &others->bits, sizeof(Entry) / sizeof(std::uint64_t), n - i - 1,
            static_cast<std::uint32_t>(index_.radius_), near_.data());
        for (std::size_t k = 0; k < n_near; ++k) {
          const Entry& other = others[near_[k]];
          if (are_first(entries[i].bits ^ other.bits, depth)) keep(entries[i].index, other.index);
        }
        pulse_.after(n - i);
      }
    }

    // Whether the chosen blocks are the first in which nothing differs.
    bool are_first(std::uint64_t differing, std::size_t depth) const {
      std::size_t n = 0;
      for (std::size_t block = 0; block <= chosen_[depth - 1]; ++block)
        if (index_.blocks_.value(differing, block) == 0 && chosen_[n++] != block) return false;
      return true;
    }

    void keep(std::size_t i, std::size_t j) {
      const Codes& codes = index_.codes_;
      if (i > j) std::swap(i, j);
      if (!codes.triangle && (i >= codes.n_a || j < codes.n_a)) return;
      std::uint32_t differing = 0;
      kernels().hamming_tile(codes.row(i), 1, codes.row(j), 1, codes.n_words, &differing);
      if (differing > index_.radius_) return;
      const double total = static_cast<double>(64 * codes.n_words);
      found_.push_back({static_cast<std::int32_t>(i),
                        static_cast<std::int32_t>(codes.triangle ? j : j - codes.n_a),
                        (total - static_cast<double>(differing)) / total});
    }

    static constexpr std::size_t sort_costs_pairs = 8;

    const HammingIndex& index_;
    Pulse pulse_;
    std::array<std::size_t, 64> chosen_{};
    std::vector<std::vector<Entry>> levels_;
    std::vector<std::uint32_t> near_;
    std::vector<Edge> found_;
  };

  // The edges of all parts in (i, j) order.
  static std::vector<Edge> joined(const std::vector<std::vector<Edge>>& parts) {
    std::vector<Edge> all;
    for (const std::vector<Edge>& part : parts) all.insert(all.end(), part.begin(), part.end());
    std::sort(all.begin(), all.end(), [](const Edge& one, const Edge& other) {
      return one.i != other.i ? one.i < other.i : one.j < other.j;
    });
    return all;
  }

  Codes codes_;
  std::size_t radius_;
  std::size_t depth_;
  Blocks blocks_;
};

inline double choices(std::size_t n, std::size_t k) {
  double product = 1;
  for (std::size_t t = 0; t < k; ++t)
    product *= static_cast<double>(n < k ? 0 : n - t) / static_cast<double>(t + 1);
  return product;
}

// How often a pair meets in a bucket of `depth` blocks: the mean over random pairs, so that codes
// that are alike by the thousand are seen; and not below that of random codes.
inline double meetings(const Codes& codes, const Blocks& blocks, std::size_t depth) {
  constexpr std::size_t n_samples = 4096;
  std::mt19937_64 random(0);
  std::uniform_int_distribution<std::size_t> any(0, codes.size() - 1);
  double sum = 0;
  for (std::size_t s = 0; s < n_samples; ++s) {
    const std::uint64_t differing = codes.row(any(random))[0] ^ codes.row(any(random))[0];
    std::size_t n_equal = 0;
    for (std::size_t b = 0; b < blocks.count(); ++b) n_equal += blocks.value(differing, b) == 0;
    sum += choices(n_equal, depth);
  }
  const double of_random =
      choices(blocks.count(), depth) *
      std::pow(2.0, -64.0 * static_cast<double>(depth) / static_cast<double>(blocks.count()));
  return std::max(sum / n_samples, of_random);
}

// The depth at which an index finds the pairs soonest, or 0 where a look at all pairs does. Costs
// in nanoseconds, fitted once on a Zen 3 core; they need only be right enough to choose by.
inline std::size_t best_depth(const Codes& codes, std::size_t radius) {
  constexpr std::size_t most_depth = 4, most_radius = 28;
  constexpr double sort_ns = 5, count_ns = 1.0, pair_ns = 1.4, word_ns = 0.6;
  const double n = static_cast<double>(codes.size());
  if (n < 2000 || radius > most_radius) return 0;
  double least =
      static_cast<double>(codes.pairs()) * (pair_ns + word_ns * static_cast<double>(codes.n_words));
  std::size_t best = 0;
  for (std::size_t depth = 1; depth <= most_depth; ++depth) {
    const Blocks blocks(HammingIndex::n_blocks(radius, depth));
    double cost = n * (n - 1) / 2 * meetings(codes, blocks, depth) * count_ns;
    for (std::size_t level = 1; level <= depth; ++level)
      cost += choices(blocks.count(), level) * n * sort_ns;
    if (cost < least) {
      least = cost;
      best = depth;
    }
  }
  return best;
}

}  // namespace clusterimg
