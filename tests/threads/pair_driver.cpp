// The pair driver, its sinks and every scorer on several threads, for ThreadSanitizer.
//
// GNU OpenMP is not built for ThreadSanitizer, which sees none of its barriers and reports races
// where there are none. So this program is compiled with -fopenmp, the core as it is, and linked
// without: the team that `#pragma omp parallel` asks for is started below, with std::thread, which
// ThreadSanitizer knows. Nothing has to be suppressed, and if the core comes to use more of OpenMP
// than this, the link fails. (LLVM's runtime with Archer would be the other way: another compiler
// and another runtime than those we ship.)
//
//   pair_driver         exits 0 if every answer is that of one thread, and no race is found
//   pair_driver race    has a race
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <thread>
#include <vector>

#include "../../csrc/joins/join.hpp"
#include "../../csrc/union_find.hpp"

extern "C" {
void GOMP_parallel(void (*body)(void*), void* data, unsigned n_threads, unsigned) {
  std::vector<std::thread> others;
  for (unsigned k = 1; k < n_threads; ++k) others.emplace_back(body, data);
  body(data);
  for (std::thread& other : others) other.join();
}
int omp_get_num_procs() { return 2; }
}

namespace {

using namespace clusterimg;
using Hamming = CountScorer<std::uint64_t>;

// Counts every bit of every pair: the plainest scorer.
Hamming plain_scorer(const std::uint64_t* codes, std::size_t n_words, double threshold) {
  return {
      codes, codes,    n_words, static_cast<std::uint32_t>(64 * n_words), kernels().hamming_tile,
      false, threshold};
}

constexpr int teams[] = {2, 5, 8};

void require(bool condition, const char* what, std::size_t n, int n_threads) {
  if (condition) return;
  std::printf("%s, %zu items, %d threads: wrong\n", what, n, n_threads);
  std::exit(1);
}

void nothing(std::uint64_t) {}

template <class Word>
std::vector<Word> noise(std::size_t n, std::uint64_t most) {
  std::mt19937_64 random(n);
  std::vector<Word> values(n);
  for (Word& value : values) value = static_cast<Word>(random() % most);
  return values;
}

// All that the core gives back for one plane.
struct Answer {
  Edges edges;
  std::vector<float> matrix;
  std::vector<double> scores;
  std::vector<std::int32_t> labels;

  template <class Scorer>
  Answer(const Scorer& scorer, const Plane& plane, int n_threads)
      : matrix(plane.n_rows * plane.n_cols), scores(600), labels(plane.n_rows + plane.n_cols) {
    Monitor monitor(nothing);
    EdgeSink edge_sink(plane.n_rows, Scorer::rows);
    score_pairs(plane, scorer, edge_sink, n_threads, monitor);
    edges = edge_sink.take(monitor);
    MatrixSink matrix_sink(matrix.data(), plane);
    score_pairs(plane, scorer, matrix_sink, n_threads, monitor);
    std::vector<std::int32_t> i, j;
    for (std::size_t k = 0; k < scores.size(); ++k) {
      i.push_back(static_cast<std::int32_t>(k % plane.n_rows));
      j.push_back(static_cast<std::int32_t>(k / 2 % plane.n_cols));
    }
    score_listed(scorer, i.data(), j.data(), scores.size(), scores.data(), n_threads, monitor);
    Pulse pulse(monitor);
    UnionFind sets(labels.data(), labels.size());
    sets.unite_all(edges.data(), edges.size(), pulse);
    sets.label(pulse);
    if (!plane.triangle) return;
    std::vector<std::int32_t> labels_of_sink(plane.n_rows);
    ComponentSink component_sink(labels_of_sink.data(), plane, Scorer::rows, monitor);
    score_pairs(plane, scorer, component_sink, n_threads, monitor);
    component_sink.label();
    labels.resize(plane.n_rows);  // the columns of a triangle are its rows
    require(labels == labels_of_sink, "components", plane.n_rows, n_threads);
  }

  bool operator==(const Answer& other) const {
    return same(edges, other.edges) && same(matrix, other.matrix) && same(scores, other.scores) &&
           same(labels, other.labels);
  }

 private:
  template <class Values>
  static bool same(const Values& a, const Values& b) {
    return a.size() == b.size() &&
           (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0);
  }
};

// A triangle of the first n items, a rectangle of some of them with all.
template <class Scorer>
void check_answers(const char* what, const Scorer& scorer, std::size_t n) {
  for (const Plane& plane : {Plane{n, n, true}, Plane{(n + 1) / 2, n, false}}) {
    const Answer wanted(scorer, plane, 1);
    require(n < 3 || !wanted.edges.empty(), what, n, 1);
    for (int n_threads : teams) {
      const Answer got(scorer, plane, n_threads);
      require(got == wanted, what, n, n_threads);
    }
  }
}

// The edges of a join in the way it takes by itself.
template <class AJoin>
void check_join(const char* what, const AJoin& join) {
  const auto edges = [&](int n_threads) {
    Monitor monitor(nothing);
    EdgeSink sink(join.n_rows, AJoin::Scorer::rows);
    score_above(join, {join.n_rows, join.n_cols, true}, sink, n_threads, monitor);
    return sink.take(monitor);
  };
  const Edges wanted = edges(1);
  require(!wanted.empty(), what, join.n_rows, 1);
  for (int n_threads : teams) {
    const Edges got = edges(n_threads);
    require(got.size() == wanted.size() &&
                std::memcmp(got.data(), wanted.data(), got.size() * sizeof(Edge)) == 0,
            what, join.n_rows, n_threads);
  }
}

void check_kernels() {
  const auto codes = noise<std::uint64_t>(2 * 300, ~0ull);
  for (std::size_t n : {1, 2, 63, 64, 65, 129, 255, 256, 257, 300})
    check_answers("counts", plain_scorer(codes.data(), 2, 0.5), n);
  for (Look look : {Look::folded, Look::capped, Look::counted})
    for (std::size_t n : {1, 2, 255, 256, 257, 300}) {
      HammingScorer scorer(codes.data(), codes.data(), 2, 0.5);
      scorer.look(look);
      check_answers("hamming", scorer, n);
    }

  const auto signatures = noise<std::uint32_t>(16 * 300, 4);
  for (std::size_t n : {65, 257}) {
    const Signatures sets{signatures.data(), signatures.data(), n, n, 16};
    check_join("signature", Join<SignatureScorer>{{sets, 0.2}, n, n});
  }

  auto greys = noise<std::uint8_t>(9 * 11 * 80, 256);
  for (std::size_t p = 99; p < greys.size(); ++p)  // every second image is nearly the one before
    if (p / 99 % 2 == 1) greys[p] = greys[p - 99] ^ 3;
  for (std::size_t n : {1, 2, 15, 16, 17, 31, 32, 33, 80}) {
    const std::uint8_t* images = greys.data();
    check_answers("ssim", SsimScorer(images, n, images, n, 9, 11, true, 0.0), n);
    check_answers("ssim bound", SsimScorer(images, n, images, n, 9, 11, true, 0.3), n);
    check_answers("ssim float32", SsimScorer(images, n, images, n, 9, 11, false, no_score), n);
    check_answers("template", TemplateScorer(images, images, 99, 0.0), n);
  }

  for (std::size_t n : {300, 3000}) {  // by a look at all pairs, and by an index
    auto many = noise<std::uint64_t>(n, ~0ull);
    for (std::size_t k = 0; k + 1 < n; k += 2) many[k + 1] = many[k] ^ 5;
    const HammingScorer scorer(many.data(), many.data(), 1, 0.9);
    check_join("hamming join", HammingJoin{{scorer, n, n}, many.data(), many.data(), 1});
  }
  const TemplateScorer scorer(greys.data(), greys.data(), 99, 0.7);
  check_join("template join",
             TemplateJoin{{scorer, 80, 80}, greys.data(), greys.data(), 9, 11, 0.7});

  // Images of 4 x 4, 5 x 6, ... by turns; as many descriptors by turns.
  std::vector<std::int32_t> shapes;
  std::vector<std::int64_t> offsets{0}, ends{0};
  for (int k = 0; k < 70; ++k) {
    const int height = 4 + k % 5, width = 4 + k % 5 * 2;
    shapes.insert(shapes.end(), {height, width});
    offsets.push_back(offsets.back() + height * width);
    ends.push_back(ends.back() + k % 5 * 9);
  }
  const auto pixels = noise<std::uint8_t>(static_cast<std::size_t>(offsets.back()), 256);
  const RaggedImages images{pixels.data(), offsets.data(), shapes.data(), 70};
  const auto words = noise<std::uint64_t>(static_cast<std::size_t>(4 * ends.back()), ~0ull);
  const DescriptorSets sets{words.data(), ends.data(), 70};
  for (std::size_t n : {1, 2, 4, 5, 31, 32, 33, 70}) {
    check_answers("sliding", SlidingScorer(images, images, no_score), n);
    check_answers("descriptor", DescriptorScorer(sets, sets, {MatchRule::relative, 0}, -1.0), n);
  }
}

// Calls `body`, which must end by an exception of type Wanted.
template <class Wanted, class Body>
void must_throw(const char* what, int n_threads, const Body& body) {
  try {
    body();
  } catch (const Wanted&) {
    return;
  }
  require(false, what, 0, n_threads);
}

struct Enough {};

struct FailingScan : Hamming {
  using Hamming::Hamming;
  template <class Emit>
  void scan(State& state, Range r, Range c, const Emit& emit) const {
    if (r.begin == 512) throw std::bad_alloc();
    Hamming::scan(state, r, c, emit);
  }
};

struct FailingState : Hamming {
  using Hamming::Hamming;
  State make_state(Monitor&) const { throw std::bad_alloc(); }
};

// Progress is read while all advance; a hook or a scorer that throws ends the call.
void check_ends() {
  constexpr std::size_t n = 100000;
  const auto codes = noise<std::uint64_t>(n, ~0ull);
  const auto pixels = noise<std::uint8_t>(3 * 600 * 600, 256);
  const std::int64_t offsets[] = {0, 360000, 720000, 1080000};
  const std::int32_t shapes[] = {600, 600, 600, 600, 600, 600}, small[] = {200, 200, 200, 200};
  const Hamming hamming = plain_scorer(codes.data(), 1, 0.9);
  const SlidingScorer sliding({pixels.data(), offsets, shapes, 3},
                              {pixels.data(), offsets, small, 2}, 0.0);
  for (int n_threads : {1, 2, 5, 8}) {
    const auto join = [&](const auto& scorer, std::size_t n_rows, std::size_t n_cols) {
      std::uint64_t calls = 0, before = 0;
      Monitor monitor([&](std::uint64_t done) {
        require(done >= before, "progress", n_rows, n_threads);
        before = done;
        if (++calls == 3) throw Enough{};
      });
      EdgeSink sink(n_rows, scorer.rows);
      score_pairs({n_rows, n_cols, n_rows == n_cols}, scorer, sink, n_threads, monitor);
    };
    must_throw<Enough>("hook", n_threads, [&] { join(hamming, n, n); });
    must_throw<Enough>("hook, sliding", n_threads, [&] { join(sliding, 3, 2); });
    const auto counts = kernels().hamming_tile;
    const FailingScan failing(codes.data(), codes.data(), 1, 64, counts, false, 0.9);
    must_throw<std::bad_alloc>("scan", n_threads, [&] { join(failing, 2000, 2000); });
    const FailingState poor(codes.data(), codes.data(), 1, 64, counts, false, 0.9);
    must_throw<std::bad_alloc>("make_state", n_threads, [&] { join(poor, 2000, 2000); });
  }
}

// Bands that share a counter.
struct RacingSink {
  std::size_t count = 0;
  void open(std::size_t, Range) {}
  void put(std::size_t, std::size_t, std::size_t, double) { ++count; }
  void close(std::size_t) {}
};

void race() {
  const auto codes = noise<std::uint64_t>(3000, ~0ull);
  RacingSink sink;
  Monitor monitor(nothing);
  score_pairs({3000, 3000, true}, plain_scorer(codes.data(), 1, 0.0), sink, 2, monitor);
}

}  // namespace

int main(int argc, char** argv) {
  use_isa("plain");
  if (argc > 1 && std::strcmp(argv[1], "race") == 0) {
    race();
    return 0;
  }
  std::thread another_caller(check_kernels);
  check_kernels();
  another_caller.join();
  check_ends();
  std::puts("no race");
  return 0;
}
