// What a join on devices does: its blocks, and the launches that the devices share.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "items.hpp"

namespace clusterimg::cuda {

// The pairs of two sets that are asked for, or of one set: b is a then.
struct Join {
  const Kernel& kernel;
  Items a, b;
  bool triangle;
  double threshold;
  Keep keep;

  // What j - i must be for a pair to count; a matrix has its diagonal too.
  std::int32_t gap() const {
    if (!triangle) return all_pairs;
    return keep == Keep::matrix ? 0 : 1;
  }
};

// A launch, or several where the list is too short for it: pairs of a block of each set.
struct Unit {
  Span a, b;
  std::int32_t row, n_rows, col, n_cols;  // from the first of the blocks

  std::int32_t first_i() const { return a.first + row; }
  std::int32_t first_j() const { return b.first + col; }
};

// Sizes that stay the same through a join.
struct Plan {
  std::vector<Span> a, b;        // blocks
  std::size_t a_bytes, b_bytes;  // of the largest
  std::size_t capacity;          // pairs of a list
  std::size_t matrix_size;       // scores of a launch's matrix, 0 if none is asked for

  // Whether all blocks of b, too, are kept in the memory of those of a.
  bool one_block(const Join& join) const { return join.triangle && a.size() == 1; }
  std::size_t slot_bytes() const { return capacity * sizeof(Edge) + matrix_size * sizeof(float); }
};

// Numbers of items are int32.
constexpr std::size_t most_items = std::size_t{1} << 31;

constexpr std::size_t n_slots = 2;  // launches under way on a device

// Operations of a launch: some 20 ms of a fast device, half a second of a slow one.
constexpr double launch_operations = 2e11;

inline std::size_t most_block_bytes(const std::vector<Span>& spans, const Items& items,
                                    const Kernel& kernel) {
  std::size_t most = 0;
  for (const Span span : spans) most = std::max(most, parts_of(items, span, kernel).end);
  return most;
}

// Lays out a join in the memory of a device: all items at once where they fit, else a block of a
// and two of b, of which one is filled while the other is compared.
inline Plan plan_of(const Join& join, std::size_t memory, std::size_t wanted_capacity) {
  const auto tile = static_cast<std::size_t>(join.kernel.tile());
  Plan plan{};
  const std::size_t n_pairs = join.a.n * join.b.n;
  const auto room_for = [&](std::size_t most) {
    return std::max(std::min(most, n_pairs), tile * tile);
  };
  plan.matrix_size = join.keep == Keep::matrix ? room_for(std::size_t{1} << 24) : 0;
  plan.capacity = join.keep == Keep::matrix ? 1 : room_for(wanted_capacity);
  // A small device: its memory is for items first.
  while (plan.matrix_size > tile * tile && n_slots * plan.slot_bytes() > memory / 4)
    plan.matrix_size = std::max(plan.matrix_size / 2, tile * tile);
  while (plan.capacity > tile * tile && n_slots * plan.slot_bytes() > memory / 4)
    plan.capacity = std::max(plan.capacity / 2, tile * tile);
  std::size_t taken = n_slots * plan.slot_bytes();
  if (join.keep == Keep::components) taken += rounded(join.a.n * sizeof(std::int32_t));
  const std::size_t left = memory > taken ? memory - taken : 0;
  const auto whole = [&](const Items& items) {
    return parts_of(items, {0, static_cast<std::int32_t>(items.n)}, join.kernel).end;
  };
  const bool fits = whole(join.a) + (join.triangle ? 0 : whole(join.b)) <= left;
  plan.a = cut(join.a, join.kernel, fits ? left : left / 3);
  plan.b = join.triangle ? plan.a : cut(join.b, join.kernel, fits ? left : left / 3);
  plan.a_bytes = most_block_bytes(plan.a, join.a, join.kernel);
  plan.b_bytes = plan.one_block(join) ? 0 : most_block_bytes(plan.b, join.b, join.kernel);
  return plan;
}

// A length of at most `most` that is a multiple of the tile, and a tile at least.
inline std::int32_t tiles_within(std::size_t most, std::int32_t tile) {
  const std::size_t tiles = std::max<std::size_t>(1, most / static_cast<std::size_t>(tile));
  return tile * static_cast<std::int32_t>(std::min<std::size_t>(tiles, 32768));
}

// The launches for two blocks: strips of rows, which begin at the diagonal of a triangle.
inline void add_units(const Join& join, Span a, Span b, std::size_t most_pairs,
                      std::vector<Unit>& units) {
  const std::int32_t tile = join.kernel.tile();
  const auto n_cols = static_cast<std::size_t>(b.n);
  const std::int32_t rows = tiles_within(most_pairs / n_cols, tile);
  const std::int32_t cols =
      tiles_within(std::max(most_pairs / static_cast<std::size_t>(rows), std::size_t{1}), tile);
  for (std::int32_t row = 0; row < a.n; row += rows) {
    const std::int32_t begin = join.triangle && a == b ? row : 0;
    for (std::int32_t col = begin; col < b.n; col += cols)
      units.push_back({a, b, row, std::min(rows, a.n - row), col, std::min(cols, b.n - col)});
  }
}

inline std::vector<Unit> units_of(const Join& join, const Plan& plan, std::size_t n_devices) {
  std::vector<Unit> units;
  const double items = static_cast<double>(join.a.n) * static_cast<double>(join.b.n);
  for (const Span a : plan.a)
    for (const Span b : plan.b) {
      if (join.triangle && b.first < a.first) continue;
      const double operations =
          std::max(1.0, join.kernel.operations(elements_of(join.a, a), elements_of(join.b, b)));
      double most = std::min(launch_operations / operations, 2e9);
      if (n_devices > 1) most = std::min(most, items / static_cast<double>(8 * n_devices));
      if (plan.matrix_size > 0) most = std::min(most, static_cast<double>(plan.matrix_size));
      add_units(join, a, b, static_cast<std::size_t>(std::max(1.0, most)), units);
    }
  return units;
}

}  // namespace clusterimg::cuda
