#include "worker.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "launch.hpp"
#include "pairwise.hpp"

namespace clusterimg::cuda {

void Staging::copy(void* to, const void* from, std::size_t bytes, cudaStream_t stream,
                   Monitor& monitor) {
  for (std::size_t done = 0; done < bytes; done += piece) {
    const std::size_t n = std::min(piece, bytes - done);
    free_[next_].wait();
    std::memcpy(pieces_[next_].data(), static_cast<const std::uint8_t*>(from) + done, n);
    check(cudaMemcpyAsync(static_cast<std::uint8_t*>(to) + done, pieces_[next_].data(), n,
                          cudaMemcpyHostToDevice, stream),
          "a copy to the device failed");
    free_[next_].record(stream);
    next_ = 1 - next_;
    monitor.check();
  }
}

void BlockMemory::load(const Items& items, Span span, const Kernel& kernel, Staging& staging,
                       cudaStream_t stream, Monitor& monitor) {
  const Parts parts = parts_of(items, span, kernel);
  const auto first = static_cast<std::size_t>(span.first), n = static_cast<std::size_t>(span.n);
  const std::size_t begin = items.begin_of(first), end = items.begin_of(first + n);
  const auto* from = static_cast<const std::uint8_t*>(items.values) + begin * items.element_bytes;
  std::uint8_t* memory = memory_.data();
  span_ = {0, 0};  // until it is filled, should a call fail
  block_ = {span.first, span.n, memory, nullptr, nullptr, memory + parts.prepared};
  if (items.device < 0)
    staging.copy(memory, from, (end - begin) * items.element_bytes, stream, monitor);
  else
    check(cudaMemcpyAsync(memory, from, (end - begin) * items.element_bytes, cudaMemcpyDefault,
                          stream),
          "a copy between devices failed");
  if (items.offsets) {
    std::vector<std::int64_t> offsets(n + 1);
    for (std::size_t k = 0; k <= n; ++k)
      offsets[k] = items.offsets[first + k] - items.offsets[first];
    staging.copy(memory + parts.offsets, offsets.data(), (n + 1) * sizeof(std::int64_t), stream,
                 monitor);
    block_.offsets = reinterpret_cast<const std::int64_t*>(memory + parts.offsets);
  }
  if (items.shapes) {
    staging.copy(memory + parts.shapes, items.shapes + 2 * first, 2 * n * sizeof(std::int32_t),
                 stream, monitor);
    block_.shapes = reinterpret_cast<const std::int32_t*>(memory + parts.shapes);
  }
  kernel.prepare(block_, stream);
  filled_.record(stream);
  span_ = span;
}

Worker::Slot::Slot(const Plan& plan, bool keeps_edges)
    : list(plan.capacity),
      n_listed(1),
      matrix(plan.matrix_size),
      listed(keeps_edges ? plan.capacity : 0),
      count(1),
      scores(plan.matrix_size) {}

Worker::Worker(int device, const Join& join, const Plan& plan, float* matrix)
    : device_(device),
      join_(join),
      matrix_(matrix),
      capacity_(static_cast<std::uint32_t>(plan.capacity)),
      a_(plan.a_bytes),
      b_{BlockMemory(plan.b_bytes), BlockMemory(plan.b.size() > 1 ? plan.b_bytes : 0)},
      parents_(join.keep == Keep::components ? join.a.n : 0),
      slots_{Slot(plan, join.keep == Keep::edges), Slot(plan, join.keep == Keep::edges)} {
  bytes_ = a_.capacity() + b_[0].capacity() + b_[1].capacity() + n_slots * plan.slot_bytes() +
           parents_.bytes();
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device_), "no such device");
  name_ = properties.name;
}

void Worker::run(Queue& queue, Monitor& monitor) {
  try {
    work_through(queue, monitor);
  } catch (const Failure& failure) {
    settle();
    throw Failure(failure, "device " + std::to_string(device_) + ", " + name_);
  } catch (...) {
    settle();
    throw;
  }
}

// Waits for what is under way: its memory is about to be given back. That a device may have failed
// is known by now.
void Worker::settle() {
  for (Slot& slot : slots_) cudaStreamSynchronize(slot.stream);
  cudaGetLastError();
}

void Worker::work_through(Queue& queue, Monitor& monitor) {
  const OnThisDevice here(device_);
  if (parents_.size() > 0) {
    start_sets(parents_.data(), parents_.size(), slots_[0].stream);
    slots_[0].done.record(slots_[0].stream);
    wait(slots_[0], monitor);
  }
  std::size_t next = 0;
  while (const Unit* unit = queue.take()) {
    Slot& slot = slots_[next++ % n_slots];
    finish(slot, monitor);
    start(slot, *unit, monitor);
  }
  finish_all(nullptr, monitor);
}

// Ends what is under way, if it uses some memory (null: any).
void Worker::finish_all(const BlockMemory* user_of, Monitor& monitor) {
  for (Slot& slot : slots_)
    if (!user_of || slot.blocks[0] == user_of || slot.blocks[1] == user_of) finish(slot, monitor);
}

BlockMemory& Worker::load(BlockMemory& memory, const Items& items, Span span, Slot& slot,
                          Monitor& monitor) {
  if (memory.holds(span)) {
    memory.await(slot.stream);
  } else {
    finish_all(&memory, monitor);
    memory.load(items, span, join_.kernel, staging_, slot.stream, monitor);
  }
  return memory;
}

BlockMemory& Worker::block_a(Span span, Slot& slot, Monitor& monitor) {
  return load(a_, join_.a, span, slot, monitor);
}

BlockMemory& Worker::block_b(Span span, Slot& slot, Monitor& monitor) {
  if (join_.triangle && a_.holds(span)) return load(a_, join_.a, span, slot, monitor);
  if (!b_[latest_b_].holds(span) && b_[1].capacity() > 0) latest_b_ = 1 - latest_b_;
  return load(b_[latest_b_], join_.b, span, slot, monitor);
}

void Worker::start(Slot& slot, const Unit& unit, Monitor& monitor) {
  const BlockMemory& a = block_a(unit.a, slot, monitor);
  const BlockMemory& b = block_b(unit.b, slot, monitor);
  const Pairs pairs{unit.row,       unit.n_rows,    unit.col,   unit.n_cols,
                    unit.first_i(), unit.first_j(), join_.gap()};
  const Sink sink{join_.keep, slot.matrix.data(),   slot.list.data(),
                  capacity_,  slot.n_listed.data(), parents_.data()};
  check(cudaMemsetAsync(slot.n_listed.data(), 0, sizeof(std::uint32_t), slot.stream),
        "the device failed");
  join_.kernel.score(a.block(), b.block(), pairs, sink, slot.stream);
  if (join_.keep == Keep::matrix) {
    const std::size_t n =
        static_cast<std::size_t>(unit.n_rows) * static_cast<std::size_t>(unit.n_cols);
    check(cudaMemcpyAsync(slot.scores.data(), slot.matrix.data(), n * sizeof(float),
                          cudaMemcpyDeviceToHost, slot.stream),
          "a copy from the device failed");
  } else {
    join_.kernel.decide(a.block(), b.block(), pairs, sink, slot.stream);
    check(cudaMemcpyAsync(slot.count.data(), slot.n_listed.data(), sizeof(std::uint32_t),
                          cudaMemcpyDeviceToHost, slot.stream),
          "a copy from the device failed");
  }
  slot.done.record(slot.stream);
  slot.unit = unit;
  slot.blocks = {&a, &b};
  slot.busy = true;
  ++launches_;
}

void Worker::wait(Slot& slot, Monitor& monitor) {
  for (int round = 0; !slot.done.passed(); ++round) {
    monitor.check();
    if (round > 100) std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

void Worker::finish(Slot& slot, Monitor& monitor) {
  if (!slot.busy) return;
  wait(slot, monitor);
  slot.busy = false;
  slot.blocks = {};
  const std::uint32_t count = join_.keep == Keep::matrix ? 0 : *slot.count.data();
  if (count > capacity_) {
    retry_in_pieces(slot, count, monitor);
    return;
  }
  if (join_.keep == Keep::matrix) take_matrix(slot);
  if (join_.keep == Keep::edges) take_edges(slot, count, monitor);
  const auto range = [](std::int32_t first, std::int32_t n) {
    return Range{static_cast<std::size_t>(first), static_cast<std::size_t>(first + n)};
  };
  const std::uint64_t pairs =
      pairs_of({join_.a.n, join_.b.n, join_.triangle}, range(slot.unit.first_i(), slot.unit.n_rows),
               range(slot.unit.first_j(), slot.unit.n_cols));
  pairs_ += pairs;
  monitor.advance(pairs);
  monitor.check();
}

// The list was too short: nothing of it is used, and the launch is done again in parts. One of a
// tile always fits.
void Worker::retry_in_pieces(Slot& slot, std::uint32_t count, Monitor& monitor) {
  ++cut_;
  const Unit whole = slot.unit;
  const std::int32_t tile = join_.kernel.tile();
  if (whole.n_rows <= tile && whole.n_cols <= tile)
    throw Failure(cudaErrorUnknown, "it lists more pairs than there are");
  const bool by_rows = whole.n_rows > tile;
  const std::int32_t n = by_rows ? whole.n_rows : whole.n_cols;
  // A quarter shorter than if pairs were spread evenly.
  const double fitting = 0.75 * n * (static_cast<double>(capacity_) / count);
  const std::int32_t step =
      std::max(tile, std::min(static_cast<std::int32_t>(fitting), n - 1) / tile * tile);
  for (std::int32_t begin = 0; begin < n; begin += step) {
    Unit piece = whole;
    (by_rows ? piece.row : piece.col) += begin;
    (by_rows ? piece.n_rows : piece.n_cols) = std::min(step, n - begin);
    start(slot, piece, monitor);
    finish(slot, monitor);
  }
}

void Worker::take_edges(Slot& slot, std::uint32_t count, Monitor& monitor) {
  if (count == 0) return;
  check(cudaMemcpyAsync(slot.listed.data(), slot.list.data(), count * sizeof(Edge),
                        cudaMemcpyDeviceToHost, slot.stream),
        "a copy from the device failed");
  slot.done.record(slot.stream);
  wait(slot, monitor);
  const Unit& unit = slot.unit;
  for (std::uint32_t k = 0; k < count; ++k) {
    const Edge& edge = slot.listed.data()[k];
    const std::int32_t row = edge.i - unit.first_i(), col = edge.j - unit.first_j();
    if (row < 0 || row >= unit.n_rows || col < 0 || col >= unit.n_cols)
      throw Failure(cudaErrorUnknown, "it lists a pair that is not there");
    if (edge.score > join_.threshold) edges_.push_back(edge);
  }
}

// Copies a launch's scores into the matrix; in a triangle into both halves.
void Worker::take_matrix(const Slot& slot) {
  const auto n_rows = static_cast<std::size_t>(slot.unit.n_rows);
  const auto n_cols = static_cast<std::size_t>(slot.unit.n_cols);
  const auto first_i = static_cast<std::size_t>(slot.unit.first_i());
  const auto first_j = static_cast<std::size_t>(slot.unit.first_j());
  const auto skipped = [&](std::size_t r) {  // columns before the diagonal
    const std::size_t i = first_i + r;
    return join_.triangle && i > first_j ? std::min(i - first_j, n_cols) : 0;
  };
  for (std::size_t r = 0; r < n_rows; ++r) {
    const float* from = slot.scores.data() + r * n_cols;
    std::copy(from + skipped(r), from + n_cols,
              matrix_ + (first_i + r) * join_.b.n + first_j + skipped(r));
  }
  if (!join_.triangle) return;
  constexpr std::size_t side = 16;  // of a piece: a line of the cache on both sides
  for (std::size_t row = 0; row < n_rows; row += side)
    for (std::size_t col = 0; col < n_cols; col += side)
      for (std::size_t r = row; r < std::min(row + side, n_rows); ++r)
        for (std::size_t c = std::max(col, skipped(r)); c < std::min(col + side, n_cols); ++c)
          matrix_[(first_j + c) * join_.b.n + first_i + r] = slot.scores.data()[r * n_cols + c];
}

std::vector<std::int32_t> Worker::parents() {
  const OnThisDevice here(device_);
  std::vector<std::int32_t> parents(parents_.size());
  check(cudaMemcpy(parents.data(), parents_.data(), parents_.bytes(), cudaMemcpyDeviceToHost),
        "a copy from the device failed");
  return parents;
}

}  // namespace clusterimg::cuda
