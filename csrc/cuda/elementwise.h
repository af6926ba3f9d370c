// The elementwise loop: each thread takes four neighbouring elements of each operand at
// a time and gives them to every definition of the list. Its sums are in shared memory,
// since the list's length is known only at run time.
#pragma once

#include "../defs/accuracy.h"
#include "../defs/crossentropy.h"
#include "../defs/hinge.h"
#include "../defs/regression.h"
#include "../exec/kernel_ids.h"
#include "commit.h"

namespace kt::KT_LEVEL {

constexpr int kQuads = 2;  // of each operand in flight

template <class T>
struct Elements {
  T y_true[kQuads][4], y_pred[kQuads][4];
  double weight[kQuads][4];
  int count[kQuads];
};

template <class T>
KT_HOST_DEVICE void read_elements(const ElementwiseLaunch& launch, std::int64_t start,
                                  std::int64_t step, Elements<T>* out) {
  for (int q = 0; q < kQuads; ++q) {
    const std::int64_t i = start + q * step, left = launch.n - i;
    const int n = out->count[q] = left >= 4 ? 4 : left > 0 ? static_cast<int>(left) : 0;
    load_four(launch.y_true, launch.axes, i, n, out->y_true[q]);
    load_four(launch.y_pred, launch.axes, i, n, out->y_pred[q]);
    if (launch.weighted) load_four(launch.weight, launch.axes, i, n, out->weight[q]);
  }
  if constexpr (sizeof(T) == sizeof(double)) {
    for (int q = 0; q < kQuads; ++q) {
      for (int j = 0; j < out->count[q]; ++j) {
        T& t = out->y_true[q][j];
        T& p = out->y_pred[q][j];
        if (launch.integers) {
          const std::int64_t i = start + q * step + j;
          const bool equal =
              load_int64(launch.y_true.data, offset_of(launch.axes, launch.y_true.strides, i)) ==
              load_int64(launch.y_pred.data, offset_of(launch.axes, launch.y_pred.strides, i));
          t = equal ? 0.0 : 1.0;
          p = 0.0;
          continue;
        }
        if (launch.rounds_true) t = round_one(t, launch.round_true);
        if (launch.rounds_pred) p = round_one(p, launch.round_pred);
      }
    }
  }
}

// The definition's values, summed.
template <class Def, class T>
KT_HOST_DEVICE double sum_of_values(const Elements<T>& x, bool weighted, const Params& params) {
  double sum = 0.0;
  for (int q = 0; q < kQuads; ++q) {
    for (int j = 0; j < 4; ++j) {
      double v;
      if constexpr (Def::kCounts) {
        v = static_cast<double>(Def::template value<T>(x.y_true[q][j], x.y_pred[q][j], params));
      } else {
        v = Def::template value<double>(static_cast<double>(x.y_true[q][j]),
                                        static_cast<double>(x.y_pred[q][j]), params);
      }
      if (weighted) v *= x.weight[q][j];
      sum += j < x.count[q] ? v : 0.0;
    }
  }
  return sum;
}

template <class T>
KT_HOST_DEVICE double sum_of_op(const ElementwiseOp& op, const Elements<T>& x, bool weighted) {
  switch (static_cast<ElementwiseId>(op.kernel)) {
#define KT_ELEMENTWISE(name, definition, operands, shapes) \
  case ElementwiseId::name:                                \
    return sum_of_values<definition>(x, weighted, op.params);
#define KT_ROWWISE(name, definition, labels, shapes)
#define KT_COLUMNWISE(name, definition)
#define KT_BINNED(name)
#define KT_TABULATED(name)
#include "../kernels.def"
#undef KT_ELEMENTWISE
#undef KT_ROWWISE
#undef KT_COLUMNWISE
#undef KT_BINNED
#undef KT_TABULATED
  }
  return 0.0;
}

template <class T>
KT_HOST_DEVICE bool other_than_zero_one(const Elements<T>& x) {
  bool other = false;
  for (int q = 0; q < kQuads; ++q) {
    for (int j = 0; j < 4; ++j) {
      const T t = x.y_true[q][j];
      other |= (j < x.count[q]) & (t != T{0}) & (t != T{1});
    }
  }
  return other;
}

// Sums of ops, of weights and of flags are in shared memory: op_count + 2 columns.
template <class T, class Thread>
KT_HOST_DEVICE void elementwise(const Thread& thread, const ElementwiseLaunch& launch) {
  double* columns = reinterpret_cast<double*>(thread.shared());
  const int count = launch.op_count + 2, own = thread.index();
  for (int i = 0; i < count; ++i) columns[i * kThreads + own] = 0.0;
  const std::int64_t step = std::int64_t{4} * kThreads * thread.blocks();
  bool other = false;
  double weights = 0.0;
  for (std::int64_t start = 4 * (std::int64_t{kThreads} * thread.block() + own); start < launch.n;
       start += kQuads * step) {
    Elements<T> x;
    read_elements(launch, start, step, &x);
    for (int op = 0; op < launch.op_count; ++op) {
      columns[op * kThreads + own] += sum_of_op(launch.ops[op], x, launch.weighted);
    }
    if (launch.weighted) {
      for (int q = 0; q < kQuads; ++q) {
        for (int j = 0; j < 4; ++j) weights += j < x.count[q] ? x.weight[q][j] : 0.0;
      }
    }
    if (launch.finds_zero_one) other |= other_than_zero_one(x);
  }
  columns[launch.op_count * kThreads + own] = weights;
  columns[(launch.op_count + 1) * kThreads + own] = other ? 1.0 : 0.0;
  double* partials = launch.workspace.partials;
  block_sums(thread, columns, count,
             [&](int i, double x) { partials[thread.block() * count + i] = x; });
  if (!is_last_block(thread, launch.workspace.ticket, columns)) return;
  grid_sums(thread, partials, count, columns);
  for (int i = own; i < launch.targets.count; i += kThreads) {
    const Target& target = launch.targets.all[i];
    const bool zero_one = launch.finds_zero_one && columns[launch.op_count + 1] == 0.0;
    add_to_target(target, columns[target.op + (zero_one ? 1 : 0)], columns[launch.op_count]);
  }
}

}  // namespace kt::KT_LEVEL
