// The expression loop: an interpreter. All threads take the same step at the same time,
// each for an element of its own, whose intermediate values are in shared memory.
#pragma once

#include "../defs/expression.h"
#include "commit.h"

namespace kt::KT_LEVEL {

template <class Def, int kArity>
KT_HOST_DEVICE double apply(const double* x) {
  if constexpr (kArity == 1) return Def::template value<double>(x[0]);
  if constexpr (kArity == 2) return Def::template value<double>(x[0], x[1]);
  if constexpr (kArity == 3) return Def::template value<double>(x[0], x[1], x[2]);
  if constexpr (kArity == 4) return Def::template value<double>(x[0], x[1], x[2], x[3]);
}

// `input(i)` is an input; places, `stride` numbers apart, are for outputs, then slots.
template <class Input>
KT_HOST_DEVICE void interpret(const Code& code, Input&& input, double* places, int stride) {
  const auto value = [&](int operand) {
    if (operand < Code::kOutputs) return input(operand);
    if (operand >= Code::kConstants) return code.constants[operand - Code::kConstants];
    const int place = operand < Code::kSlots ? operand - Code::kOutputs
                                             : operand - Code::kSlots + code.output_count;
    return places[place * stride];
  };
  KT_NO_UNROLL
  for (int s = 0; s < code.step_count; ++s) {
    const Code::Step& step = code.steps[s];
    double x[Code::kMaxArity];
    KT_UNROLL
    for (int i = 0; i < Code::kMaxArity; ++i) x[i] = i < step.arity ? value(step.from[i]) : 0.0;
    double out = 0.0;
    switch (step.operation) {
#define KT_OPERATION(name, definition, arity)     \
  case Operation::name:                           \
    out = apply<operation::definition, arity>(x); \
    break;
#define KT_FUSED KT_OPERATION
#include "../operations.def"
    }
    const int to = step.to < Code::kSlots ? step.to - Code::kOutputs
                                          : step.to - Code::kSlots + code.output_count;
    places[to * stride] = out;
  }
}

// In shared memory: the sums of outputs and of weights, then the places.
template <class Thread>
KT_HOST_DEVICE void expression_sums(const Thread& thread, const ExpressionLaunch& launch) {
  double* columns = reinterpret_cast<double*>(thread.shared());
  const int outputs = launch.code.output_count, count = outputs + 1, own = thread.index();
  double* places = columns + count * kThreads + own;
  for (int i = 0; i < count; ++i) columns[i * kThreads + own] = 0.0;
  const std::int64_t step = std::int64_t{4} * kThreads * thread.blocks();
  for (std::int64_t start = 4 * (std::int64_t{kThreads} * thread.block() + own); start < launch.n;
       start += step) {
    const std::int64_t left = launch.n - start;
    const int n = left >= 4 ? 4 : static_cast<int>(left);
    double t[4], p[4], w[4];
    load_four(launch.y_true, launch.axes, start, n, t);
    load_four(launch.y_pred, launch.axes, start, n, p);
    if (launch.weighted) load_four(launch.weight, launch.axes, start, n, w);
    KT_NO_UNROLL
    for (int j = 0; j < n; ++j) {
      double y_true = t[0], y_pred = p[0], weight = launch.weighted ? w[0] : 1.0;
      KT_UNROLL
      for (int k = 1; k < 4; ++k) {
        y_true = k == j ? t[k] : y_true;
        y_pred = k == j ? p[k] : y_pred;
        if (launch.weighted) weight = k == j ? w[k] : weight;
      }
      interpret(launch.code, [&](int i) { return i == 0 ? y_true : y_pred; }, places, kThreads);
      KT_NO_UNROLL
      for (int k = 0; k < outputs; ++k) {
        columns[k * kThreads + own] += places[k * kThreads] * weight;
      }
      columns[outputs * kThreads + own] += weight;
    }
  }
  double* partials = launch.workspace.partials;
  block_sums(thread, columns, count,
             [&](int i, double x) { partials[thread.block() * count + i] = x; });
  if (!is_last_block(thread, launch.workspace.ticket, columns)) return;
  grid_sums(thread, partials, count, columns);
  // The count is behind the terms.
  for (int i = own; i < outputs; i += kThreads) {
    double total, weights;
    const double scale =
        launch.shape.scalar ? load_one<double>(launch.scale, launch.scale_dtype, 0) : 1.0;
    mean_parts(launch.shape, columns[i], columns[outputs], scale, &total, &weights);
    add_to(launch.state, i, 0, total);
    if (i + 1 == outputs && launch.state.count > outputs) {
      add_to(launch.state, outputs, 0, weights);
    }
  }
}

// The result, by one thread. In shared memory: the places.
template <class Thread>
KT_HOST_DEVICE void finalize_result(const Thread& thread, const FinalizeLaunch& launch) {
  if (thread.index() != 0) return;
  double* places = reinterpret_cast<double*>(thread.shared());
  interpret(launch.code, [&](int i) { return state_at(launch.state, i, 0); }, places, 1);
  store_one(launch.out, launch.dtype, 0, places[0]);
}

}  // namespace kt::KT_LEVEL
