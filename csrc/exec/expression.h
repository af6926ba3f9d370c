// Expressions: what a user's elementwise function computes, as a list of steps over
// numbers. They come from outside (a traced function, a saved model), so everything
// about them is checked before they become code; there are no jumps, so code always
// ends, and no addresses, so it reads nothing but its operands.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace kt {

#define KT_OPERATION(name, definition, arity) name,
#define KT_FUSED(name, definition, arity) name,
enum class Operation : std::uint8_t {
#include "../operations.def"
};
#undef KT_OPERATION
#undef KT_FUSED

struct OperationRow {
  const char* name;
  int arity;
  bool fused;  // not for users
};
const std::vector<OperationRow>& operation_table();

// Code as an interpreter takes it: plain data, for the CPU and for a GPU.
struct Code {
  static constexpr int kMaxSteps = 160;
  static constexpr int kMaxConstants = 64;
  static constexpr int kMaxSlots = 15;  // numbers alive at once
  static constexpr int kMaxInputs = 16;
  static constexpr int kMaxOutputs = 8;
  static constexpr int kMaxArity = 4;
  // What a GPU has room for, in columns of a number for each thread: sums, weights, outputs
  // and slots.
  static constexpr int kMaxColumns = 24;

  // Operands are numbered through: inputs, outputs, slots, constants.
  static constexpr int kOutputs = kMaxInputs;
  static constexpr int kSlots = kOutputs + kMaxOutputs;
  static constexpr int kConstants = kSlots + kMaxSlots;
  static constexpr int kOperands = kConstants + kMaxConstants;

  struct Step {
    Operation operation = Operation::copy;
    std::uint8_t arity = 1;
    std::uint8_t to = 0;
    std::uint8_t from[kMaxArity] = {};
  };
  Step steps[kMaxSteps];
  double constants[kMaxConstants];
  std::uint8_t step_count = 0, constant_count = 0, slot_count = 0;
  std::uint8_t input_count = 0, output_count = 0;
};

class Expression {
 public:
  // What is given: values are numbered through, inputs first, then constants, then the
  // result of each step.
  struct Step {
    std::string operation;
    std::vector<std::int64_t> from;
  };
  struct Source {
    std::int64_t inputs = 0;
    std::vector<double> constants;
    std::vector<Step> steps;
    std::vector<std::int64_t> outputs;
  };

  // Equal sources share an expression, so that equal metrics share their statistics.
  // Throws ValueMistake where the source is none.
  static std::shared_ptr<const Expression> make(const Source& source);

  explicit Expression(const Source& source);
  Expression(const Expression&) = delete;
  Expression& operator=(const Expression&) = delete;

  const Code& code() const { return code_; }
  int inputs() const { return code_.input_count; }
  int outputs() const { return code_.output_count; }
  // A vector of equal numbers for each constant, as blocks of elements are read.
  const double* constant(int i) const { return spread_[static_cast<std::size_t>(i)].lanes; }

  // The same steps as machine code, where somebody has compiled them: with inputs of
  // float or double, with weights or without. It takes `step` elements at a time, whose
  // sums it adds to the lanes in the interpreter's order. The code must stay.
  using Compiled = void (*)(const void* y_true, const void* y_pred, const double* weight,
                            std::int64_t n, double* lanes);
  static constexpr int kCompiled = 4;
  void set_compiled(const std::array<Compiled, kCompiled>& all) const {
    for (int i = 0; i < kCompiled; ++i) compiled_[i].store(all[static_cast<std::size_t>(i)]);
  }
  Compiled compiled(bool wide, bool weighted) const {
    return compiled_[(wide ? 2 : 0) + (weighted ? 1 : 0)].load(std::memory_order_relaxed);
  }

  // One element.
  void evaluate(const double* inputs, double* outputs) const;

 private:
  struct alignas(64) Spread {
    double lanes[8];
  };
  Code code_;
  std::vector<Spread> spread_;
  mutable std::atomic<Compiled> compiled_[kCompiled] = {};
};

// Adds, for each output, the sums of its values over a block (times the weights, if there
// are any) and of the weights to its lanes, 2 kBlockLanes of them. The inputs, of float or
// double, are readable up to the next multiple of kExpressionStep.
constexpr std::int64_t kExpressionStep = 16;
template <class T>
using ExpressionSums = void (*)(const Expression& expression, const T* const* inputs,
                                std::int64_t n, const double* weight, double* lanes);

}  // namespace kt
