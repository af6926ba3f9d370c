#include "metric.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "level.h"

namespace kt {

const std::vector<KernelRow>& kernel_table() {
  static const std::vector<KernelRow> table = {
#define KT_ELEMENTWISE(name, definition, operands, shapes) \
  {                                                        \
      #name,                                               \
      Executor::Elementwise,                               \
      static_cast<int>(ElementwiseId::name),               \
      Operands::operands,                                  \
      Shapes::shapes,                                      \
      Labels::Sparse},
#define KT_ROWWISE(name, definition, labels, shapes)                                       \
  {#name,          Executor::Rowwise, static_cast<int>(RowwiseId::name), Operands::Binary, \
   Shapes::shapes, Labels::labels},
#define KT_COLUMNWISE(name, definition) \
  {#name, Executor::Columnwise, static_cast<int>(ColumnwiseId::name)},
#define KT_BINNED(name) {#name, Executor::Binned, 0},
#define KT_TABULATED(name) {#name, Executor::Tabulated, 0},
#include "../kernels.def"
#undef KT_ELEMENTWISE
#undef KT_ROWWISE
#undef KT_COLUMNWISE
#undef KT_BINNED
#undef KT_TABULATED
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
      state.variables[v].whole[i] += static_cast<std::int64_t>(weight);
    });
    return;
  }
  for (int v = 0; v < state.count; ++v) {
    for (std::int64_t i = 0; i < state.variables[v].size; ++i) {
      state.variables[v].whole[i] += static_cast<std::int64_t>(addition.parts[v][i]);
    }
  }
}

}  // namespace

bool commit_high(const Addition& addition, const State& state) {
  if (state.whole()) {
    commit_whole(addition, state);
    return true;
  }
  if (addition.listed != nullptr) return false;
  const Level& level = active_level();
  for (int v = 0; v < state.count; ++v) {
    const State::Variable& variable = state.variables[v];
    const double* low = addition.low_parts[v];
    if (low != nullptr && !std::all_of(low, low + variable.size, [](double x) { return x == 0.0; }))
      return false;
    if (!level.adds_exactly(variable.high, addition.parts[v], variable.size)) return false;
  }
  for (int v = 0; v < state.count; ++v) {
    level.add(state.variables[v].high, addition.parts[v], state.variables[v].size);
  }
  return true;
}

void commit(const Addition& addition, const State& state) {
  const Level& level = active_level();
  if (addition.listed != nullptr) {
    for_listed(*addition.listed, state, [&](std::int64_t v, std::int64_t i, double weight) {
      const State::Variable& variable = state.variables[v];
      level.accumulate(variable.high + i, variable.low + i, &weight, 1);
    });
    return;
  }
  for (int v = 0; v < state.count; ++v) {
    const State::Variable& variable = state.variables[v];
    level.accumulate(variable.high, variable.low, addition.parts[v], variable.size);
    if (addition.low_parts[v] != nullptr) {
      level.accumulate(variable.high, variable.low, addition.low_parts[v], variable.size);
    }
  }
}

namespace {

double at(const State& state, int variable, std::int64_t i) {
  const State::Variable& v = state.variables[variable];
  if (v.whole != nullptr) return static_cast<double>(v.whole[i]);
  return v.high[i] + v.low[i];
}

CurvePoint point_at(const State& state, std::int64_t i) {
  return {at(state, 0, i), at(state, 1, i), at(state, 2, i), at(state, 3, i)};
}

// State order: TP, FP, TN, FN, each (thresholds, labels).
double area_under_curve(const Metric& metric, const State& state) {
  const std::int64_t labels = metric.labels, count = state.variables[0].size / labels;
  const bool interpolated_pr =
      metric.curve == Curve::Pr && metric.summation == Summation::Interpolation;
  double weighted = 0, weights = 0;
  for (std::int64_t column = 0; column < labels; ++column) {
    const auto point = [&](std::int64_t t) { return point_at(state, t * labels + column); };
    CurvePoint low = point(0);
    if (std::isnan(low.tp + low.fp + low.tn + low.fn)) return low.tp + low.fp + low.tn + low.fn;
    Coordinates low_at = curve_coordinates(metric.curve, low);
    double area = 0;
    for (std::int64_t t = 1; t < count; ++t) {
      const CurvePoint high = point(t);
      if (interpolated_pr) {
        area += interpolated_pr_slice(low, high);
      } else {
        const Coordinates high_at = curve_coordinates(metric.curve, high);
        area += summed_slice(metric.summation, low_at, high_at);
        low_at = high_at;
      }
      low = high;
    }
    const bool own_weight = metric.multi_label && !metric.label_weights.empty();
    const double weight = own_weight ? metric.label_weights[static_cast<std::size_t>(column)] : 1.0;
    weighted += area * weight;
    weights += weight;
  }
  return divide_no_nan(weighted, weights);
}

// The best of one rate where the other is at least `required`; 0 where it never is.
double best_under_constraint(const Metric& metric, const State& state) {
  double best = 0.0;
  for (std::int64_t t = 0; t < state.variables[0].size; ++t) {
    const CurvePoint point = point_at(state, t);
    const double sum = point.tp + point.fp + point.tn + point.fn;
    if (std::isnan(sum)) return sum;
    const double rate = rate_at(metric.dependent, point);
    if (rate_at(metric.constrained, point) >= metric.required && rate > best) best = rate;
  }
  return best;
}

// State: TP, FP, FN and the weight of each column.
void f_scores(const Metric& metric, const State& state, double* results) {
  const std::int64_t columns = state.variables[0].size;
  double sum = 0.0, weighted = 0.0, weights = 0.0;
  for (std::int64_t c = 0; c < columns; ++c) {
    const double score =
        f_score(at(state, 0, c), at(state, 1, c), at(state, 2, c), metric.beta, metric.epsilon);
    if (metric.average == Average::None) results[c] = score;
    sum += score;
    weights += at(state, 3, c);
    weighted += score * at(state, 3, c);
  }
  if (metric.average == Average::Weighted) {
    results[0] = weighted / (weights + metric.epsilon);
  } else if (metric.average != Average::None) {
    results[0] = sum / static_cast<double>(columns);
  }
}

DoublePair pair_at(const State& state, int variable, std::int64_t i) {
  return {state.variables[variable].high[i], state.variables[variable].low[i]};
}

// State: number of values, then sum(t^2), sum(t), sum((t - p)^2), weight by column.
void r2_scores(const Metric& metric, const State& state, double* results) {
  const std::int64_t columns = state.variables[1].size;
  const double n = at(state, 0, 0);
  double sum = 0.0, weighted = 0.0, weights = 0.0;
  for (std::int64_t c = 0; c < columns; ++c) {
    const double total =
        sum_of_squares(pair_at(state, 1, c), pair_at(state, 2, c), pair_at(state, 4, c));
    const double score = r2_score(at(state, 3, c), total);
    if (metric.average == Average::None) results[c] = adjusted_r2(score, n, metric.regressors);
    sum += score;
    weighted += score * total;
    weights += total;
  }
  if (metric.average == Average::None) return;
  const double mean =
      metric.average == Average::Weighted ? weighted / weights : sum / static_cast<double>(columns);
  results[0] = adjusted_r2(mean, n, metric.regressors);
}

// The mean over target classes that occur, of TP / (TP + FP + FN).
double mean_iou(const Metric& metric, const State& state) {
  const std::int64_t classes = metric.pairs.classes;
  double sum = 0.0, occurring = 0.0;
  for (const std::int64_t target : metric.target_class_ids) {
    const std::int64_t id = target < 0 ? target + classes : target;
    double hits = 0.0, all = 0.0;
    if (metric.pairs.by_class) {
      hits = at(state, 0, id);
      all = hits + at(state, 1, id) + at(state, 2, id);
    } else {
      hits = at(state, 0, id * classes + id);
      for (std::int64_t other = 0; other < classes; ++other) {
        all += at(state, 0, id * classes + other) + at(state, 0, other * classes + id);
      }
      all -= hits;
    }
    const bool occurs = all > 1e-9;
    occurring += occurs ? 1.0 : 0.0;
    sum += occurs ? hits / (all + metric.epsilon) : 0.0;
  }
  return sum / (occurring + metric.epsilon);
}

}  // namespace

bool scalar_result(const Metric& metric, const State& state) {
  switch (metric.result) {
    case Result::Counts:
    case Result::Ratio:
      return state.variables[0].size == 1;
    case Result::FScore:
    case Result::R2:
      return metric.average != Average::None;
    default:
      return true;
  }
}

void finish(const Metric& metric, const State& state, double* results) {
  const std::int64_t size = state.variables[0].size;
  switch (metric.result) {
    case Result::Mean:
      results[0] = divide_no_nan(at(state, 0, 0), at(state, 1, 0));
      return;
    case Result::RootMean:
      results[0] = std::sqrt(divide_no_nan(at(state, 0, 0), at(state, 1, 0)));
      return;
    case Result::Sum:
    case Result::Counts:
      for (std::int64_t i = 0; i < size; ++i) results[i] = at(state, 0, i);
      return;
    case Result::Ratio:
      for (std::int64_t i = 0; i < size; ++i) {
        results[i] = divide_no_nan(at(state, 0, i), at(state, 0, i) + at(state, 1, i));
      }
      return;
    case Result::Auc:
      results[0] = area_under_curve(metric, state);
      return;
    case Result::Constrained:
      results[0] = best_under_constraint(metric, state);
      return;
    case Result::FScore:
      return f_scores(metric, state, results);
    case Result::R2:
      return r2_scores(metric, state, results);
    case Result::Iou:
      results[0] = mean_iou(metric, state);
      return;
  }
}

}  // namespace kt
