// The elementwise loop: each thread takes four neighbouring elements of each operand at
// a time and gives them to every definition of the list. Its sums are in shared memory,
// since the list's length is known only at run time.
#pragma once

#include "../defs/elementwise.h"
#include "../exec/kernel_ids.h"
#include "commit.h"

namespace kt::KT_LEVEL {

template <class T>
constexpr int kQuads = sizeof(T) == 4 ? 2 : 1;  // of each operand in flight

template <class T>
struct Elements {
  T y_true[kQuads<T>][4], y_pred[kQuads<T>][4];
  double weight[kQuads<T>][4];
  int count[kQuads<T>];
};

template <class T>
KT_HOST_DEVICE void read_elements(const ElementwiseLaunch& launch, std::int64_t start,
                                  std::int64_t step, Elements<T>* out) {
  KT_UNROLL
  for (int q = 0; q < kQuads<T>; ++q) {
    const std::int64_t i = start + q * step, left = launch.n - i;
    const int n = out->count[q] = left >= 4 ? 4 : left > 0 ? static_cast<int>(left) : 0;
    load_four(launch.y_true, launch.axes, i, n, out->y_true[q]);
    load_four(launch.y_pred, launch.axes, i, n, out->y_pred[q]);
    if (launch.weighted) load_four(launch.weight, launch.axes, i, n, out->weight[q]);
  }
  if constexpr (sizeof(T) == sizeof(double)) {
    KT_UNROLL
    for (int q = 0; q < kQuads<T>; ++q) {
      const int n = out->count[q];
      if (launch.integers) {
        // 64-bit integers do not fit a double: equal ones become 0 and 0, others 1 and 0.
        const std::int64_t i = start + q * step;
        one_by_one(n, out->y_true[q], [&](int j) {
          const auto read = [&](const Operand& from) {
            return load_int64(from.data, offset_of(launch.axes, from.strides, i + j));
          };
          return read(launch.y_true) == read(launch.y_pred) ? 0.0 : 1.0;
        });
        KT_UNROLL
        for (int j = 0; j < 4; ++j) out->y_pred[q][j] = 0.0;
        continue;
      }
      const auto round = [&](DType dtype, T* x) {
        replace_one_by_one(n, x, [&](int, T value) { return round_one(value, dtype); });
      };
      if (launch.rounds_true) round(launch.round_true, out->y_true[q]);
      if (launch.rounds_pred) round(launch.round_pred, out->y_pred[q]);
    }
  }
}

template <class Def, class T>
KT_HOST_DEVICE double value_of(T y_true, T y_pred, const Params& params) {
  if constexpr (Def::kCounts) {
    return static_cast<double>(Def::template value<T>(y_true, y_pred, params));
  } else {
    return Def::template value<double>(static_cast<double>(y_true), static_cast<double>(y_pred),
                                       params);
  }
}

// The definition's values, summed. A few at once are enough to keep the arithmetic
// busy; more would need more registers than there are.
template <class Def, class T>
KT_HOST_DEVICE double sum_of_values(const Elements<T>& x, bool weighted, const Params& params) {
  constexpr int kAtOnce = sizeof(T) == 4 ? 4 : 2;
  constexpr int kSteps = 4 * kQuads<T> / kAtOnce;
  double sum = 0.0;
  KT_NO_UNROLL
  for (int step = 0; step < kSteps; ++step) {
    KT_UNROLL
    for (int j = 0; j < kAtOnce; ++j) {
      T t{}, p{};
      double w = 1.0;
      bool given = false;
      KT_UNROLL
      for (int k = 0; k < kSteps; ++k) {
        const int q = (k * kAtOnce + j) / 4, i = (k * kAtOnce + j) % 4;
        t = k == step ? x.y_true[q][i] : t;
        p = k == step ? x.y_pred[q][i] : p;
        if (weighted) w = k == step ? x.weight[q][i] : w;
        given = k == step ? i < x.count[q] : given;
      }
      const double v = value_of<Def>(t, p, params);
      sum += given ? (weighted ? v * w : v) : 0.0;
    }
  }
  return sum;
}

// Calls use(the definition of that number).
template <class Use>
KT_HOST_DEVICE double with_definition(ElementwiseId kernel, Use&& use) {
  switch (kernel) {
#define KT_ELEMENTWISE(name, definition, operands, shapes) \
  case ElementwiseId::name:                                \
    return use(definition());
#include "../kernels.def"
  }
  return 0.0;
}

template <class T>
KT_HOST_DEVICE bool other_than_zero_one(const Elements<T>& x) {
  bool other = false;
  KT_UNROLL
  for (int q = 0; q < kQuads<T>; ++q) {
    KT_UNROLL
    for (int j = 0; j < 4; ++j) {
      const T t = x.y_true[q][j];
      other |= (j < x.count[q]) & (t != T{0}) & (t != T{1});
    }
  }
  return other;
}

// What the threads have added up goes to the targets: sums of ops, of weights and of
// flags, op_count + 2 columns in shared memory.
template <class Thread>
KT_HOST_DEVICE void commit_sums(const Thread& thread, const ElementwiseLaunch& launch,
                                double* columns) {
  const int count = launch.op_count + 2, own = thread.index();
  double* partials = launch.workspace.partials;
  block_sums(thread, columns, count,
             [&](int i, double x) { partials[thread.block() * count + i] = x; });
  if (!is_last_block(thread, launch.workspace.ticket, columns)) return;
  grid_sums(thread, partials, count, columns);
  // For a launch of values that may follow.
  if (own == 0) launch.workspace.flags[1] = columns[launch.op_count + 1] == 0.0 ? 1u : 0u;
  for (int i = own; i < launch.targets.count; i += kThreads) {
    const Target& target = launch.targets.all[i];
    const bool zero_one = launch.finds_zero_one && columns[launch.op_count + 1] == 0.0;
    add_to_target(target, columns[target.op + (zero_one ? 1 : 0)], columns[launch.op_count]);
  }
}

template <class T, class Thread>
KT_HOST_DEVICE void elementwise(const Thread& thread, const ElementwiseLaunch& launch) {
  double* columns = reinterpret_cast<double*>(thread.shared());
  const int count = launch.op_count + 2, own = thread.index();
  for (int i = 0; i < count; ++i) columns[i * kThreads + own] = 0.0;
  const std::int64_t step = std::int64_t{4} * kThreads * thread.blocks();
  bool other = false;
  double weights = 0.0;
  for (std::int64_t start = 4 * (std::int64_t{kThreads} * thread.block() + own); start < launch.n;
       start += kQuads<T> * step) {
    Elements<T> x;
    read_elements(launch, start, step, &x);
    for (int op = 0; op < launch.op_count; ++op) {
      const Params& params = launch.ops[op].params;
      const auto kernel = static_cast<ElementwiseId>(launch.ops[op].kernel);
      columns[op * kThreads + own] += with_definition(kernel, [&](auto definition) {
        return sum_of_values<decltype(definition)>(x, launch.weighted, params);
      });
    }
    if (launch.weighted) {
      KT_UNROLL
      for (int q = 0; q < kQuads<T>; ++q) {
        KT_UNROLL
        for (int j = 0; j < 4; ++j) weights += j < x.count[q] ? x.weight[q][j] : 0.0;
      }
    }
    if (launch.finds_zero_one) other |= other_than_zero_one(x);
  }
  columns[launch.op_count * kThreads + own] = weights;
  columns[(launch.op_count + 1) * kThreads + own] = other ? 1.0 : 0.0;
  commit_sums(thread, launch, columns);
}

// A team for each value. In shared memory: a number a warp.
template <class T, class Thread>
KT_HOST_DEVICE void elementwise_values(const Thread& thread, const ElementwiseLaunch& launch) {
  const Team<Thread> team(thread, launch.team, reinterpret_cast<double*>(thread.shared()));
  const bool zero_one = launch.finds_zero_one && launch.workspace.flags[1] != 0;
  const Definition& op = launch.ops[zero_one ? 1 : 0];
  const std::int64_t step = std::int64_t{team.per_block()} * thread.blocks();
  const std::int64_t count = launch.n;
  for (std::int64_t first = std::int64_t{team.per_block()} * thread.block(); first < count;
       first += step) {
    const std::int64_t row = first + team.number();
    double sum = 0.0;
    for (std::int64_t j = team.lane(); j < launch.width && row < count; j += team.size()) {
      const std::int64_t i = row * launch.width + j;
      const T y_true = load_at<T>(launch.y_true, launch.axes, i);
      const T y_pred = load_at<T>(launch.y_pred, launch.axes, i);
      sum += with_definition(static_cast<ElementwiseId>(op.kernel), [&](auto definition) {
        return value_of<decltype(definition)>(y_true, y_pred, op.params);
      });
    }
    sum = team.sum(sum) * launch.scale;
    if (team.lane() == 0 && row < count) {
      store_one(launch.values.data, launch.values.dtype, row, sum);
    }
  }
}

}  // namespace kt::KT_LEVEL
