// The rowwise loop: a team of threads takes a row at a time, computes the statistics
// that the definitions ask for, and one of its threads gives them to the definitions.
#pragma once

#include "../exec/kernel_ids.h"
#include "commit.h"
#include "row_stats.h"

namespace kt::KT_LEVEL {

// What a definition makes of the statistics.
KT_HOST_DEVICE double row_value(const Definition& op, const RowStats& stats) {
  switch (static_cast<RowwiseId>(op.kernel)) {
#define KT_ROWWISE(name, definition, labels, shapes) \
  case RowwiseId::name:                              \
    return definition::value(stats, op.params);
#include "../kernels.def"
  }
  return 0.0;
}

constexpr std::int64_t kLineBytes = 128;

// Asks for a row, or for the beginning of a long one: a line for each thread of its team.
template <class Thread>
KT_HOST_DEVICE void prefetch_row(const Thread& thread, const Team<Thread>& team,
                                 const RowwiseLaunch& launch, std::int64_t row) {
  const std::int64_t offset = kLineBytes * team.lane();
  const auto ask = [&](const RowOperand& from, const Axes& inner, std::int64_t size) {
    // Where elements are no neighbours or not aligned: the first one.
    const std::int64_t bytes = from.quads ? size * item_size(from.dtype) : 1;
    if (offset >= bytes) return;
    thread.prefetch(Row<float>(from, launch.lead, inner, row).data + offset);
  };
  ask(launch.scores, launch.scores_axes, launch.classes);
  if (launch.has_truth) ask(launch.truth, launch.truth_axes, launch.targets_size);
}

// In shared memory: sums of values and of weights for each op, then a number a warp.
// kPlain: rows of T, of at most 2^30 neighbouring elements, that are logits or not.
template <unsigned kFamily, class T, bool kPlain = false, bool kLogits = false, class Thread>
KT_HOST_DEVICE void rowwise(const Thread& thread, const RowwiseLaunch& launch) {
  double* columns = reinterpret_cast<double*>(thread.shared());
  const int count = 2 * launch.op_count, own = thread.index();
  for (int i = 0; i < count; ++i) columns[i * kThreads + own] = 0.0;
  const Team<Thread> team(thread, launch.team, columns + count * kThreads);
  const std::int64_t step = std::int64_t{team.per_block()} * thread.blocks();
  // All teams of a block go round equally often; those without a row look at the last.
  for (std::int64_t first = std::int64_t{team.per_block()} * thread.block(); first < launch.rows;
       first += step) {
    const std::int64_t wanted = first + team.number();
    const bool own_row = wanted < launch.rows;
    const std::int64_t row = own_row ? wanted : launch.rows - 1;
    // Teams of few threads have their rows side by side.
    if (launch.team >= kWarp && wanted + step < launch.rows)
      prefetch_row(thread, team, launch, wanted + step);
    double label = 0.0;
    if (launch.has_truth && !launch.dense) {
      label = Row<double>(launch.truth, launch.lead, launch.truth_axes, row).at(0);
    }
    const double weight = launch.weighted ? load_at<double>(launch.weight, launch.lead, row) : 1.0;
    for (int g = 0; g < launch.group_count; ++g) {
      const RowGroup& group = launch.groups[g];
      RowStats stats = {};
      row_stats<kFamily, T, kPlain, kLogits>(team, launch, row, label, group.needs,
                                             launch.ops[group.first].params, &stats);
      if (!own_row || team.lane() != 0) continue;
      for (int i = group.first; i < group.first + group.count; ++i) {
        const Definition& op = launch.ops[i];
        const bool ignored = op.params.ignored.has(label);
        // Nobody may wait for the data to refuse a label: the sum says so instead.
        const bool bad = op.needs_label && !stats.usable_label;
        const double value = ignored ? 0.0 : bad ? kInfinity - kInfinity : row_value(op, stats);
        if (launch.values.data != nullptr) {
          store_one(launch.values.data, launch.values.dtype, row, value);
          continue;
        }
        if (ignored) continue;
        columns[2 * i * kThreads + own] += launch.weighted ? weight * value : value;
        columns[(2 * i + 1) * kThreads + own] += weight;
      }
    }
  }
  if (launch.values.data != nullptr) return;
  double* partials = launch.workspace.partials;
  block_sums(thread, columns, count,
             [&](int i, double x) { partials[thread.block() * count + i] = x; });
  if (!is_last_block(thread, launch.workspace.ticket, columns)) return;
  grid_sums(thread, partials, count, columns);
  for (int i = own; i < launch.targets.count; i += kThreads) {
    const Target& target = launch.targets.all[i];
    add_to_target(target, columns[2 * target.op], columns[2 * target.op + 1]);
  }
}

}  // namespace kt::KT_LEVEL
