// CUDA threads on the CPU: the sources of cuda/ compile unchanged with g++ and run here, one thread
// of a block at a time, each on a stack of its own.
//
// A thread runs until it waits, so only barriers order what the threads of a block do: a barrier
// that is missing shows as a wrong result in one of the orders below. Those that are there are
// checked: every thread of the block must wait at the same place, every lane that a mask names must
// come to the same place with the same mask, and none may have left.
//
// What this cannot show: all races between blocks (with several OS threads some), orders of memory
// that are weaker than this CPU's, the lack of a __threadfence, registers, speed; an index past a
// __shared__ array, but under -fsanitize=bounds.
#pragma once
#include <link.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "context.hpp"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static thread_local
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};

namespace emulation {

// The order in which the threads of a block run between two barriers, and blocks of a launch.
enum class Order : int { forward, reverse, shuffled };
struct Settings {
  Order order = Order::forward;
  unsigned seed = 0;
  int n_os_threads = 1;  // that run blocks at once
};
inline Settings settings;

// Which of the faults that a test has put into the sources is on; 0: none.
inline int planted = 0;

// Where a thread waits, by the source.
struct Site {
  const char* file;
  int line;
  bool operator==(const Site& other) const {
    return line == other.line && (file == other.file || std::strcmp(file, other.file) == 0);
  }
  std::string text() const { return std::string(file) + ":" + std::to_string(line); }
};

enum class State : std::uint8_t { ready, barrier, warp, done };

struct Thread {
  Context* stack = nullptr;  // once it has begun
  uint3 index{};
  State state = State::ready;
  const char* what = "";  // it waits at
  Site site{};
  std::uint32_t mask = 0, argument = 0;  // of a collective of its warp
  std::uint64_t value = 0;               // brought to it, and then what came out
};

// One run of a kernel over a grid.
struct Launch {
  dim3 grid, block;
  const std::function<void()>& kernel;
  Settings how;
  std::vector<std::uint64_t> block_order{};  // of a shuffled launch
  std::atomic<std::uint64_t> next_block{0};
  std::atomic<bool> failed{false};
  std::mutex failing{};
  std::string failure{};

  void fail(const std::string& text) {
    const std::lock_guard<std::mutex> lock(failing);
    if (!failed.exchange(true)) failure = text;
  }
};

class Team;
inline thread_local Team* team = nullptr;  // of the block that this OS thread runs

}  // namespace emulation

inline thread_local uint3 threadIdx{}, blockIdx{};
inline thread_local dim3 blockDim{}, gridDim{};
constexpr int warpSize = 32;

namespace emulation {

// The threads of one block after another, on this OS thread.
class Team {
 public:
  explicit Team(Launch& launch)
      : launch_(launch),
        n_(launch.block.x * launch.block.y * launch.block.z),
        threads_(n_),
        order_(n_),
        place_(n_),
        ready_((n_ + 63) / 64),
        arrived_((n_ + 31) / 32) {
    describe_this_thread(outside_);
    for (unsigned t = 0; t < n_; ++t)
      threads_[t].index = {t % launch.block.x, t / launch.block.x % launch.block.y,
                           t / launch.block.x / launch.block.y};
  }
  Team(const Team&) = delete;
  ~Team() { stacks().give(all_); }

  void run(std::uint64_t block) {
    random_.seed(launch_.how.seed * 2654435761U + static_cast<std::uint32_t>(block));
    for (Thread& thread : threads_) {
      thread.stack = nullptr;
      thread.state = State::ready;
    }
    std::fill(arrived_.begin(), arrived_.end(), 0);
    n_done_ = n_waiting_ = n_nonzero_ = 0;
    spare_ = all_;
    all_ready();
    go_to(choose(), outside_, false);
  }

  // Waits for all threads of the block; how many came with a value that is not 0.
  unsigned barrier(const char* what, Site site, bool value) {
    Thread& self = threads_[current_];
    self.state = State::barrier;
    self.what = what;
    self.site = site;
    ++n_waiting_;
    n_nonzero_ += value;
    go_to(choose(), *self.stack, false);
    return counted_;
  }

  // Waits for the lanes of `mask`; the last one calls finish(lanes, mask), which puts into `value`
  // of each what comes out for it.
  template <class Finish>
  std::uint64_t collective(const char* what, Site site, std::uint32_t mask, std::uint64_t value,
                           std::uint32_t argument, const Finish& finish) {
    Thread& self = threads_[current_];
    const unsigned lane = current_ % 32, warp = current_ / 32;
    Thread* lanes = &threads_[warp * 32];
    const unsigned n_lanes = std::min(32U, n_ - warp * 32);
    self.state = State::warp;
    self.what = what;
    self.site = site;
    self.mask = mask;
    self.argument = argument;
    self.value = value;
    if (!(mask >> lane & 1)) fail(at(self) + "the mask leaves out lane " + std::to_string(lane));
    if (n_lanes < 32 && mask >> n_lanes) fail(at(self) + "the mask names a lane that is not there");
    arrived_[warp] |= 1U << lane;
    if ((arrived_[warp] & mask) == mask && all_agree(lanes, self)) {
      finish(lanes, mask);
      arrived_[warp] &= ~mask;
      for (unsigned l = 0; l < n_lanes; ++l)
        if (mask >> l & 1) make_ready(warp * 32 + l);
    }
    go_to(choose(), *self.stack, false);
    return self.value;
  }

  // Ends the launch with an error; what waits in this block is left there.
  [[noreturn]] void fail(const std::string& text) {
    launch_.fail(text);
    change(*threads_[current_].stack, outside_, true);
    __builtin_unreachable();
  }

  std::string at(const Thread& thread) const {
    return std::string(thread.what) + " at " + thread.site.text() + ", block " +
           std::to_string(blockIdx.x) + "," + std::to_string(blockIdx.y) + "," +
           std::to_string(blockIdx.z) + ", thread " + std::to_string(&thread - threads_.data()) +
           ": ";
  }

 private:
  static constexpr unsigned nobody = ~0U;

  // Of all that can run the first one in the order of this phase.
  unsigned choose() {
    for (;;) {
      for (std::size_t word = 0; word < ready_.size(); ++word)
        if (ready_[word])
          return order_[word * 64 + static_cast<unsigned>(__builtin_ctzll(ready_[word]))];
      if (n_done_ == n_ || !release()) return nobody;
    }
  }

  void make_ready(unsigned thread) {
    threads_[thread].state = State::ready;
    ready_[place_[thread] / 64] |= std::uint64_t{1} << place_[thread] % 64;
  }

  void all_ready() {
    std::iota(order_.begin(), order_.end(), 0U);
    if (launch_.how.order == Order::reverse) std::reverse(order_.begin(), order_.end());
    if (launch_.how.order == Order::shuffled)
      for (unsigned i = n_; i > 1; --i) std::swap(order_[i - 1], order_[random_() % i]);
    for (unsigned place = 0; place < n_; ++place) place_[order_[place]] = place;
    for (unsigned thread = 0; thread < n_; ++thread) make_ready(thread);
  }

  // Nobody can run: opens the barrier, if all stand at the same one, or ends the launch.
  bool release() {
    const Thread* waits = nullptr;  // at a barrier, or else at a collective
    for (const Thread& thread : threads_) {
      if (thread.state == State::barrier && (!waits || waits->state == State::warp))
        waits = &thread;
      if (thread.state == State::warp && !waits) waits = &thread;
    }
    for (const Thread& thread : threads_) {
      if (waits->state == State::barrier && thread.state == State::done)
        return stop("divergent barrier: " + at(*waits) + "waits, and thread " +
                    std::to_string(&thread - threads_.data()) + " has exited");
      if (waits->state == State::barrier && thread.state == State::barrier &&
          !(thread.site == waits->site))
        return stop("divergent barrier: " + at(*waits) + "waits, and " + at(thread) + "waits too");
    }
    if (n_waiting_ < n_) return stop(why_stuck());
    counted_ = n_nonzero_;
    n_waiting_ = n_nonzero_ = 0;
    all_ready();
    return true;
  }

  // Of a block in which some lanes wait for others of their warp for ever.
  std::string why_stuck() const {
    for (const Thread& thread : threads_) {
      if (thread.state != State::warp) continue;
      const Thread* lanes = &threads_[(&thread - threads_.data()) / 32 * 32];
      for (unsigned l = 0; l < 32; ++l) {
        if (!(thread.mask >> l & 1)) continue;
        if (lanes[l].state == State::done)
          return "deadlock: " + at(thread) + "waits for lane " + std::to_string(l) +
                 ", which has exited";
        if (!agree(thread, lanes[l]))
          return "deadlock: " + at(thread) + "mask " + hex(thread.mask) + " waits, and " +
                 at(lanes[l]) +
                 (lanes[l].state == State::warp ? "mask " + hex(lanes[l].mask) : "") + " waits too";
      }
    }
    return "deadlock";
  }

  bool stop(const std::string& text) {
    launch_.fail(text);
    return false;
  }

  static std::string hex(std::uint32_t mask) {
    char text[16];
    std::snprintf(text, sizeof text, "%08x", mask);
    return text;
  }

  static bool agree(const Thread& a, const Thread& b) {
    return a.state == b.state && a.mask == b.mask && a.site == b.site &&
           std::strcmp(a.what, b.what) == 0;
  }
  static bool all_agree(const Thread* lanes, const Thread& self) {
    for (std::uint32_t rest = self.mask; rest; rest &= rest - 1)
      if (!agree(lanes[__builtin_ctz(rest)], self)) return false;
    return true;
  }

  void now(unsigned thread) {
    current_ = thread;
    threadIdx = threads_[thread].index;
    ready_[place_[thread] / 64] &= ~(std::uint64_t{1} << place_[thread] % 64);
  }

  // Leaves the stack `from` for that of a thread, or for the outside where nobody is left.
  void go_to(unsigned thread, Context& from, bool for_good) {
    if (thread == nobody) return change(from, outside_, for_good);
    now(thread);
    Thread& next = threads_[thread];
    if (!next.stack) {
      next.stack = take_stack();
      begin(*next.stack, entry);
    }
    if (next.stack != &from) change(from, *next.stack, for_good);
  }

  Context* take_stack() {
    if (spare_.empty()) {
      all_.push_back(stacks().take());
      return all_.back();
    }
    Context* stack = spare_.back();
    spare_.pop_back();
    return stack;
  }

  // What runs on a stack: threads, for as long as the next one has not begun on another stack.
  static void entry() {
    arrived(nullptr);
    team->run_threads();
  }
  void run_threads() {
    for (;;) {
      launch_.kernel();
      Context* stack = threads_[current_].stack;
      threads_[current_].state = State::done;
      ++n_done_;
      const unsigned next = choose();
      if (next == nobody || threads_[next].stack) {
        spare_.push_back(stack);
        go_to(next, *stack, true);
      }
      threads_[next].stack = stack;
      now(next);
    }
  }

  Launch& launch_;
  unsigned n_, current_ = 0;
  std::vector<Thread> threads_;
  std::vector<unsigned> order_, place_;  // which thread is at a place of the order, and back
  std::vector<std::uint64_t> ready_;     // a bit for each place
  std::vector<std::uint32_t> arrived_;   // lanes of each warp that wait at a collective
  unsigned n_done_ = 0, n_waiting_ = 0, n_nonzero_ = 0, counted_ = 0;
  Context outside_;
  std::vector<Context*> all_, spare_;
  std::mt19937 random_;
};

// Overwrites the __shared__ variables, which are thread-local: a block finds nothing in them that
// it has not written. Of the other thread-local ones of this module only those above must last
// here.
inline void spoil_shared() {
  const auto keep = std::make_tuple(team, blockDim, gridDim);
  dl_iterate_phdr(
      [](dl_phdr_info* module, std::size_t, void*) {
        char* data = static_cast<char*>(module->dlpi_tls_data);
        char* mine = reinterpret_cast<char*>(&team);
        for (int i = 0; data && i < module->dlpi_phnum; ++i) {
          const std::size_t bytes = module->dlpi_phdr[i].p_memsz;
          if (module->dlpi_phdr[i].p_type != PT_TLS || mine < data || mine >= data + bytes)
            continue;
          std::memset(data, 0xA5, bytes);
          return 1;
        }
        return 0;
      },
      nullptr);
  std::tie(team, blockDim, gridDim) = keep;
}

inline void run_blocks(Launch& launch) {
  Team members(launch);
  team = &members;
  blockDim = launch.block;
  gridDim = launch.grid;
  const std::uint64_t n = std::uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  for (std::uint64_t k; (k = launch.next_block++) < n && !launch.failed;) {
    const std::uint64_t block = launch.how.order == Order::forward   ? k
                                : launch.how.order == Order::reverse ? n - 1 - k
                                                                     : launch.block_order[k];
    spoil_shared();
    blockIdx = {static_cast<unsigned>(block % launch.grid.x),
                static_cast<unsigned>(block / launch.grid.x % launch.grid.y),
                static_cast<unsigned>(block / launch.grid.x / launch.grid.y)};
    members.run(block);
  }
}

// Runs a kernel to its end; what went wrong, or nothing.
inline std::string run_grid(dim3 grid, dim3 block, const std::function<void()>& kernel) {
  Launch launch{grid, block, kernel, settings};
  if (launch.how.order == Order::shuffled) {
    launch.block_order.resize(std::size_t{grid.x} * grid.y * grid.z);
    std::iota(launch.block_order.begin(), launch.block_order.end(), std::uint64_t{0});
    std::shuffle(launch.block_order.begin(), launch.block_order.end(),
                 std::mt19937(launch.how.seed));
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < std::max(1, launch.how.n_os_threads); ++t)
    threads.emplace_back(run_blocks, std::ref(launch));
  for (std::thread& thread : threads) thread.join();
  return launch.failure;
}

}  // namespace emulation
