// The expression loop: each step over a tile that stays in the first cache, one after
// the other; then the outputs are summed, in the lanes of all elementwise sums.
#pragma once

#include <algorithm>

#include "../defs/expression.h"
#include "elementwise_block.h"
#include "expression.h"

namespace kt::KT_LEVEL {

constexpr std::int64_t kExpressionTile = 256;
// Inputs are asked for this many elements before they are read: while the other steps
// compute, nobody else does.
constexpr std::int64_t kAhead = 1024;

// Where an operand's numbers are; a constant's is a vector of equal ones.
struct Source {
  const void* data = nullptr;
  bool constant = false;
};
using OperationBlock = void (*)(const Source* from, std::int64_t n, double* to);

// One operand in a loop: constants stay in a register.
template <class T, bool kConstant>
struct Stream {
  KT_HOST_DEVICE explicit Stream(const Source& source) : data(static_cast<const T*>(source.data)) {}
  KT_HOST_DEVICE F64 operator[](std::int64_t i) const {
    if constexpr (std::is_same_v<T, float>) __builtin_prefetch(data + i + kAhead);
    return load_double(data + i);
  }
  const T* data;
};
template <class T>
struct Stream<T, true> {
  KT_HOST_DEVICE explicit Stream(const Source& source)
      : x(load_double(static_cast<const double*>(source.data))) {}
  KT_HOST_DEVICE F64 operator[](std::int64_t) const { return x; }
  F64 x;
};

template <class Def, class... Streams>
KT_HOST_DEVICE void operation_loop(std::int64_t n, double* to, const Streams&... from) {
  constexpr int kL = kLanes<double>;
  static_assert(kExpressionStep % (2 * kL) == 0);
  for (std::int64_t i = 0; i < n; i += 2 * kL) {
    const F64 first = Def::template value<F64>(from[i]...);
    const F64 second = Def::template value<F64>(from[i + kL]...);
    store_double(to + i, first);
    store_double(to + i + kL, second);
  }
}

// Settles which operands are constants, one after the other.
template <class Def, int kArity, class T, class... Streams>
KT_HOST_DEVICE void settle_operands(const Source* from, std::int64_t n, double* to,
                                    const Streams&... streams) {
  constexpr int kSettled = static_cast<int>(sizeof...(Streams));
  if constexpr (kSettled == kArity) {
    operation_loop<Def>(n, to, streams...);
  } else if (from[kSettled].constant) {
    settle_operands<Def, kArity, T>(from, n, to, streams..., Stream<T, true>(from[kSettled]));
  } else {
    settle_operands<Def, kArity, T>(from, n, to, streams..., Stream<T, false>(from[kSettled]));
  }
}

template <class Def, int kArity, class T>
void operation_block(const Source* from, std::int64_t n, double* to) {
  settle_operands<Def, kArity, T>(from, n, to);
}

// Of float64, and of inputs that are float32, which up to two operands may be.
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

// An expression over one tile after the other, its operands where they are read.
template <class T>
class Steps {
 public:
  Steps(const Expression& expression, const T* const* inputs)
      : expression_(expression), inputs_(inputs) {
    const Code& code = expression.code();
    for (int s = 0; s < code.step_count; ++s) add(code.steps[s]);
  }
  Steps(const Steps&) = delete;
  Steps& operator=(const Steps&) = delete;

  // n is a multiple of kExpressionStep, and at most a tile.
  void run(std::int64_t n) {
    for (int s = 0; s < count_; ++s) steps_[s].block(steps_[s].from, n, steps_[s].to);
  }
  void advance() {
    for (int m = 0; m < moving_count_; ++m) {
      moving_[m]->data = static_cast<const T*>(moving_[m]->data) + kExpressionTile;
    }
  }
  double* output(int k) { return places_[k]; }

 private:
  struct Step {
    OperationBlock block;
    Source from[Code::kMaxArity];
    double* to;
  };
  static constexpr int kPlaces = Code::kConstants - Code::kOutputs;
  static constexpr int kWidened = std::is_same_v<T, float> ? 2 : 0;

  static bool is_input(int operand) { return operand < Code::kMaxInputs; }
  static bool is_constant(int operand) { return operand >= Code::kConstants; }

  void add(const Code::Step& step) {
    const OperationBlocks& blocks = kOperations[static_cast<int>(step.operation)];
    bool narrow = kWidened > 0 && blocks.narrow != nullptr, inputs = false;
    for (int i = 0; i < step.arity; ++i) {
      inputs |= is_input(step.from[i]);
      narrow &= is_input(step.from[i]) || is_constant(step.from[i]);
    }
    narrow &= inputs;
    for (int i = 0; i < step.arity && !narrow; ++i) {
      if (kWidened > 0 && is_input(step.from[i])) widen(step.from[i]);
    }
    Step& own = steps_[count_++];
    own.block = narrow ? blocks.narrow : blocks.wide;
    own.to = places_[step.to - Code::kOutputs];
    for (int i = 0; i < step.arity; ++i) {
      const int operand = step.from[i];
      if (is_constant(operand)) {
        own.from[i] = {expression_.constant(operand - Code::kConstants), true};
      } else if (!is_input(operand)) {
        own.from[i] = {places_[operand - Code::kOutputs], false};
      } else if (kWidened > 0 && !narrow) {
        own.from[i] = {widened_[operand], false};
      } else {
        read(operand, &own.from[i]);
      }
    }
  }

  void read(int input, Source* from) {
    *from = {inputs_[input], false};
    moving_[moving_count_++] = from;
  }

  void widen(int input) {
    if (is_widened_[input]) return;
    is_widened_[input] = true;
    Step& own = steps_[count_++];
    own.block = operation_block<operation::Copy, 1, T>;
    own.to = widened_[input];
    read(input, &own.from[0]);
  }

  const Expression& expression_;
  const T* const* inputs_;
  int count_ = 0, moving_count_ = 0;
  bool is_widened_[kWidened + 1] = {};
  Step steps_[Code::kMaxSteps + kWidened];
  Source* moving_[Code::kMaxArity * Code::kMaxSteps + kWidened];
  alignas(64) double places_[kPlaces][kExpressionTile];
  alignas(64) double widened_[kWidened + 1][kExpressionTile];
};

// Goes on with the sums of w v (and of w) that are in `lanes`. What is behind the n
// values is 0, up to the next full step.
KT_HOST_DEVICE void go_on_summing(const double* values, const double* weight, std::int64_t n,
                                  double* lanes) {
  constexpr int kL = kLanes<double>, kStep = kL * kAccumulators;
  F64 acc[kAccumulators], total[kAccumulators];
  std::memcpy(acc, lanes, sizeof(acc));
  std::memcpy(total, lanes + kBlockLanes, sizeof(total));
  for (std::int64_t i = 0; i < n; i += kStep) {
    double rest[kStep];
    const double* w = nullptr;
    if (weight != nullptr) w = weight + i;
    if (weight != nullptr && i + kStep > n) {
      std::fill_n(rest, kStep, 0.0);
      std::copy_n(w, n - i, rest);
      w = rest;
    }
    for (int a = 0; a < kAccumulators; ++a) {
      const F64 v = load_double(values + i + a * kL);
      if (weight == nullptr) {
        acc[a] += v;
      } else {
        const F64 wa = load_double(w + a * kL);
        acc[a] += wa * v;
        total[a] += wa;
      }
    }
  }
  std::memcpy(lanes, acc, sizeof(acc));
  std::memcpy(lanes + kBlockLanes, total, sizeof(total));
}

// Goes on with the sums of each output that are in its lanes.
template <class T>
void interpret_sums(const Expression& expression, const T* const* inputs, std::int64_t n,
                    const double* weight, double* lanes) {
  constexpr int kOfOutput = 2 * kBlockLanes;
  const int outputs = expression.outputs();
  Steps<T> steps(expression, inputs);
  for (std::int64_t start = 0; start < n; start += kExpressionTile) {
    const std::int64_t count = std::min(kExpressionTile, n - start);
    steps.run((count + kExpressionStep - 1) / kExpressionStep * kExpressionStep);
    steps.advance();
    for (int k = 0; k < outputs; ++k) {
      double* values = steps.output(k);
      const std::int64_t padded = (count + kBlockLanes - 1) / kBlockLanes * kBlockLanes;
      std::fill_n(values + count, padded - count, 0.0);
      go_on_summing(values, weight == nullptr ? nullptr : weight + start, count,
                    lanes + k * kOfOutput);
    }
  }
}

// Adds the sums of each output over a block to its lanes: the same additions as those of
// other elementwise kernels.
template <class T>
void expression_sums(const Expression& expression, const T* const* inputs, std::int64_t n,
                     const double* weight, double* lanes) {
  constexpr int kOfOutput = 2 * kBlockLanes;
  const int outputs = expression.outputs();
  alignas(64) double own[Code::kMaxOutputs * kOfOutput];
  std::fill_n(own, outputs * kOfOutput, 0.0);
  std::int64_t done = 0;
  if (const auto compiled = expression.compiled(sizeof(T) == 8, weight != nullptr)) {
    done = n / kBlockLanes * kBlockLanes;
    compiled(inputs[0], inputs[1], weight, done, own);
  }
  if (done < n) {
    const T* const rest[2] = {inputs[0] + done, inputs[1] + done};
    interpret_sums(expression, rest, n - done, weight == nullptr ? nullptr : weight + done, own);
  }
  for (int i = 0; i < outputs * kOfOutput; ++i) lanes[i] += own[i];
}
// Of one element.
inline void expression_values(const Expression& expression, const double* inputs, double* outputs) {
  double spread[Code::kMaxInputs][kExpressionStep];
  const double* at[Code::kMaxInputs];
  for (int i = 0; i < expression.inputs(); ++i) {
    std::fill_n(spread[i], kExpressionStep, inputs[i]);
    at[i] = spread[i];
  }
  Steps<double> steps(expression, at);
  steps.run(kExpressionStep);
  for (int k = 0; k < expression.outputs(); ++k) outputs[k] = steps.output(k)[0];
}

}  // namespace kt::KT_LEVEL
