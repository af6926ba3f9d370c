// The binned loops: threshold counts, by four sums where there is one threshold, else
// by a histogram of scores over the thresholds.
#pragma once

#include "../defs/confusion.h"
#include "commit.h"
#include "histogram.h"

namespace kt::KT_LEVEL {

constexpr double kBelowAll = -1e10;
enum : unsigned { kNanSeen = 1 };

// Whether a score is among its row's best k: NaN is better than every number; among
// equals, the lower index is better.
template <class T>
KT_HOST_DEVICE bool among_best(const BinnedLaunch& launch, std::int64_t i, T score) {
  const bool one_column = launch.class_id >= 0;
  const std::int64_t row = one_column ? i : i / launch.classes;
  const std::int64_t column = one_column ? launch.class_id : i % launch.classes;
  const Row<T> scores(launch.rows, launch.rows_lead, launch.rows_inner, row);
  const bool nan = score != score;
  std::int64_t better = 0;
  for (std::int64_t c = 0; c < launch.classes && better < launch.top_k; ++c) {
    T x = scores.at(c);
    const bool x_nan = x != x;
    const bool same = x_nan ? nan : x == score;
    better += (x_nan && !nan) || x > score || (same && c < column) ? 1 : 0;
  }
  return better < launch.top_k;
}

template <class T>
struct Samples {
  bool label[4];
  T score[4];
  double weight[4];
  int count;
};

template <class T>
KT_HOST_DEVICE void read_samples(const BinnedLaunch& launch, std::int64_t i, Samples<T>* out) {
  const std::int64_t left = launch.n - i;
  const int n = out->count = left >= 4 ? 4 : static_cast<int>(left);
  T labels[4];
  load_four(launch.y_true, launch.axes, i, n, labels);
  load_four(launch.y_pred, launch.axes, i, n, out->score);
  KT_UNROLL
  for (int j = 0; j < 4; ++j) out->label[j] = labels[j] != T{0};
  if (launch.weight_count > 0) load_four(launch.weights[0], launch.axes, i, n, out->weight);
  if (launch.weight_count > 1) {
    double other[4];
    load_four(launch.weights[1], launch.axes, i, n, other);
    KT_UNROLL
    for (int j = 0; j < 4; ++j) out->weight[j] *= other[j];
  }
  if (launch.top_k > 0) {
    // By the scores as they came: logits keep their order.
    replace_one_by_one(n, out->score, [&](int j, T x) {
      return among_best(launch, i + j, x) ? x : static_cast<T>(kBelowAll);
    });
  }
  if (launch.from_logits) {
    KT_UNROLL
    for (int j = 0; j < 4; ++j) {
      out->score[j] = static_cast<T>(sigmoid_of(static_cast<double>(out->score[j])));
    }
  }
}

// What a thread has counted goes to the state: TP, FP, FN, TN, a column for each in
// shared memory.
template <class Thread>
KT_HOST_DEVICE void commit_cells(const Thread& thread, const BinnedLaunch& launch,
                                 const double (&sums)[4], double* columns) {
  KT_UNROLL
  for (int c = 0; c < 4; ++c) columns[c * kThreads + thread.index()] = sums[c];
  double* partials = launch.workspace.partials;
  block_sums(thread, columns, 4, [&](int c, double x) { partials[thread.block() * 4 + c] = x; });
  if (!is_last_block(thread, launch.workspace.ticket, columns)) return;
  grid_sums(thread, partials, 4, columns);
  if (thread.index() < launch.state.count) {
    add_to(launch.state, thread.index(), 0, columns[launch.cells[thread.index()]]);
  }
}

// One threshold, one column.
template <class T, class Thread>
KT_HOST_DEVICE void cells(const Thread& thread, const BinnedLaunch& launch) {
  double* columns = reinterpret_cast<double*>(thread.shared());
  const T threshold = static_cast<T>(launch.threshold);
  double sums[4] = {0.0, 0.0, 0.0, 0.0};
  const std::int64_t step = std::int64_t{4} * kThreads * thread.blocks();
  for (std::int64_t i = 4 * (std::int64_t{kThreads} * thread.block() + thread.index());
       i < launch.n; i += step) {
    Samples<T> x;
    read_samples(launch, i, &x);
    KT_UNROLL
    for (int j = 0; j < 4; ++j) {
      const bool above = x.score[j] > threshold;
      const double w = j >= x.count ? 0.0 : launch.weight_count > 0 ? x.weight[j] : 1.0;
      sums[0] += above & x.label[j] ? w : 0.0;
      sums[1] += above & !x.label[j] ? w : 0.0;
      sums[2] += !above & x.label[j] ? w : 0.0;
      sums[3] += !above & !x.label[j] ? w : 0.0;
    }
  }
  commit_cells(thread, launch, sums, columns);
}

// The number of thresholds below a score.
template <class T>
KT_HOST_DEVICE std::int64_t bin_of(const BinnedLaunch& launch, T score) {
  if (launch.even) {
    const T scaled = EvenBin::scaled<T>(score, static_cast<T>(launch.thresholds - 1));
    std::int64_t bin = static_cast<std::int64_t>(scaled);
    bin += scaled > static_cast<T>(bin) ? 1 : 0;
    const std::int64_t lowest = launch.first_always_passed ? 1 : 0;
    return bin < lowest ? lowest : bin;
  }
  const T* listed = static_cast<const T*>(launch.listed);
  std::int64_t low = 0;
  for (std::int64_t half = (launch.padded + 1) / 2; half > 0; half /= 2) {
    low += score > listed[low + half - 1] ? half : 0;
  }
  return low;
}

// The histogram of one label in a column, summed up from the lowest bin for what does
// not pass a threshold, from the highest for what does. Several threads share a
// column: each takes a run of thresholds. `scratch`: a number a warp.
template <class Thread>
KT_HOST_DEVICE void run_up(const Thread& thread, const BinnedLaunch& launch, const double* bins,
                           double* scratch) {
  const std::int64_t labels = launch.labels, count = launch.thresholds;
  int chunks = 1;
  while (2 * chunks * labels <= kThreads) chunks *= 2;
  const std::int64_t size = (count + chunks - 1) / chunks;
  const int chunk = thread.index() % chunks;
  const std::int64_t begin = chunk * size < count ? chunk * size : count;
  const std::int64_t end = begin + size < count ? begin + size : count;
  for (std::int64_t first = 0; first < labels; first += kThreads / chunks) {
    const std::int64_t column = first + thread.index() / chunks;
    const bool own = column < labels;
    KT_NO_UNROLL
    for (int label = 0; label < 2; ++label) {
      const auto bin = [&](std::int64_t t) {
        return own ? bins[(2 * t + label) * labels + column] : 0.0;
      };
      double sum = 0.0;
      for (std::int64_t t = begin; t < end; ++t) sum += bin(t);
      const Around around = sums_around(thread, sum, chunks, scratch);
      if (!own) continue;
      const auto give = [&](std::int64_t t, double x, int cell) {
        const std::int64_t place = launch.order == nullptr ? t : launch.order[t];
        for (int v = 0; v < launch.state.count; ++v) {
          if (launch.cells[v] == cell) add_to(launch.state, v, place * labels + column, x);
        }
      };
      double below = around.before, above = around.behind + bin(count);
      KT_NO_UNROLL
      for (std::int64_t t = begin; t < end; ++t) {
        below += bin(t);
        give(t, below, label == 1 ? 2 : 3);
      }
      KT_NO_UNROLL
      for (std::int64_t t = end - 1; t >= begin; --t) {
        give(t, above, label == 1 ? 0 : 1);
        above += bin(t);
      }
    }
  }
}

// What is in the histogram goes to the state; `nan`: a sample's score was NaN.
template <class Thread>
KT_HOST_DEVICE void commit_histogram(const Thread& thread, const BinnedLaunch& launch,
                                     const Histogram<Thread>& histogram, bool nan,
                                     double* scratch) {
  if (nan) thread.set(launch.workspace.flags, static_cast<unsigned>(kNanSeen));
  histogram.flush();
  if (!is_last_block(thread, launch.workspace.ticket, scratch)) return;
  const bool poisoned = launch.poison_on_nan && *launch.workspace.flags != 0;
  double* numbers = launch.workspace.partials;
  for (std::int64_t i = thread.index(); i < launch.bins.count; i += kThreads) {
    const double x = take_bin(launch.bins, launch.workspace, i);
    numbers[i] = poisoned ? kInfinity - kInfinity : x;
  }
  thread.sync();
  if (thread.index() == 0) *launch.workspace.flags = 0;
  run_up(thread, launch, numbers, scratch);
}

// In shared memory: a number a warp, then the histogram.
template <class T, class Thread>
KT_HOST_DEVICE void binned(const Thread& thread, const BinnedLaunch& launch) {
  double* scratch = reinterpret_cast<double*>(thread.shared());
  const Histogram<Thread> histogram(thread, launch.bins, launch.workspace,
                                    thread.shared() + kThreads / kWarp * sizeof(double));
  bool nan = false;
  const std::int64_t step = std::int64_t{4} * kThreads * thread.blocks();
  for (std::int64_t i = 4 * (std::int64_t{kThreads} * thread.block() + thread.index());
       i < launch.n; i += step) {
    Samples<T> x;
    read_samples(launch, i, &x);
    KT_UNROLL
    for (int j = 0; j < 4; ++j) {
      if (j >= x.count) continue;
      const std::int64_t column = launch.labels == 1 ? 0 : (i + j) % launch.labels;
      const std::int64_t bin =
          (2 * bin_of(launch, x.score[j]) + (x.label[j] ? 1 : 0)) * launch.labels + column;
      if (launch.weight_count == 0) {
        nan |= x.score[j] != x.score[j];
        histogram.add(bin);
      } else {
        nan |= (x.score[j] != x.score[j]) & (x.weight[j] != 0.0);
        histogram.add(bin, x.weight[j]);
      }
    }
  }
  commit_histogram(thread, launch, histogram, nan, scratch);
}

}  // namespace kt::KT_LEVEL
