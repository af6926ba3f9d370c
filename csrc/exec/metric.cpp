#include "metric.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "../tensor/shapes.h"
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
#define KT_BINNED(name) \
  {#name, Executor::Binned, 0, Operands::Binary, Shapes::Same, Labels::Sparse},
#include "../kernels.def"
#undef KT_ELEMENTWISE
#undef KT_ROWWISE
#undef KT_BINNED
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

std::string both_shapes(const View& y_true, const View& y_pred) {
  return "y_true.shape=" + shape_text(y_true) + ", y_pred.shape=" + shape_text(y_pred);
}

bool same_shape(const View& a, const View& b, int axes) {
  return std::equal(a.shape, a.shape + axes, b.shape);
}

double read_scalar(const View& view) {
  double out;
  active_level().to_float64(view.data, view.dtype, 0, 1, &out);
  return out;
}

// [epsilon, 1 - epsilon] as the scores' dtype has it: in float32, 1 - 1e-7 is
// 1 - 1.19e-7, which decides the loss of a saturated score.
Params params_for(const Metric& metric, DType scores) {
  Params params = metric.params;
  params.lowest = metric.epsilon;
  params.highest = 1.0 - metric.epsilon;
  if (scores != DType::Float64) {
    params.lowest = static_cast<double>(static_cast<float>(params.lowest));
    params.highest = static_cast<double>(static_cast<float>(params.highest));
  }
  return params;
}

// Sums over a batch -> what Keras's Mean adds to `total` and `count`. Every
// sample counts once, however many values it has; a scalar weight, or values
// of rank 0, make the batch one sample.
void add_mean(const Metric& metric, const Sums& sums, const Weighting* weighting,
              const std::int64_t* shape, int values_rank, std::int64_t elements, double* few) {
  if (elements == 0) {
    few[0] = few[1] = 0.0;
    return;
  }
  const bool scalar = weighting != nullptr && weighting->scalar;
  const double scale = scalar ? read_scalar(weighting->view) : 1.0;
  if (metric.result == Result::Sum) {
    few[0] = sums.value * scale;
    return;
  }
  const double n = static_cast<double>(elements);
  const double samples = values_rank == 0 ? 1.0 : static_cast<double>(shape[0]);
  if (scalar) {
    few[0] = sums.value / n * scale;
    few[1] = scale;
  } else {
    const double per_sample = n / samples;
    few[0] = sums.value / per_sample;
    few[1] = weighting == nullptr ? samples : sums.weight / per_sample;
  }
}

void compute_elementwise(const Metric& metric, const Batch& batch, Addition* addition) {
  ElementwiseJob job;
  job.y_pred = batch.y_pred;
  job.y_true = metric.kernel.operands == Operands::Unary ? batch.y_pred : batch.y_true;
  if (metric.kernel.shapes == Shapes::Broadcast) {
    align_ranks(job.y_true, job.y_pred, true);
    broadcast_together(job.y_true, job.y_pred);
  } else if (job.y_true.rank != job.y_pred.rank ||
             !same_shape(job.y_true, job.y_pred, job.y_pred.rank)) {
    throw ValueMistake("`y_true` and `y_pred` must have the same shape. Received: " +
                       both_shapes(batch.y_true, batch.y_pred));
  }
  const int rank = job.y_pred.rank;
  const int values_rank = metric.mean_over_last_axis ? std::max(0, rank - 1) : rank;
  Weighting weighting;
  if (batch.has_weight) {
    weighting = spread_weight(batch.sample_weight, job.y_pred.shape, rank, values_rank);
    if (!weighting.scalar) job.weight = &weighting.view;
  }
  const DType scores = batch.y_pred.dtype;
  Op<ElementwiseId> op{static_cast<ElementwiseId>(metric.kernel.id), params_for(metric, scores)};
  if (metric.threshold_in_scores_dtype && item_size(scores) == 2 && !is_integer(scores)) {
    round_to(&op.params.threshold, 1, scores);
  }
  job.ops = &op;
  if (metric.labels_in_scores_dtype) job.round_true = &scores;
  if (metric.has_value_dtype) job.round_pred = &metric.value_dtype;
  Sums sums;
  addition->parallel = run_elementwise(job, &sums);
  add_mean(metric, sums, batch.has_weight ? &weighting : nullptr, job.y_pred.shape, values_rank,
           job.y_pred.size(), addition->few);
}

void compute_rowwise(const Metric& metric, const Batch& batch, Addition* addition) {
  RowwiseJob job;
  job.scores = batch.y_pred;
  job.truth = batch.y_true;
  job.dense = metric.kernel.labels == Labels::Dense;
  const int rank = job.scores.rank;
  const RowwiseId id = static_cast<RowwiseId>(metric.kernel.id);
  if (rank == 0) {
    throw ValueMistake("`y_pred` must have a class axis (rank 1 or more). Received: " +
                       both_shapes(batch.y_true, batch.y_pred));
  }
  const std::int64_t axis = metric.axis < 0 ? metric.axis + rank : metric.axis;
  if (axis < 0 || axis >= rank) {
    throw ValueMistake("`axis` must be in [-" + std::to_string(rank) + ", " + std::to_string(rank) +
                       ") for a `y_pred` of shape " + shape_text(batch.y_pred) +
                       ". Received: axis=" + std::to_string(metric.axis));
  }
  const int class_axis = static_cast<int>(axis);
  const int lead = rank - 1;
  const Shapes shapes = metric.kernel.shapes;
  move_axis_last(job.scores, class_axis);
  // The class axis of y_true, which has none of its own where labels are given.
  std::int64_t targets = 1;
  if (job.truth.rank == rank && (job.dense || job.truth.shape[class_axis] == 1)) {
    targets = job.truth.shape[class_axis];
    move_axis_last(job.truth, class_axis);
  } else if (!job.dense) {
    append_axis(job.truth);
  } else if (job.truth.rank > 0) {
    targets = job.truth.shape[job.truth.rank - 1];
  }
  bool fits = job.truth.rank <= rank && job.truth.rank > 0;
  if (fits && shapes != Shapes::Broadcast) {
    fits = job.truth.rank == rank && same_shape(job.truth, job.scores, lead) &&
           (shapes != Shapes::Same || !job.dense || targets == job.scores.shape[lead]) &&
           (shapes != Shapes::Rows || lead > 0);
  }
  if (fits) {
    std::int64_t shape[kMaxRank];
    std::copy(job.scores.shape, job.scores.shape + lead, shape);
    shape[lead] = targets;
    fits = broadcast_to(job.truth, shape, rank);
  }
  if (!fits) {
    throw ValueMistake(
        std::string(job.dense
                        ? "`y_true` must hold a row of class scores for each row of `y_pred`. "
                        : "`y_true` must hold one label for each row of `y_pred`: the same "
                          "shape without the class axis, or with size 1 there. ") +
        "Received: " + both_shapes(batch.y_true, batch.y_pred));
  }
  std::int64_t rows = 1;
  for (int d = 0; d < lead; ++d) rows *= job.scores.shape[d];
  const std::int64_t classes = job.scores.shape[lead];
  if (rows > 0 && (classes == 0 || targets == 0)) {
    throw ValueMistake("the class axis must not be empty. Received: " +
                       both_shapes(batch.y_true, batch.y_pred));
  }
  if (metric.k_within_classes && metric.params.k > classes) {
    throw ValueMistake("`k` must not exceed the number of classes. Received: k=" +
                       std::to_string(metric.params.k) +
                       ", y_pred.shape=" + shape_text(batch.y_pred));
  }
  Weighting weighting;
  if (batch.has_weight) {
    weighting = spread_weight(batch.sample_weight, job.scores.shape, lead, lead);
    if (weighting.scalar && metric.params.has_ignore_class) {
      // Ignored rows need a weight of their own.
      broadcast_to(weighting.view, job.scores.shape, lead);
      weighting.scalar = lead == 0;
    }
    if (!weighting.scalar) job.weight = &weighting.view;
  }
  const Op<RowwiseId> op{id, params_for(metric, batch.y_pred.dtype)};
  job.scores_are_ids = id == RowwiseId::sorted_ids_hit;
  job.ops = &op;
  Sums sums;
  BadLabel bad;
  addition->parallel = run_rowwise(job, &sums, &bad);
  if (bad.row >= 0) {
    std::string label = std::to_string(bad.label);
    if (bad.label == std::floor(bad.label)) label = label.substr(0, label.find('.'));
    throw ValueMistake("`y_true` must hold class labels in [0, " + std::to_string(classes) +
                       "), the size of the class axis of `y_pred`. Received: label " + label +
                       " in row " + std::to_string(bad.row) +
                       " (y_pred.shape=" + shape_text(batch.y_pred) + ")");
  }
  add_mean(metric, sums, batch.has_weight ? &weighting : nullptr, job.scores.shape, lead, rows,
           addition->few);
}

// y_true with the same sizes but other axes of size 1 than y_pred.
bool reshape_like(View& view, const View& wanted) {
  View out = wanted;
  int from = 0;
  for (int d = 0; d < wanted.rank; ++d) {
    out.strides[d] = 0;
    if (wanted.shape[d] == 1) continue;
    while (from < view.rank && view.shape[from] == 1) ++from;
    if (from == view.rank || view.shape[from] != wanted.shape[d]) return false;
    out.strides[d] = view.strides[from++];
  }
  while (from < view.rank) {
    if (view.shape[from++] != 1) return false;
  }
  out.data = view.data;
  out.dtype = view.dtype;
  view = out;
  return true;
}

void take_column(View& view, std::int64_t column) {
  const int last = view.rank - 1;
  view.data += column * view.strides[last] * item_size(view.dtype);
  view.shape[last] = 1;
  view.strides[last] = 0;
}

void compute_binned(const Metric& metric, const Batch& batch, Addition* addition) {
  BinnedJob job;
  job.thresholds = &metric.thresholds;
  job.y_true = batch.y_true;
  job.y_pred = batch.y_pred;
  job.from_logits = metric.params.from_logits;
  align_ranks(job.y_pred, job.y_true, true);
  if (!reshape_like(job.y_true, job.y_pred)) {
    throw ValueMistake("`y_true` and `y_pred` must have the same shape. Received: " +
                       both_shapes(batch.y_true, batch.y_pred));
  }
  const int rank = job.y_pred.rank;
  if (metric.multi_label && (rank != 2 || job.y_pred.shape[1] != metric.labels)) {
    throw ValueMistake("with `multi_label=True`, `y_pred` must have shape (batch, " +
                       std::to_string(metric.labels) +
                       "). Received: " + both_shapes(batch.y_true, batch.y_pred));
  }
  job.labels = metric.labels;
  if (metric.top_k > 0) {
    if (rank == 0) {
      throw ValueMistake("with `top_k`, `y_pred` must have a class axis. Received: " +
                         both_shapes(batch.y_true, batch.y_pred));
    }
    const std::int64_t classes = job.y_pred.shape[rank - 1];
    if (metric.k_within_classes && metric.top_k > classes) {
      throw ValueMistake("`top_k` must not exceed the number of classes. Received: top_k=" +
                         std::to_string(metric.top_k) +
                         ", y_pred.shape=" + shape_text(batch.y_pred));
    }
    job.top_k = metric.top_k;
    job.top_k_scores = job.y_pred;
  }
  if (metric.has_class_id) {
    if (rank < 2) {
      throw ValueMistake(
          "with `class_id`, `y_pred` must be an array of shape (num_samples, num_classes). "
          "Received: " +
          both_shapes(batch.y_true, batch.y_pred));
    }
    const std::int64_t classes = job.y_pred.shape[rank - 1];
    const std::int64_t column = metric.class_id < 0 ? metric.class_id + classes : metric.class_id;
    if (column < 0 || column >= classes) {
      throw ValueMistake("`class_id` must be a column of `y_pred`. Received: class_id=" +
                         std::to_string(metric.class_id) +
                         ", y_pred.shape=" + shape_text(batch.y_pred));
    }
    job.class_id = column;
    take_column(job.y_true, column);
    take_column(job.y_pred, column);
  }
  View weight, label_weight;
  if (batch.has_weight) {
    weight = batch.sample_weight;
    if (weight.rank != rank) append_axis(weight);
    if (!broadcast_to(weight, job.y_pred.shape, rank)) {
      throw ValueMistake(
          "`sample_weight` must be a scalar, hold one weight per sample, or have the rank of "
          "`y_pred` and broadcast to its shape " +
          shape_text(job.y_pred) +
          ". Received: sample_weight.shape=" + shape_text(batch.sample_weight));
    }
    job.weights[0] = &weight;
  }
  if (!metric.label_weights.empty() && !metric.multi_label) {
    label_weight.data = reinterpret_cast<const char*>(metric.label_weights.data());
    label_weight.dtype = DType::Float64;
    label_weight.rank = 1;
    label_weight.shape[0] = static_cast<std::int64_t>(metric.label_weights.size());
    label_weight.strides[0] = 1;
    if (rank < 2 || !broadcast_to(label_weight, job.y_pred.shape, rank)) {
      throw ValueMistake(
          "`label_weights` must hold one weight for each column of `y_pred`. "
          "Received: " +
          std::to_string(metric.label_weights.size()) +
          " weights, y_pred.shape=" + shape_text(batch.y_pred));
    }
    job.weights[1] = &label_weight;
  }
  bool nan_seen = false;
  addition->parallel = run_binned(job, &addition->values, &nan_seen);
  if (nan_seen && metric.poison_on_nan) {
    std::fill(addition->values.begin(), addition->values.end(),
              std::numeric_limits<double>::quiet_NaN());
  }
}

}  // namespace

void compute(const Metric& metric, const Batch& batch, Addition* addition) {
  switch (metric.kernel.executor) {
    case Executor::Elementwise:
      return compute_elementwise(metric, batch, addition);
    case Executor::Rowwise:
      return compute_rowwise(metric, batch, addition);
    case Executor::Binned:
      return compute_binned(metric, batch, addition);
  }
}

namespace {

const double* added_to(const Metric& metric, const Addition& addition, const State& state,
                       int variable) {
  if (metric.kernel.executor != Executor::Binned) return addition.few + variable;
  const Cell cell = metric.cells[static_cast<std::size_t>(variable)];
  return addition.values.data() + static_cast<int>(cell) * state.size;
}

}  // namespace

bool commit_high(const Metric& metric, const Addition& addition, const State& state) {
  const Level& level = active_level();
  for (int s = 0; s < state.count; ++s) {
    const double* from = added_to(metric, addition, state, s);
    if (!level.adds_exactly(state.high[s], from, state.size)) return false;
  }
  for (int s = 0; s < state.count; ++s) {
    level.add(state.high[s], added_to(metric, addition, state, s), state.size);
  }
  return true;
}

void commit(const Metric& metric, const Addition& addition, const State& state) {
  const Level& level = active_level();
  for (int s = 0; s < state.count; ++s) {
    level.accumulate(state.high[s], state.low + s * state.size,
                     added_to(metric, addition, state, s), state.size);
  }
}

namespace {

double at(const State& state, int variable, std::int64_t i) {
  return state.high[variable][i] + state.low[variable * state.size + i];
}

// State order: TP, FP, TN, FN, each (thresholds, labels).
double area_under_curve(const Metric& metric, const State& state) {
  const std::int64_t labels = metric.labels, count = state.size / labels;
  const bool interpolated_pr =
      metric.curve == Curve::Pr && metric.summation == Summation::Interpolation;
  double weighted = 0, weights = 0;
  for (std::int64_t column = 0; column < labels; ++column) {
    const auto point = [&](std::int64_t t) {
      const std::int64_t i = t * labels + column;
      return CurvePoint{at(state, 0, i), at(state, 1, i), at(state, 2, i), at(state, 3, i)};
    };
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

}  // namespace

bool scalar_result(const Metric& metric, const State& state) {
  return metric.result == Result::Auc || state.size == 1;
}

void finish(const Metric& metric, const State& state, double* results) {
  switch (metric.result) {
    case Result::Mean:
      results[0] = divide_no_nan(at(state, 0, 0), at(state, 1, 0));
      return;
    case Result::RootMean:
      results[0] = std::sqrt(divide_no_nan(at(state, 0, 0), at(state, 1, 0)));
      return;
    case Result::Sum:
    case Result::Counts:
      for (std::int64_t i = 0; i < state.size; ++i) results[i] = at(state, 0, i);
      return;
    case Result::Ratio:
      for (std::int64_t i = 0; i < state.size; ++i) {
        results[i] = divide_no_nan(at(state, 0, i), at(state, 0, i) + at(state, 1, i));
      }
      return;
    case Result::Auc:
      results[0] = area_under_curve(metric, state);
      return;
  }
}

}  // namespace kt
