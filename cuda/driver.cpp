#include "driver.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <thread>

#include "pairwise.hpp"
#include "union_find.hpp"

namespace clusterimg::cuda {

namespace {

using Workers = std::vector<std::unique_ptr<Worker>>;

std::size_t memory_of(int device, const Resources& resources) {
  const OnThisDevice here(device);
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "the device's memory can't be told");
  const std::size_t most = free / 5 * 4;  // others use the device too, and kernels need some
  return resources.memory > 0 ? std::min(resources.memory, most) : most;
}

// Workers with all the memory they need; where it can't be had after all, with less.
Workers workers_of(const Join& join, const Resources& resources, float* matrix,
                   std::vector<Unit>& units) {
  const std::size_t wanted =
      resources.list_capacity > 0 ? resources.list_capacity : std::size_t{1} << 20;
  std::size_t memory = SIZE_MAX;
  for (const int device : resources.devices)
    memory = std::min(memory, memory_of(device, resources));
  for (int attempt = 0;; ++attempt) {
    const Plan plan = plan_of(join, memory, wanted);
    try {
      Workers workers;
      for (const int device : resources.devices) {
        const OnThisDevice here(device);
        workers.push_back(std::make_unique<Worker>(device, join, plan, matrix));
      }
      units = units_of(join, plan, resources.devices.size());
      return workers;
    } catch (const Failure& failure) {
      if (!failure.is_memory() || attempt == 8) throw;
      memory /= 2;
    }
  }
}

// The first failure but those that only followed from another's.
void rethrow_first(const std::vector<std::exception_ptr>& failures) {
  for (const std::exception_ptr& failure : failures) {
    try {
      if (failure) std::rethrow_exception(failure);
    } catch (const Stopped&) {
    }
  }
}

// Every device on a thread of its own, the first on this one, where the monitor's hook runs.
void run_all(Workers& workers, const std::vector<Unit>& units, Monitor& monitor) {
  Queue queue(units);
  std::vector<std::exception_ptr> failures(workers.size());
  std::atomic<std::size_t> n_running{workers.size()};
  const auto work = [&](std::size_t k) {
    try {
      workers[k]->run(queue, monitor);
    } catch (...) {
      failures[k] = std::current_exception();
      monitor.stop();
    }
    --n_running;
  };
  std::vector<std::thread> threads;
  try {
    for (std::size_t k = 1; k < workers.size(); ++k) threads.emplace_back(work, k);
    work(0);
    for (; n_running > 0 && !failures[0]; monitor.check())
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  } catch (...) {
    failures[0] = std::current_exception();
    monitor.stop();
  }
  for (std::thread& thread : threads) thread.join();
  rethrow_first(failures);
}

// Runs a join; returns the workers with what they found.
Workers run(const Join& join, const Resources& resources, float* matrix, Monitor& monitor) {
  std::vector<Unit> units;
  Workers workers = workers_of(join, resources, matrix, units);
  run_all(workers, units, monitor);
  return workers;
}

std::vector<Usage> usages(const Workers& workers) {
  std::vector<Usage> all;
  for (const auto& worker : workers) all.push_back(worker->usage());
  return all;
}

}  // namespace

std::vector<Usage> find_edges(const Join& join, const Resources& resources, Edges& out,
                              Monitor& monitor) {
  Workers workers = run(join, resources, nullptr, monitor);
  // By rows, of which each is then put in order.
  std::vector<std::size_t> ends(join.a.n + 1);
  std::size_t n = 0;
  for (const auto& worker : workers) {
    for (const Edge& edge : worker->edges()) ++ends[static_cast<std::size_t>(edge.i) + 1];
    n += worker->edges().size();
  }
  for (std::size_t i = 0; i < join.a.n; ++i) ends[i + 1] += ends[i];
  out = Edges(n);
  for (const auto& worker : workers) {
    for (const Edge& edge : worker->edges()) out[ends[static_cast<std::size_t>(edge.i)]++] = edge;
    worker->edges() = {};
    monitor.check();
  }
  Pulse pulse(monitor);
  for (std::size_t i = 0, begin = 0; i < join.a.n; begin = ends[i++]) {
    std::sort(out.begin() + static_cast<std::ptrdiff_t>(begin),
              out.begin() + static_cast<std::ptrdiff_t>(ends[i]),
              [](const Edge& x, const Edge& y) { return x.j < y.j; });
    pulse.after(32 * (ends[i] - begin));
  }
  return usages(workers);
}

std::vector<Usage> find_components(const Join& join, const Resources& resources,
                                   std::int32_t* labels, Monitor& monitor) {
  const Workers workers = run(join, resources, nullptr, monitor);
  struct Pair {
    std::int32_t i, j;
  };
  UnionFind sets(labels, join.a.n);
  Pulse pulse(monitor);
  for (const auto& worker : workers) {
    std::vector<Pair> united;
    const std::vector<std::int32_t> parents = worker->parents();
    for (std::size_t k = 0; k < parents.size(); ++k)
      if (parents[k] != static_cast<std::int32_t>(k))
        united.push_back({parents[k], static_cast<std::int32_t>(k)});
    if (sets.unite_all(united.data(), united.size(), pulse) < united.size())
      throw Failure(cudaErrorUnknown, "a device unites items that are not there");
  }
  sets.label(pulse);
  return usages(workers);
}

std::vector<Usage> fill_matrix(const Join& join, const Resources& resources, float* out,
                               Monitor& monitor) {
  return usages(run(join, resources, out, monitor));
}

}  // namespace clusterimg::cuda
