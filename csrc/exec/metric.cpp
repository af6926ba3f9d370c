#include "metric.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "../defs/state.h"
#include "finish.h"
#include "level.h"

namespace kt {

const std::vector<KernelRow>& kernel_table() {
  static const std::vector<KernelRow> table = {
#define KT_ELEMENTWISE(name, definition, operands, shapes)                                  \
  {#name, Executor::Elementwise, static_cast<int>(ElementwiseId::name), Operands::operands, \
   Shapes::shapes},
#define KT_ROWWISE(name, definition, labels, shapes)                                       \
  {#name,          Executor::Rowwise, static_cast<int>(RowwiseId::name), Operands::Binary, \
   Shapes::shapes, Labels::labels},
#define KT_COLUMNWISE(name, definition) \
  {#name, Executor::Columnwise, static_cast<int>(ColumnwiseId::name)},
#define KT_BINNED(name) {#name, Executor::Binned, 0},
#define KT_TABULATED(name) {#name, Executor::Tabulated, 0},
#define KT_EXPRESSION(name) {#name, Executor::Expression, 0},
#include "../kernels.def"
  };
  return table;
}

const KernelRow& find_kernel(const std::string& name) {
  for (const KernelRow& row : kernel_table()) {
    if (name == row.name) return row;
  }
  throw std::logic_error("no kernel is named " + name);
}

namespace {

// Calls add(variable, entry, weight) for each cell that the table lists.
template <class Add>
void for_listed(const Table& table, const State& state, Add&& add) {
  const std::int64_t size = state.variables[0].size;
  const std::size_t samples = table.weights.size();
  for (std::size_t i = 0; i < table.indices.size(); ++i) {
    const std::int64_t at = table.indices[i];
    if (at == size * state.count) continue;
    add(at / size, at % size, samples == 0 ? 1.0 : table.weights[i % samples]);
  }
}

void commit_whole(const Addition& addition, const State& state) {
  if (addition.listed != nullptr) {
    for_listed(*addition.listed, state, [&](std::int64_t v, std::int64_t i, double weight) {
      shared::add_whole(state.variables[v].whole + i, weight);
    });
    return;
  }
  for (int v = 0; v < state.count; ++v) {
    for (std::int64_t i = 0; i < state.variables[v].size; ++i) {
      shared::add_whole(state.variables[v].whole + i, addition.parts[v][i]);
    }
  }
}

}  // namespace

void commit(const Addition& addition, const State& state) {
  if (state.whole()) return commit_whole(addition, state);
  const Level& level = active_level();
  const auto add = [&](const State::Variable& to, const double* x) {
    if (to.low == nullptr) {
      level.add(to.sum, x, to.size);
    } else {
      level.accumulate(to.sum, to.low, x, to.size);
    }
  };
  if (addition.listed != nullptr) {
    for_listed(*addition.listed, state, [&](std::int64_t v, std::int64_t i, double weight) {
      state.variables[v].sum[i] += weight;
    });
    return;
  }
  for (int v = 0; v < state.count; ++v) {
    const State::Variable& variable = state.variables[v];
    add(variable, addition.parts[v]);
    if (addition.low_parts[v] != nullptr) add(variable, addition.low_parts[v]);
  }
}

std::vector<int> find_low_of(const Metric& metric) {
  std::vector<int> found;
  if (metric.kernel.executor != Executor::Columnwise) return found;
  const ColumnsBlocks& kinds = active_level().columnwise[metric.kernel.id];
  const int first = metric.counts_samples ? 1 : 0;
  for (int l = 0; l < kinds.low; ++l) found.push_back(first + kinds.low_of[l]);
  return found;
}

const std::vector<ResultName>& result_table() {
  static const std::vector<ResultName> table = {
#define KT_RESULT(name, definition, shape) {#name, #shape},
#include "../results.def"
  };
  return table;
}

Result find_result(const std::string& name) {
  const std::vector<ResultName>& table = result_table();
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (name == table[i].name) return static_cast<Result>(i);
  }
  if (name == "expression") return Result::expression;
  throw std::logic_error("no result is named " + name);
}

bool scalar_result(const Metric& metric, const State& state) {
  static constexpr ResultShape shapes[] = {
#define KT_RESULT(name, definition, shape) ResultShape::shape,
#include "../results.def"
      ResultShape::Scalar,
  };
  switch (shapes[static_cast<int>(metric.result)]) {
    case ResultShape::PerEntry:
      return state.variables[0].size == 1;
    case ResultShape::ByColumn:
      return metric.average != Average::None;
    default:
      return true;
  }
}

ResultSpec result_spec(const Metric& metric) {
  ResultSpec spec;
  spec.curve = metric.curve;
  spec.summation = metric.summation;
  spec.constrained = metric.constrained;
  spec.dependent = metric.dependent;
  spec.average = metric.average;
  spec.by_class = metric.pairs.by_class;
  spec.required = metric.required;
  spec.beta = metric.beta;
  spec.regressors = metric.regressors;
  spec.epsilon = metric.epsilon;
  spec.labels = metric.labels;
  spec.classes = metric.pairs.classes;
  if (metric.multi_label && !metric.label_weights.empty()) {
    spec.label_weights = metric.label_weights.data();
  }
  spec.targets = metric.target_class_ids.data();
  spec.target_count = static_cast<std::int64_t>(metric.target_class_ids.size());
  return spec;
}

void finish(const Metric& metric, const State& state, double* results) {
  if (metric.result == Result::expression) {
    double inputs[kMaxState];
    for (int v = 0; v < state.count; ++v) inputs[v] = shared::sum_at(state, v, 0);
    return metric.finalize->evaluate(inputs, results);
  }
  shared::finish(metric.result, result_spec(metric), state,
                 [=](std::int64_t i, double x) { results[i] = x; });
}

}  // namespace kt
