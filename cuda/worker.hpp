// One device at work on launches that it takes from a queue. Two are under way at a time, so that
// copies and what the host does with one go on beside the other.
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "edge.hpp"
#include "parallel.hpp"
#include "plan.hpp"
#include "runtime.hpp"

namespace clusterimg::cuda {

// What a device did in a join.
struct Usage {
  int device;
  std::string name;
  std::uint64_t bytes, launches, cut, pairs;  // `cut`: launches for which the list was too short
};

// Copies from memory that the device can't reach at full speed, through some that it can.
class Staging {
 public:
  Staging() : pieces_{Pinned<std::uint8_t>(piece), Pinned<std::uint8_t>(piece)} {}
  void copy(void* to, const void* from, std::size_t bytes, cudaStream_t stream, Monitor& monitor);

 private:
  static constexpr std::size_t piece = std::size_t{1} << 22;
  std::array<Pinned<std::uint8_t>, 2> pieces_;
  std::array<Event, 2> free_;
  std::size_t next_ = 0;
};

// Memory for a block of a set, and which one it holds.
class BlockMemory {
 public:
  BlockMemory() = default;
  explicit BlockMemory(std::size_t bytes) : memory_(bytes) {}

  std::size_t capacity() const { return memory_.size(); }
  bool holds(Span span) const { return span == span_; }
  const Block& block() const { return block_; }
  // Fills it in the order of `stream`.
  void load(const Items& items, Span span, const Kernel& kernel, Staging& staging,
            cudaStream_t stream, Monitor& monitor);
  // Lets a stream wait until it is filled.
  void await(cudaStream_t stream) {
    check(cudaStreamWaitEvent(stream, filled_, 0), "the device failed");
  }

 private:
  OnDevice<std::uint8_t> memory_;
  Event filled_;
  Span span_{0, 0};
  Block block_{};
};

// The launches that are left.
class Queue {
 public:
  explicit Queue(const std::vector<Unit>& units) : units_(units) {}
  const Unit* take() {
    const std::size_t k = next_++;
    return k < units_.size() ? &units_[k] : nullptr;
  }

 private:
  const std::vector<Unit>& units_;
  std::atomic<std::size_t> next_{0};
};

class Worker {
 public:
  // Takes all the memory it needs. `matrix` (n_rows, n_cols) on the host, if one is asked for.
  Worker(int device, const Join& join, const Plan& plan, float* matrix);

  // On any thread, one at a time.
  void run(Queue& queue, Monitor& monitor);

  Edges& edges() { return edges_; }
  // The union-find of this device.
  std::vector<std::int32_t> parents();
  Usage usage() const { return {device_, name_, bytes_, launches_, cut_, pairs_}; }

 private:
  struct Slot {
    Slot(const Plan& plan, bool keeps_edges);
    OnDevice<Edge> list;
    OnDevice<std::uint32_t> n_listed;
    OnDevice<float> matrix;
    Pinned<Edge> listed;
    Pinned<std::uint32_t> count;
    Pinned<float> scores;
    Stream stream;
    Event done;
    Unit unit{};
    bool busy = false;
    std::array<const BlockMemory*, 2> blocks{};
  };

  void work_through(Queue& queue, Monitor& monitor);
  void settle();
  void start(Slot& slot, const Unit& unit, Monitor& monitor);
  void finish(Slot& slot, Monitor& monitor);
  void finish_all(const BlockMemory* user_of, Monitor& monitor);
  void retry_in_pieces(Slot& slot, std::uint32_t count, Monitor& monitor);
  BlockMemory& block_a(Span span, Slot& slot, Monitor& monitor);
  BlockMemory& block_b(Span span, Slot& slot, Monitor& monitor);
  BlockMemory& load(BlockMemory& memory, const Items& items, Span span, Slot& slot,
                    Monitor& monitor);
  void take_edges(Slot& slot, std::uint32_t count, Monitor& monitor);
  void take_matrix(const Slot& slot);
  void wait(Slot& slot, Monitor& monitor);

  int device_;
  std::string name_;
  const Join& join_;
  float* matrix_;
  std::uint64_t bytes_ = 0, launches_ = 0, cut_ = 0, pairs_ = 0;
  std::uint32_t capacity_;
  Staging staging_;
  BlockMemory a_;
  std::array<BlockMemory, 2> b_;
  std::size_t latest_b_ = 0;
  OnDevice<std::int32_t> parents_;
  std::array<Slot, n_slots> slots_;
  Edges edges_;
};

}  // namespace clusterimg::cuda
