// Pairs of codes within a small Hamming radius, found without a look at all pairs.
//
// Cut a word of 64 bits into m blocks. Words that differ in at most r bits differ in at most r
// blocks, so they agree in m - r or more of them (pigeonhole): with m = r + k, in k at least. All
// choices of blocks b1 < b2 < ... < bk are walked as a tree: codes are sorted by one block, those
// of a bucket by a later one, and so on; the pairs of a bucket after k blocks are counted.
//
// Which buckets are counted early does not matter, and small ones are, where to sort on would cost
// more. A pair meets in a bucket for each choice of blocks in which it agrees, and is kept in one
// of them: where the blocks of the bucket are the first ones in which it agrees. Every pair within
// the radius passes through exactly one such bucket at each depth up to k, so it is kept once.
//
// Codes of w words share the radius out: r1 + 1, ..., rw + 1 add up to r + 1. A pair that differed
// in more than rk bits of each word k would differ in r + 1 or more; so one within r is within rk
// in some word, and is kept by the index of the first such word.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "../edge.hpp"
#include "../kernels.hpp"
#include "../pairwise.hpp"
#include "../parallel.hpp"
#include "hamming.hpp"

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

// 64 bits in m nearly equal blocks, m of 4 or more.
class Blocks {
 public:
  static constexpr std::size_t least = 4;
  static constexpr std::size_t most_values = 1 << 16;

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

// Words of codes, and whose they are.
struct Entries {
  explicit Entries(std::size_t n) : words(n), indices(n) {}
  std::vector<std::uint64_t> words;
  std::vector<std::uint32_t> indices;
};

class HammingIndex {
 public:
  // Pairs that differ in at most `radius` bits; `depth` blocks are sorted by at most.
  HammingIndex(const Codes& codes, std::size_t radius, std::size_t depth)
      : codes_(codes), radius_(radius), depth_(depth) {}

  // Of how many bits a pair kept by the index of a word may differ in it; -1: there is none.
  static int word_radius(std::size_t radius, std::size_t n_words, std::size_t word) {
    const std::size_t share = (radius + 1) / n_words, left = (radius + 1) % n_words;
    return static_cast<int>(share + (word < left ? 1 : 0)) - 1;
  }
  static bool serves(std::size_t radius, std::size_t n_words) {
    return word_radius(radius, n_words, 0) <= 28;
  }
  static std::size_t n_blocks(std::size_t radius, std::size_t depth) {
    return std::max(Blocks::least, radius + depth);
  }
  // Which of the bounds of kernels/hamming_sliced.hpp serves for one word.
  static bool capped(std::size_t radius) { return radius > 8; }

  Edges edges(int n_threads, Monitor& monitor) const {
    Entries entries(codes_.size()), sorted(codes_.size());
    std::vector<Edges> found;
    for (std::size_t word = 0; word < codes_.n_words; ++word) {
      const int radius = word_radius(radius_, codes_.n_words, word);
      if (radius < 0) break;
      for (std::size_t k = 0; k < codes_.size(); ++k) {
        entries.words[k] = codes_.row(k)[word];
        entries.indices[k] = static_cast<std::uint32_t>(k);
      }
      const Word part{*this, word, static_cast<std::size_t>(radius),
                      Blocks(n_blocks(static_cast<std::size_t>(radius), depth_))};
      part.edges(entries, sorted, n_threads, monitor, found);
    }
    return joined(found, monitor);
  }

 private:
  // Where each bucket of a sorted block begins.
  using Buckets = std::vector<std::uint32_t>;
  struct View {
    const std::uint64_t* words;
    const std::uint32_t* indices;
    std::size_t n;
    View part(std::size_t from, std::size_t end) const {
      return {words + from, indices + from, end - from};
    }
  };

  class Walk;

  // The index of one word.
  struct Word {
    const HammingIndex& index;
    std::size_t word, radius;
    Blocks blocks;

    // Sorts entries by a block.
    void sort(View in, std::size_t block, std::uint64_t* words, std::uint32_t* indices,
              Buckets& begin) const {
      const unsigned shift = blocks.start(block);
      const std::size_t n_values = blocks.n_values(block), mask = n_values - 1;
      begin.assign(n_values + 2, 0);
      for (std::size_t k = 0; k < in.n; ++k) ++begin[((in.words[k] >> shift) & mask) + 2];
      for (std::size_t v = 0; v + 1 < n_values; ++v) begin[v + 2] += begin[v + 1];
      for (std::size_t k = 0; k < in.n; ++k) {  // leaves begin[v + 1] where bucket v ends
        const std::uint32_t to = begin[((in.words[k] >> shift) & mask) + 1]++;
        words[to] = in.words[k];
        indices[to] = in.indices[k];
      }
    }

    void edges(const Entries& entries, Entries& sorted, int n_threads, Monitor& monitor,
               std::vector<Edges>& found) const {
      constexpr std::size_t most_units = 256;
      const View all{entries.words.data(), entries.indices.data(), entries.words.size()};
      const std::size_t n_choices = blocks.count() - index.depth_ + 1;
      Buckets begin;
      for (std::size_t first = 0; first < n_choices; ++first) {
        sort(all, first, sorted.words.data(), sorted.indices.data(), begin);
        const View view{sorted.words.data(), sorted.indices.data(), all.n};
        const std::size_t n_values = blocks.n_values(first), before = found.size();
        const std::size_t n_units = std::min(most_units, n_values);
        const std::uint64_t share =
            index.codes_.pairs() / (n_choices * n_units * index.codes_.n_words);
        found.resize(before + n_units);
        for_each_unit(
            n_units, n_threads, monitor, [&] { return Walk(*this, first, monitor); },
            [&](std::size_t unit, Walk& walk) {
              for (std::size_t v = unit * n_values / n_units; v < (unit + 1) * n_values / n_units;
                   ++v)
                walk.pairs(view.part(begin[v], begin[v + 1]));
              found[before + unit] = walk.take();
              monitor.advance(share);
              monitor.check();
            });
      }
    }
  };

  // The part of the tree below one block that was sorted by, for one thread.
  class Walk {
   public:
    Walk(const Word& part, std::size_t first, Monitor& monitor)
        : part_(part),
          pulse_(monitor),
          levels_(part.index.depth_),
          tables_(hamming_tables_bytes(1, capped(part.radius))),
          scratch_(hamming_scratch_bytes),
          hits_(hamming_most_hits) {
      chosen_[0] = first;
    }

    void pairs(View view) {
      if (view.n > 1) walk(view, 1);
    }
    Edges take() {
      Edges taken(found_.begin(), found_.end());
      found_.clear();
      return taken;
    }

   private:
    struct Level {
      std::vector<std::uint64_t> words;
      std::vector<std::uint32_t> indices;
      Buckets begin;
    };

    // `view` agrees in the `depth` blocks chosen so far.
    void walk(View view, std::size_t depth) {
      const Blocks& blocks = part_.blocks;
      const std::size_t from = chosen_[depth - 1] + 1;
      const std::size_t end = blocks.count() - (part_.index.depth_ - depth) + 1;
      if (depth == part_.index.depth_ || !worth_sorting(view.n, end - from)) {
        count(view, depth);
        return;
      }
      Level& level = levels_[depth];
      if (level.words.size() < view.n) {
        level.words.resize(view.n);
        level.indices.resize(view.n);
      }
      for (std::size_t block = from; block < end; ++block) {
        chosen_[depth] = block;
        part_.sort(view, block, level.words.data(), level.indices.data(), level.begin);
        pulse_.after(view.n);
        const View sorted{level.words.data(), level.indices.data(), view.n};
        for (std::size_t v = 0; v < blocks.n_values(block); ++v)
          if (level.begin[v + 1] - level.begin[v] > 1)
            walk(sorted.part(level.begin[v], level.begin[v + 1]), depth + 1);
      }
    }

    // Whether to sort n codes by each of n_blocks is cheaper than to count their pairs.
    bool worth_sorting(std::size_t n, std::size_t n_blocks) const {
      const double by_one =
          sort_ns * static_cast<double>(n) + static_cast<double>(part_.blocks.n_values(0));
      return pairs_cost(n, part_.radius) > by_one * static_cast<double>(n_blocks);
    }

    void count(View view, std::size_t depth) {
      if (view.n < least_sliced)
        count_few(view, depth);
      else
        count_sliced(view, depth);
    }

    void count_few(View view, std::size_t depth) {
      const std::size_t n_hits = kernels().hamming_near(
          view.words, view.n, static_cast<std::uint32_t>(part_.radius), hits_.data());
      for (std::size_t k = 0; k < n_hits; ++k) meet(view, hits_[k].row, hits_[k].query, depth);
      pulse_.after(view.n * view.n / 2);
    }

    void count_sliced(View view, std::size_t depth) {
      const bool cap = capped(part_.radius);
      for (std::size_t i = 0; i < view.n; i += hamming_side) {
        const std::size_t n_rows = std::min(hamming_side, view.n - i);
        kernels().hamming_tables(view.words + i, n_rows, 1, cap, tables_.data());
        for (std::size_t j = i; j < view.n; j += hamming_side) {
          const std::size_t n_hits =
              kernels().hamming_hits(view.words + i, n_rows, tables_.data(), cap, view.words + j,
                                     std::min(hamming_side, view.n - j), 1, part_.radius, 0,
                                     scratch_.data(), hits_.data());
          for (std::size_t k = 0; k < n_hits; ++k) {
            const std::size_t row = i + hits_[k].row, query = j + hits_[k].query;
            if (row < query) meet(view, row, query, depth);
          }
          pulse_.after(16 * hamming_side + n_hits);
        }
      }
    }

    // Two entries within the radius of the word: kept if this is the first place they meet.
    void meet(View view, std::size_t one, std::size_t other, std::size_t depth) {
      if (!are_first(view.words[one] ^ view.words[other], depth)) return;
      std::size_t i = view.indices[one], j = view.indices[other];
      const Codes& codes = part_.index.codes_;
      if (i > j) std::swap(i, j);
      if (!codes.triangle && (i >= codes.n_a || j < codes.n_a)) return;
      std::uint32_t differing = 0;
      kernels().hamming_tile(codes.row(i), 1, codes.row(j), 1, codes.n_words, &differing);
      if (differing > part_.index.radius_ || met_before(i, j)) return;
      const double total = static_cast<double>(64 * codes.n_words);
      found_.push_back({static_cast<std::int32_t>(i),
                        static_cast<std::int32_t>(codes.triangle ? j : j - codes.n_a),
                        (total - static_cast<double>(differing)) / total});
    }

    // Whether the chosen blocks are the first in which nothing differs.
    bool are_first(std::uint64_t differing, std::size_t depth) const {
      std::size_t n = 0;
      for (std::size_t block = 0; block <= chosen_[depth - 1]; ++block)
        if (part_.blocks.value(differing, block) == 0 && chosen_[n++] != block) return false;
      return true;
    }

    // Whether the index of an earlier word keeps the pair.
    bool met_before(std::size_t i, std::size_t j) const {
      const Codes& codes = part_.index.codes_;
      for (std::size_t word = 0; word < part_.word; ++word) {
        std::uint32_t differing = 0;
        kernels().hamming_tile(codes.row(i) + word, 1, codes.row(j) + word, 1, 1, &differing);
        if (static_cast<int>(differing) <= word_radius(part_.index.radius_, codes.n_words, word))
          return true;
      }
      return false;
    }

    const Word& part_;
    Pulse pulse_;
    std::array<std::size_t, 64> chosen_{};
    std::vector<Level> levels_;
    AlignedScratch<std::uint8_t> tables_, scratch_;
    Scratch<HammingHit> hits_;
    Edges found_;
  };

 public:
  // Below so many codes pairs are counted one by one.
  static constexpr std::size_t least_sliced = 128;
  // Costs in nanoseconds, fitted once on a Zen 3 core; they need only be right enough to choose by.
  static constexpr double sort_ns = 3.5, bucket_ns = 3, walk_ns = 30000, pair_ns = 0.5,
                          table_ns = 2300, kept_ns = 8, hit_ns = 40;
  static double sliced_ns(bool capped) { return capped ? 11.5 : 7; }

  // What it costs to count the pairs of n codes by one word.
  static double pairs_cost(std::size_t n, std::size_t radius) {
    const double codes = static_cast<double>(n), pairs = codes * codes / 2;
    if (n < least_sliced) return pairs * pair_ns;
    const double side = static_cast<double>(hamming_side);
    return (codes / side + 0.5) * table_ns + (pairs / side + codes / 2) * sliced_ns(capped(radius));
  }

 private:
  // The edges of all parts in (i, j) order.
  static Edges joined(std::vector<Edges>& parts, Monitor& monitor) {
    Edges all;
    for (Edges& part : parts) all.insert(all.end(), part.begin(), part.end()), part = {};
    monitor.check();
    std::sort(all.begin(), all.end(), [](const Edge& one, const Edge& other) {
      return one.i != other.i ? one.i < other.i : one.j < other.j;
    });
    return all;
  }

  Codes codes_;
  std::size_t radius_;
  std::size_t depth_;
};

}  // namespace clusterimg
