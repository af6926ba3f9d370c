// The columnwise loop: a block takes a tile of rows at a time. Elements of it that are
// `slots` apart, in one column, have a sum of their own in the block's slab of global
// memory, so that no two threads ever add to the same one.
#pragma once

#include "../defs/columns.h"
#include "../exec/kernel_ids.h"
#include "commit.h"
#include "row_stats.h"

namespace kt::KT_LEVEL {

// An unevaluated sum, taken on.
KT_HOST_DEVICE void add_pair(double& high, double& low, double x, double rest) {
  const double sum = high + x;
  low += sum_error(high, x, sum) + rest;
  high = sum;
}

// The low half of sum k, or -1. (An array of constants has no address on a GPU.)
template <class Def>
KT_HOST_DEVICE int low_half_of(int k) {
  static_assert(Def::kLow <= 3);
  constexpr int a = Def::kLow > 0 ? Def::kLowOf[0] : -1;
  constexpr int b = Def::kLow > 1 ? Def::kLowOf[1] : -1;
  constexpr int c = Def::kLow > 2 ? Def::kLowOf[2] : -1;
  return k == a ? Def::kSums : k == b ? Def::kSums + 1 : k == c ? Def::kSums + 2 : -1;
}

// What a score is as a prediction: 0 or 1.
template <class T>
KT_HOST_DEVICE T hit(T score, T limit, const Params& params) {
  if (params.has_threshold) return score > limit ? T{1} : T{0};
  const T none = static_cast<T>(no_score(params));
  return (score >= limit) & (absolute(score) > none) ? T{1} : T{0};
}

template <class Def, class T, class Thread>
KT_HOST_DEVICE void columns(const Thread& thread, const ColumnwiseLaunch& launch) {
  constexpr int kKinds = Def::kSums + Def::kLow;
  double* scratch = reinterpret_cast<double*>(thread.shared());
  T* limits = reinterpret_cast<T*>(scratch + kThreads / kWarp);  // of the tile's rows
  const std::int64_t columns = launch.columns, slots = launch.slots;
  double* slab = launch.lanes + std::int64_t{thread.block()} * kKinds * slots;
  for (std::int64_t i = thread.index(); i < kKinds * slots; i += kThreads) slab[i] = 0.0;
  const auto score_at = [&](std::int64_t i) {
    const T x = load_at<T>(launch.y_pred, launch.axes, i);
    if constexpr (sizeof(T) == sizeof(double)) {
      if (launch.rounds) return round_one(x, launch.precision);
    }
    return x;
  };
  const bool largest = Def::kCountsHits && !launch.params.has_threshold;
  const bool counts_rows = launch.first > 0 && launch.weighted;
  double counted = 0.0;  // rows with a weight other than 0
  const std::int64_t step = launch.tile * thread.blocks();
  for (std::int64_t first = launch.tile * thread.block(); first < launch.rows; first += step) {
    const std::int64_t left = launch.rows - first;
    const std::int64_t rows = left < launch.tile ? left : launch.tile;
    thread.sync();  // the last tile's limits have been read
    if (largest) {
      const Team<Thread> team(thread, launch.team, scratch);
      for (std::int64_t r = 0; r < rows; r += team.per_block()) {
        const std::int64_t own = r + team.number(), row = first + (own < rows ? own : rows - 1);
        T best = static_cast<T>(-kInfinity);
        bool nan = false;
        for (std::int64_t c = team.lane(); c < columns; c += team.size()) {
          const T x = score_at(row * columns + c);
          nan |= x != x;
          best = x > best ? x : best;
        }
        best = team.largest(best);
        // NaN in a row: nothing is the largest.
        const bool none = team.any(nan);
        if (own < rows && team.lane() == 0) {
          limits[own] = none ? static_cast<T>(kInfinity - kInfinity) : best;
        }
      }
      thread.sync();
    }
    const std::int64_t begin = first * columns, end = (first + rows) * columns;
    for (std::int64_t r = thread.index(); counts_rows && r < rows; r += kThreads) {
      bool weighs = false;
      for (std::int64_t c = 0; c < columns; ++c) {
        weighs |= load_at<double>(launch.weight, launch.axes, begin + r * columns + c) != 0.0;
      }
      counted += weighs ? 1.0 : 0.0;
    }
    for (std::int64_t slot = thread.index(); slot < slots; slot += kThreads) {
      double sums[kKinds];
      for (int k = 0; k < kKinds; ++k) sums[k] = slab[k * slots + slot];
      for (std::int64_t i = begin + slot; i < end; i += slots) {
        T p = score_at(i);
        double t = static_cast<double>(load_at<T>(launch.y_true, launch.axes, i));
        if constexpr (sizeof(T) == sizeof(double)) {
          if (launch.rounds) t = round_one(t, launch.precision);
        }
        if constexpr (Def::kCountsHits) {
          const T limit =
              largest ? limits[(i - begin) / columns] : static_cast<T>(launch.params.threshold);
          p = hit(p, limit, launch.params);
        }
        const double w = launch.weighted ? load_at<double>(launch.weight, launch.axes, i) : 1.0;
        Def::template add<false>(t, static_cast<double>(p), w, sums);
      }
      for (int k = 0; k < kKinds; ++k) slab[k * slots + slot] = sums[k];
    }
  }
  // Slots of a column to one sum, then blocks: in their order.
  thread.sync();
  const Team<Thread> all(thread, kThreads, scratch);
  double* counts = launch.lanes + std::int64_t{thread.blocks()} * kKinds * slots;
  if (counts_rows) {
    counted = all.sum(counted);
    if (thread.index() == 0) counts[thread.block()] = counted;
  }
  double* partials = launch.workspace.partials;
  for (std::int64_t i = thread.index(); i < Def::kSums * columns; i += kThreads) {
    const int k = static_cast<int>(i / columns), low_half = low_half_of<Def>(k);
    double high = 0.0, low = 0.0;
    for (std::int64_t slot = i % columns; slot < slots; slot += columns) {
      add_pair(high, low, slab[k * slots + slot],
               low_half < 0 ? 0.0 : slab[low_half * slots + slot]);
    }
    double* out = partials + (std::int64_t{thread.block()} * Def::kSums * columns + i) * 2;
    out[0] = high;
    out[1] = low_half < 0 ? 0.0 : low;
  }
  if (!is_last_block(thread, launch.workspace.ticket, scratch)) return;
  const std::int64_t sums = Def::kSums * columns;
  for (std::int64_t i = thread.index(); i < sums; i += kThreads) {
    const int k = static_cast<int>(i / columns);
    double high = 0.0, low = 0.0;
    for (int b = 0; b < thread.blocks(); ++b) {
      const double* from = partials + (b * sums + i) * 2;
      add_pair(high, low, from[0], from[1]);
    }
    if (low_half_of<Def>(k) < 0) low = 0.0;
    if (launch.folded) {
      partials[2 * i] = high;  // of block 0, which nobody reads any more
      continue;
    }
    add_to(launch.state, launch.first + k, i % columns, high);
    if (low != 0.0) add_to(launch.state, launch.first + k, i % columns, low);
  }
  if (launch.first > 0 && thread.index() == 0) {
    double samples = counts_rows ? 0.0 : static_cast<double>(launch.rows);
    for (int b = 0; counts_rows && b < thread.blocks(); ++b) samples += counts[b];
    add_to(launch.state, 0, 0, samples);
  }
  if (!launch.folded) return;
  thread.sync();
  for (int k = 0; k < Def::kSums; ++k) {
    double sum = 0.0;
    for (std::int64_t c = thread.index(); c < columns; c += kThreads) {
      sum += partials[2 * (k * columns + c)];
    }
    sum = all.sum(sum);
    if (thread.index() == 0) add_to(launch.state, launch.first + k, 0, sum);
  }
}

template <class T, class Thread>
KT_HOST_DEVICE void columnwise(const Thread& thread, const ColumnwiseLaunch& launch) {
  switch (static_cast<ColumnwiseId>(launch.kernel)) {
#define KT_COLUMNWISE(name, definition) \
  case ColumnwiseId::name:              \
    return columns<definition, T>(thread, launch);
#include "../kernels.def"
  }
}

}  // namespace kt::KT_LEVEL
