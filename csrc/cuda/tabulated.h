// The tabulated loop: counts of pairs of class ids. Where ids are the largest of a row
// of scores, a team of threads looks for it.
#pragma once

#include "../defs/confusion_matrix.h"
#include "commit.h"
#include "histogram.h"
#include "row_stats.h"

namespace kt::KT_LEVEL {

template <class Thread>
KT_HOST_DEVICE double id_at(const Team<Thread>& team, const IdOperand& ids, std::int64_t i) {
  const Row<double> row(ids.rows, ids.lead, ids.inner, i);
  return ids.dense ? static_cast<double>(row_argmax(team, row, ids.classes)) : row.at(0);
}

// Adds the bins begin, begin + step ... to the state, and zeroes them.
KT_HOST_DEVICE void commit_bins(const Bins& bins, const Workspace& workspace, const State& state,
                                std::int64_t begin, std::int64_t step) {
  const std::int64_t size = state.variables[0].size;
  for (std::int64_t i = begin; i < bins.count; i += step) {
    const double x = take_bin(bins, workspace, i);
    if (x != 0.0) add_to(state, static_cast<int>(i / size), i % size, x);
  }
}

// In shared memory: a number a warp, then the histogram.
template <class Thread>
KT_HOST_DEVICE void tabulated(const Thread& thread, const TabulatedLaunch& launch) {
  double* scratch = reinterpret_cast<double*>(thread.shared());
  const Histogram<Thread> histogram(thread, launch.bins, launch.workspace,
                                    thread.shared() + kThreads / kWarp * sizeof(double));
  const Team<Thread> team(thread, launch.team, scratch);
  const std::int64_t step = std::int64_t{team.per_block()} * thread.blocks();
  const auto count = [&](std::int64_t cell, std::int64_t i) {
    if (!launch.weighted) return histogram.add(cell);
    const double w = load_at<double>(launch.weight, launch.weight_axes, i);
    histogram.add(cell, launch.whole_weights ? ::trunc(w) : w);
  };
  for (std::int64_t first = std::int64_t{team.per_block()} * thread.block(); first < launch.n;
       first += step) {
    const std::int64_t wanted = first + team.number();
    const bool own = wanted < launch.n;
    const std::int64_t i = own ? wanted : launch.n - 1;
    const double label = id_at(team, launch.labels, i);
    double score = id_at(team, launch.predicted, i);
    if (launch.has_threshold) score = static_cast<float>(score) >= launch.threshold ? 1.0 : 0.0;
    if (!own || team.lane() != 0) continue;
    const double lowest = launch.whole ? -1.0 : 0.0;
    const std::int64_t t = ClassIndex::value(label, lowest, launch.whole, launch.classes);
    const std::int64_t p = ClassIndex::value(score, lowest, launch.whole, launch.classes);
    // Ids that are not truncated are compared as they came.
    const double compared = launch.whole ? static_cast<double>(t) : label;
    if (t < 0 || p < 0 || launch.ignored.has(compared)) continue;
    if (!launch.by_class) {
      count(MatrixCell::value(t, p, launch.classes), i);
      continue;
    }
    count(ClassCells::first(t, p, launch.classes), i);
    const std::int64_t second = ClassCells::second(t, p, launch.classes, -1);
    if (second >= 0) count(second, i);
  }
  histogram.flush();
  if (!launch.commits || !is_last_block(thread, launch.workspace.ticket, scratch)) return;
  commit_bins(launch.bins, launch.workspace, launch.state, thread.index(), kThreads);
}

template <class Thread>
KT_HOST_DEVICE void commit(const Thread& thread, const CommitLaunch& launch) {
  commit_bins(launch.bins, launch.workspace, launch.state,
              std::int64_t{kThreads} * thread.block() + thread.index(),
              std::int64_t{kThreads} * thread.blocks());
}

}  // namespace kt::KT_LEVEL
