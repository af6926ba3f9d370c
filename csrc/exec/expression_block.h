// The expression loop: each step over a tile that stays in the first cache, one after
// the other. The last steps write the outputs themselves.
#pragma once

#include "../defs/expression.h"
#include "expression.h"
#include "vec.h"

namespace kt::KT_LEVEL {

// Where an operand's numbers are, and how far its next vector is: constants stay.
struct Source {
  const void* data;
  std::int64_t stride;
};
using OperationBlock = void (*)(const Source* from, std::int64_t n, double* to);

template <class T, class Make>
KT_HOST_DEVICE void each_vector(std::int64_t n, double* to, Make&& make) {
  constexpr int kL = kLanes<double>;
  static_assert(kExpressionStep == 2 * kL);
  for (std::int64_t i = 0; i < n; i += kExpressionStep) {
    const F64 first = make(i), second = make(i + kL);
    store_double(to + i, first);
    store_double(to + i + kL, second);
  }
}

template <class Def, int kArity, class T>
void operation_block(const Source* from, std::int64_t n, double* to) {
  const T *a = static_cast<const T*>(from[0].data), *b = nullptr, *c = nullptr, *d = nullptr;
  const std::int64_t step_a = from[0].stride;
  std::int64_t step_b = 0, step_c = 0, step_d = 0;
  if constexpr (kArity > 1) b = static_cast<const T*>(from[1].data), step_b = from[1].stride;
  if constexpr (kArity > 2) c = static_cast<const T*>(from[2].data), step_c = from[2].stride;
  if constexpr (kArity > 3) d = static_cast<const T*>(from[3].data), step_d = from[3].stride;
  each_vector<T>(n, to, [&](std::int64_t i) {
    if constexpr (kArity == 1) return Def::template value<F64>(load_double(a + i * step_a));
    if constexpr (kArity == 2) {
      return Def::template value<F64>(load_double(a + i * step_a), load_double(b + i * step_b));
    }
    if constexpr (kArity == 3) {
      return Def::template value<F64>(load_double(a + i * step_a), load_double(b + i * step_b),
                                      load_double(c + i * step_c));
    }
    if constexpr (kArity == 4) {
      return Def::template value<F64>(load_double(a + i * step_a), load_double(b + i * step_b),
                                      load_double(c + i * step_c), load_double(d + i * step_d));
    }
  });
}

// Of numbers, and of inputs that are float: these are what a step reads first, in pairs
// or alone.
struct OperationBlocks {
  OperationBlock wide, narrow;
};
template <class Def, int kArity>
constexpr OperationBlocks blocks_of() {
  if constexpr (kArity <= 2) {
    return {operation_block<Def, kArity, double>, operation_block<Def, kArity, float>};
  } else {
    return {operation_block<Def, kArity, double>, nullptr};
  }
}

inline const OperationBlocks kOperations[] = {
#define KT_OPERATION(name, definition, arity) blocks_of<operation::definition, arity>(),
#define KT_FUSED(name, definition, arity) blocks_of<operation::definition, arity>(),
#include "../operations.def"
};

template <class T>
void evaluate_tile(const Expression& expression, const T* const* inputs, std::int64_t n,
                   double* outputs, std::int64_t stride) {
  const Code& code = expression.code();
  alignas(64) double slots[Code::kMaxSlots][kExpressionTile];
  alignas(64) double widened[std::is_same_v<T, float> ? 2 : 1][kExpressionTile];
  Source all[Code::kOperands];
  bool is_wide[Code::kMaxInputs];
  for (int i = 0; i < code.input_count; ++i) {
    all[i] = {inputs[i], 1};
    is_wide[i] = std::is_same_v<T, double>;
  }
  for (int i = 0; i < code.output_count; ++i) all[Code::kOutputs + i] = {outputs + i * stride, 1};
  for (int i = 0; i < code.slot_count; ++i) all[Code::kSlots + i] = {slots[i], 1};
  for (int i = 0; i < code.constant_count; ++i) {
    all[Code::kConstants + i] = {expression.constant(i), 0};
  }
  for (int s = 0; s < code.step_count; ++s) {
    const Code::Step& step = code.steps[s];
    const OperationBlocks& blocks = kOperations[static_cast<int>(step.operation)];
    double* to = static_cast<double*>(const_cast<void*>(all[step.to].data));
    Source from[Code::kMaxArity];
    int narrow = 0;
    for (int i = 0; i < step.arity; ++i) {
      from[i] = all[step.from[i]];
      narrow += step.from[i] < Code::kMaxInputs && !is_wide[step.from[i]] ? 1 : 0;
    }
    if constexpr (std::is_same_v<T, float>) {
      if (narrow > 0 && narrow == step.arity && blocks.narrow != nullptr) {
        blocks.narrow(from, n, to);
        continue;
      }
      for (int i = 0; i < step.arity && narrow > 0; ++i) {
        const int input = step.from[i];
        if (input >= Code::kMaxInputs) continue;
        if (!is_wide[input]) {
          const Source narrow_input = all[input];
          operation_block<operation::Copy, 1, float>(&narrow_input, n, widened[input]);
          all[input] = {widened[input], 1};
          is_wide[input] = true;
        }
        from[i] = all[input];
      }
    }
    blocks.wide(from, n, to);
  }
}

template <class T>
void expression_block(const Expression& expression, const T* const* inputs, std::int64_t n,
                      double* outputs, std::int64_t stride) {
  for (std::int64_t start = 0; start < n; start += kExpressionTile) {
    const T* at[Code::kMaxInputs];
    for (int i = 0; i < expression.inputs(); ++i) at[i] = inputs[i] + start;
    const std::int64_t count = n - start < kExpressionTile ? n - start : kExpressionTile;
    evaluate_tile(expression, at, count, outputs + start, stride);
  }
}

}  // namespace kt::KT_LEVEL
