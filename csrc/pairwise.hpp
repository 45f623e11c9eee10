// The pair driver: every pair of a triangle (i < j of one set) or of a rectangle (two sets), tile
// by tile, from a scorer into a sink. No scorer knows its sink, no sink knows its scorer.
//
// A scorer has
//   rows, cols                    constants: the size of a tile
//   State make_state(Monitor&) const
//                                 scratch of one thread, with a Pulse where a tile or a pair may
//                                 take more than some milliseconds
//   void begin(State&, Range)     called once per band of rows
//   void scan(State&, Range rows, Range cols, emit) const
//                                 calls emit(i, j, score) for the pairs of the tile it keeps, those
//                                 of a row by rising j; where a score is dear it asks
//                                 emit.wants(i, j) first (not below the diagonal of a triangle)
//   double score(State&, i, j) const
//                                 the canonical score of one pair
// A sink has open(band, rows), put(band, i, j, score) and close(band); a band belongs to one
// thread. One for edges has give(edges) too, for those that an index found.
//
// Bands are handed to threads whole and joined in order, so what comes out does not depend on the
// number of threads.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "edge.hpp"
#include "parallel.hpp"
#include "union_find.hpp"

namespace clusterimg {

struct Range {
  std::size_t begin;
  std::size_t end;
  std::size_t size() const { return end - begin; }
};

// Scratch as it comes. A vector would write zeros to all of it first, some seconds where it is
// large and the machine slow, and nothing would look at the monitor meanwhile.
template <class T>
class Scratch {
 public:
  explicit Scratch(std::size_t n) : values_(new T[n]) {}
  T* data() { return values_.get(); }
  T& operator[](std::size_t k) { return values_[k]; }

 private:
  std::unique_ptr<T[]> values_;
};

// Scratch that begins at a line of the cache, so that no register's worth lies in two.
template <class T>
class AlignedScratch {
 public:
  explicit AlignedScratch(std::size_t n) : values_(n + line / sizeof(T)) {}
  T* data() {
    const auto address = reinterpret_cast<std::uintptr_t>(values_.data());
    return values_.data() + (line - address % line) % line / sizeof(T);
  }

 private:
  static constexpr std::size_t line = 64;
  Scratch<T> values_;
};

struct Plane {
  std::size_t n_rows;
  std::size_t n_cols;
  bool triangle;
};

// How many pairs of a tile the plane has.
inline std::uint64_t pairs_of(const Plane& plane, Range rows, Range cols) {
  if (!plane.triangle || rows.end <= cols.begin)
    return static_cast<std::uint64_t>(rows.size()) * cols.size();
  std::uint64_t pairs = 0;
  for (std::size_t i = rows.begin; i < rows.end; ++i)
    pairs += cols.end - std::min(cols.end, std::max(cols.begin, i + 1));
  return pairs;
}

template <class Sink>
struct Emitter {
  Sink& sink;
  std::size_t band;
  bool triangle;

  bool wants(std::size_t i, std::size_t j) const { return !triangle || i < j; }
  void operator()(std::size_t i, std::size_t j, double score) const {
    if (wants(i, j)) sink.put(band, i, j, score);
  }
};

template <class Scorer, class Sink>
void score_pairs(const Plane& plane, const Scorer& scorer, Sink& sink, int n_threads,
                 Monitor& monitor) {
  const std::size_t n_bands = (plane.n_rows + Scorer::rows - 1) / Scorer::rows;
  for_each_unit(
      n_bands, n_threads, monitor, [&] { return scorer.make_state(monitor); },
      [&](std::size_t band, typename Scorer::State& state) {
        const Range rows{band * Scorer::rows, std::min(plane.n_rows, (band + 1) * Scorer::rows)};
        scorer.begin(state, rows);
        sink.open(band, rows);
        const Emitter<Sink> emit{sink, band, plane.triangle};
        const std::size_t first = plane.triangle ? rows.begin / Scorer::cols * Scorer::cols : 0;
        for (std::size_t col = first; col < plane.n_cols; col += Scorer::cols) {
          const Range cols{col, std::min(plane.n_cols, col + Scorer::cols)};
          scorer.scan(state, rows, cols, emit);
          monitor.advance(pairs_of(plane, rows, cols));
          monitor.check();
        }
        sink.close(band);
      });
}

// The canonical scores of listed pairs (i[k], j[k]) into out[k].
template <class Scorer>
void score_listed(const Scorer& scorer, const std::int32_t* i, const std::int32_t* j,
                  std::size_t n_pairs, double* out, int n_threads, Monitor& monitor) {
  constexpr std::size_t chunk = 256;
  for_each_unit(
      (n_pairs + chunk - 1) / chunk, n_threads, monitor, [&] { return scorer.make_state(monitor); },
      [&](std::size_t unit, typename Scorer::State& state) {
        const std::size_t end = std::min(n_pairs, (unit + 1) * chunk);
        for (std::size_t k = unit * chunk; k < end; ++k)
          out[k] =
              scorer.score(state, static_cast<std::size_t>(i[k]), static_cast<std::size_t>(j[k]));
        monitor.advance(end - unit * chunk);
        monitor.check();
      });
}

// Keeps every emitted pair, in (i, j) order.
class EdgeSink {
 public:
  static constexpr bool keeps_edges = true;
  EdgeSink(std::size_t n_rows, std::size_t rows_per_band)
      : bands_((n_rows + rows_per_band - 1) / rows_per_band) {}

  void open(std::size_t band, Range rows) {
    bands_[band].first_row = rows.begin;
    bands_[band].ends.assign(rows.size() + 1, 0);
  }
  void put(std::size_t band, std::size_t i, std::size_t j, double score) {
    Band& b = bands_[band];
    b.edges.push_back({static_cast<std::int32_t>(i), static_cast<std::int32_t>(j), score});
    ++b.ends[i - b.first_row + 1];
  }
  void close(std::size_t band) {
    Band& b = bands_[band];
    for (std::size_t r = 1; r < b.ends.size(); ++r) b.ends[r] += b.ends[r - 1];
    Edges by_row(b.edges.size());
    for (const Edge& edge : b.edges)
      by_row[b.ends[static_cast<std::size_t>(edge.i) - b.first_row]++] = edge;
    b.edges = std::move(by_row);
    b.ends = {};
  }

  // Keeps edges that were found without the driver, in (i, j) order.
  void give(Edges&& edges) { given_ = std::move(edges); }

  // The edges of all bands; the sink is empty afterwards.
  Edges take(Monitor& monitor) {
    if (!given_.empty()) return std::move(given_);
    std::size_t n = 0;
    for (const Band& band : bands_) n += band.edges.size();
    Edges all;
    all.reserve(n);
    for (Band& band : bands_) {
      all.insert(all.end(), band.edges.begin(), band.edges.end());
      band.edges = {};
      monitor.check();
    }
    return all;
  }

 private:
  struct Band {
    std::size_t first_row = 0;
    std::vector<std::size_t> ends;
    Edges edges;
  };
  std::vector<Band> bands_;
  Edges given_;
};

// Unites the items of every emitted pair and forgets the pair: memory for the items alone, however
// many of them are similar.
class ComponentSink {
 public:
  static constexpr bool keeps_edges = false;
  // labels (n_rows)   written by label()
  ComponentSink(std::int32_t* labels, const Plane& plane, std::size_t rows_per_band,
                Monitor& monitor)
      : sets_(labels, plane.n_rows),
        pulse_(monitor),
        waiting_((plane.n_rows + rows_per_band - 1) / rows_per_band) {}

  void open(std::size_t, Range) {}
  void put(std::size_t band, std::size_t i, std::size_t j, double) {
    std::vector<Pair>& waiting = waiting_[band];
    waiting.push_back({static_cast<std::int32_t>(i), static_cast<std::int32_t>(j)});
    if (waiting.size() == most_waiting) unite(waiting);
  }
  void close(std::size_t band) {
    unite(waiting_[band]);
    waiting_[band] = {};
  }

  void give(Edges&& edges) { sets_.unite_all(edges.data(), edges.size(), pulse_); }

  void label() { sets_.label(pulse_); }

 private:
  static constexpr std::size_t most_waiting = 1 << 16;
  struct Pair {
    std::int32_t i, j;
  };

  void unite(std::vector<Pair>& pairs) {
    const std::lock_guard<std::mutex> hold(guard_);
    sets_.unite_all(pairs.data(), pairs.size(), pulse_);
    pairs.clear();
  }

  std::mutex guard_;
  UnionFind sets_;
  Pulse pulse_;
  std::vector<std::vector<Pair>> waiting_;
};

// Writes every emitted pair into a dense float32 matrix; in a triangle into both halves.
class MatrixSink {
 public:
  MatrixSink(float* out, const Plane& plane) : out_(out), plane_(plane) {}

  void open(std::size_t, Range) {}
  void put(std::size_t, std::size_t i, std::size_t j, double score) {
    out_[i * plane_.n_cols + j] = static_cast<float>(score);
    if (plane_.triangle) out_[j * plane_.n_cols + i] = static_cast<float>(score);
  }
  void close(std::size_t) {}

 private:
  float* out_;
  Plane plane_;
};

constexpr double no_score = -std::numeric_limits<double>::infinity();

}  // namespace clusterimg
