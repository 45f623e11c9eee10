// Threads for the pair driver: a team that shares numbered units of work, and the monitor through
// which Ctrl-C gets in and progress gets out.
#pragma once
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace clusterimg {

// Leads a thread out of a call that another thread's exception has ended.
struct Stopped {};

// Watches one call, made on the thread that calls. `hook(done)` runs on that thread only, some 20
// times a second, and throws to end the call.
class Monitor {
 public:
  explicit Monitor(std::function<void(std::uint64_t)> hook) : hook_(std::move(hook)) {}

  void advance(std::uint64_t pairs) { done_.fetch_add(pairs, std::memory_order_relaxed); }
  void stop() { stopped_.store(true, std::memory_order_relaxed); }

  // For every thread, at least every few milliseconds: throws if the call is to end.
  void check() {
    if (stopped_.load(std::memory_order_relaxed)) throw Stopped{};
    if (std::this_thread::get_id() != caller_) return;
    const auto now = std::chrono::steady_clock::now();
    if (now < next_) return;
    next_ = now + std::chrono::milliseconds(50);
    hook_(done_.load(std::memory_order_relaxed));
  }

 private:
  std::function<void(std::uint64_t)> hook_;
  std::thread::id caller_ = std::this_thread::get_id();
  std::atomic<std::uint64_t> done_{0};
  std::atomic<bool> stopped_{false};
  std::chrono::steady_clock::time_point next_ = std::chrono::steady_clock::now();
};

// Checks the monitor for one thread once every million small operations, so that it may be told
// about pieces of work too short for a look at the clock.
class Pulse {
 public:
  explicit Pulse(Monitor& monitor) : monitor_(monitor) {}

  void after(std::size_t operations) {
    operations_ += operations;
    if (operations_ < 1000000) return;
    operations_ = 0;
    monitor_.check();
  }

 private:
  Monitor& monitor_;
  std::size_t operations_ = 0;
};

// True in a forked child. GNU OpenMP hangs there if the parent ever ran a parallel region, so the
// child stays on one thread (set by a pthread_atfork handler in bindings.cpp).
inline std::atomic<bool>& in_forked_child() {
  static std::atomic<bool> forked{false};
  return forked;
}

inline int available_threads() {
#if defined(_OPENMP)
  return omp_get_num_procs();
#else
  return 1;
#endif
}

// 0 means all processors this process may use; 1 means no parallel region.
inline int resolve_threads(int n_threads) {
  if (in_forked_child()) return 1;
  return n_threads > 0 ? n_threads : available_threads();
}

// Runs `body(unit, state)` for each unit 0..n_units-1, each thread with a state of its own from
// `make_state()`, units handed out in order. The first exception of any thread ends all and is
// rethrown here.
template <class MakeState, class Body>
void for_each_unit(std::size_t n_units, int n_threads, Monitor& monitor,
                   const MakeState& make_state, const Body& body) {
  std::atomic<std::size_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_guard;
  const auto work = [&] {
    try {
      auto state = make_state();
      for (std::size_t unit = next++; unit < n_units; unit = next++) body(unit, state);
    } catch (...) {
      const std::lock_guard<std::mutex> hold(failure_guard);
      if (!failure) failure = std::current_exception();
      monitor.stop();
    }
  };
  int team = resolve_threads(n_threads);
  if (n_units < static_cast<std::size_t>(team)) team = static_cast<int>(n_units);
  if (team <= 1) {
    work();
  } else {
#if defined(_OPENMP)
#pragma omp parallel num_threads(team)
    work();
#else
    work();
#endif
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace clusterimg
