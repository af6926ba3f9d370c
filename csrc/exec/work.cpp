#include "work.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <type_traits>

#include "../defs/mean.h"
#include "../tensor/shapes.h"
#include "level.h"

namespace kt {

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

MeanShape mean_shape_of(const Metric& metric, const Weighting* weighting, const std::int64_t* shape,
                        int values_rank, std::int64_t elements, double summed) {
  MeanShape out;
  out.elements = static_cast<double>(elements);
  out.samples = values_rank == 0 ? 1.0 : static_cast<double>(shape[0]);
  out.summed = summed;
  out.weighted = weighting != nullptr;
  out.scalar = weighting != nullptr && weighting->scalar;
  out.sum = metric.result == Result::sum || metric.result == Result::expression;
  return out;
}

void add_mean(const MeanShape& shape, const Sums& sums, const Weighting& weighting, double* few) {
  const double scale = shape.scalar ? read_scalar(weighting.view) : 1.0;
  shared::mean_parts(shape, sums.value, sums.weight, scale, few, few + 1);
}

bool keeps_last_axis(const Metric& metric, const ElementwiseJob& job) {
  return metric.last_axis == LastAxis::Kept ||
         (metric.vectors_are_samples && metric.last_axis == LastAxis::Mean && job.y_pred.rank == 1);
}

int values_rank_of(const Metric& metric, const ElementwiseJob& job) {
  const int rank = job.y_pred.rank;
  return keeps_last_axis(metric, job) ? rank : std::max(0, rank - 1);
}

// How many elements make one value.
std::int64_t last_axis_of(const Metric& metric, const ElementwiseJob& job) {
  const int rank = job.y_pred.rank;
  return keeps_last_axis(metric, job) || rank == 0 ? 1 : job.y_pred.shape[rank - 1];
}

void settle_elementwise(const Metric& metric, const Batch& batch, Op<ElementwiseId>* op,
                        ElementwiseJob* job) {
  job->y_pred = batch.y_pred;
  job->y_true = metric.kernel.operands == Operands::Unary ? batch.y_pred : batch.y_true;
  if (metric.kernel.shapes == Shapes::Same) {
    if (job->y_true.rank != job->y_pred.rank ||
        !same_shape(job->y_true, job->y_pred, job->y_pred.rank)) {
      throw ValueMistake("`y_true` and `y_pred` must have the same shape. Received: " +
                         both_shapes(batch.y_true, batch.y_pred));
    }
  } else {
    if (metric.kernel.shapes == Shapes::Broadcast) align_ranks(job->y_true, job->y_pred, true);
    broadcast_together(job->y_true, job->y_pred);
  }
  const DType scores = batch.y_pred.dtype;
  *op = {static_cast<ElementwiseId>(metric.kernel.id), params_for(metric, scores)};
  if (metric.threshold_in_scores_dtype && item_size(scores) == 2 && !is_integer(scores)) {
    round_to(&op->params.threshold, 1, scores);
  }
  job->ops = op;
  if (metric.labels_in_scores_dtype) job->round_true = &batch.y_pred.dtype;
  if (metric.has_value_dtype) job->round_pred = &metric.value_dtype;
}

void find_zero_one_labels(const Metric& metric, const Batch& batch, Params* params) {
  // On a device, the kernel finds out.
  if (!metric.find_zero_one_labels || batch.y_true.device != kHost) return;
  params->zero_one_labels = all_zero_or_one(batch.y_true);
}

int axis_of(std::int64_t axis, int rank, const View& scores) {
  const std::int64_t settled = axis < 0 ? axis + rank : axis;
  if (settled < 0 || settled >= rank) {
    throw ValueMistake("`axis` must be in [-" + std::to_string(rank) + ", " + std::to_string(rank) +
                       ") for `y_true` and `y_pred` of shape " + shape_text(scores) +
                       ". Received: axis=" + std::to_string(axis));
  }
  return static_cast<int>(settled);
}

// Axes that mean the same in both operands, counted from the end; rows along them
// must not be of different lengths: spreading a shorter one would invent data.
std::vector<int> paired_axes(const Metric& metric, const View& y_true, const View& y_pred,
                             const Batch& batch) {
  std::vector<int> from_end;
  for (const std::int64_t axis : metric.axes) {
    const int t = axis_of(axis, y_true.rank, batch.y_true) - y_true.rank;
    const int p = axis_of(axis, y_pred.rank, batch.y_pred) - y_pred.rank;
    if (t != p || y_true.shape[t + y_true.rank] != y_pred.shape[p + y_pred.rank]) {
      throw ValueMistake("`y_true` and `y_pred` must have the same size along axis " +
                         std::to_string(axis) +
                         ". Received: " + both_shapes(batch.y_true, batch.y_pred));
    }
    if (std::count(from_end.begin(), from_end.end(), p) > 0) {
      throw ValueMistake("`axis` names an axis of `y_pred` twice. Received: y_pred.shape=" +
                         shape_text(batch.y_pred));
    }
    from_end.push_back(p);
  }
  std::sort(from_end.begin(), from_end.end());
  return from_end;
}

// Rows of one axis or of several.
void settle_pairs(const Metric& metric, const Batch& batch, RowwiseJob* job) {
  const bool compared = metric.kernel.shapes == Shapes::Broadcast;
  if (compared) align_ranks(job->truth, job->scores, true);
  for (View* view : {&job->truth, &job->scores}) {
    if (view->rank == 0) append_axis(*view);
  }
  const std::vector<int> axes =
      compared ? paired_axes(metric, job->truth, job->scores, batch) : std::vector<int>{-1};
  broadcast_together(job->truth, job->scores);
  const int rank = job->scores.rank;
  for (std::size_t moved = 0; moved < axes.size(); ++moved) {
    const int axis = rank + axes[moved] - static_cast<int>(moved);
    move_axis_last(job->truth, axis);
    move_axis_last(job->scores, axis);
  }
  job->row_axes = static_cast<int>(axes.size());
}

// Brings the class axis of the scores, whose place is returned, to the end.
int settle_scores(const Metric& metric, const Batch& batch, RowwiseJob* job) {
  const int rank = job->scores.rank;
  if (rank == 0) {
    throw ValueMistake("`y_pred` must have a class axis (rank 1 or more). Received: " +
                       both_shapes(batch.y_true, batch.y_pred));
  }
  const int class_axis = axis_of(metric.axis, rank, batch.y_pred);
  move_axis_last(job->scores, class_axis);
  return class_axis;
}

// Labels, or rows of targets of their own length.
void settle_labels(const Metric& metric, const Batch& batch, RowwiseJob* job) {
  const int class_axis = settle_scores(metric, batch, job);
  const int rank = job->scores.rank, lead = rank - 1;
  const Shapes shapes = metric.kernel.shapes;
  // The class axis of y_true, which has none of its own where labels are given.
  std::int64_t targets = 1;
  if (job->truth.rank == rank && (job->dense || job->truth.shape[class_axis] == 1)) {
    targets = job->truth.shape[class_axis];
    move_axis_last(job->truth, class_axis);
  } else if (!job->dense) {
    append_axis(job->truth);
  } else if (job->truth.rank > 0) {
    targets = job->truth.shape[job->truth.rank - 1];
  }
  bool fits = job->truth.rank <= rank && job->truth.rank > 0;
  if (fits && shapes != Shapes::Broadcast) {
    fits = job->truth.rank == rank && same_shape(job->truth, job->scores, lead) &&
           (!job->dense || targets == job->scores.shape[lead]) &&
           (shapes != Shapes::Rows || lead > 0);
  }
  if (fits) {
    std::int64_t shape[kMaxRank];
    std::copy(job->scores.shape, job->scores.shape + lead, shape);
    shape[lead] = targets;
    fits = broadcast_to(job->truth, shape, rank);
  }
  if (!fits) {
    throw ValueMistake(
        std::string(job->dense
                        ? "`y_true` must hold a row of as many class scores for each row of "
                          "`y_pred`, such as one-hot labels; for class ids there is the metric "
                          "named `Sparse...`. "
                        : "`y_true` must hold one label for each row of `y_pred`: the same "
                          "shape without the class axis, or with size 1 there. ") +
        "Received: " + both_shapes(batch.y_true, batch.y_pred));
  }
}

std::int64_t rows_of(const RowwiseJob& job) {
  std::int64_t rows = 1;
  for (int d = 0; d < job.scores.rank - job.row_axes; ++d) rows *= job.scores.shape[d];
  return rows;
}

void settle_rowwise(const Metric& metric, const Batch& batch, Op<RowwiseId>* op, RowwiseJob* job) {
  job->scores = batch.y_pred;
  job->truth = batch.y_true;
  job->dense = metric.kernel.labels == Labels::Dense || metric.kernel.labels == Labels::Pair;
  job->has_truth = metric.kernel.labels != Labels::None;
  if (metric.kernel.labels == Labels::Pair) {
    settle_pairs(metric, batch, job);
  } else if (!job->has_truth) {
    settle_scores(metric, batch, job);
  } else {
    settle_labels(metric, batch, job);
  }
  if (rows_of(*job) > 0) {
    for (const View* view : {&job->scores, &job->truth}) {
      if (view == &job->truth && !job->has_truth) continue;
      for (int d = view->rank - job->row_axes; d < view->rank; ++d) {
        if (view->shape[d] > 0) continue;
        throw ValueMistake("the class axis must not be empty. Received: " +
                           both_shapes(batch.y_true, batch.y_pred));
      }
    }
  }
  *op = {static_cast<RowwiseId>(metric.kernel.id), params_for(metric, batch.y_pred.dtype)};
  job->scores_are_ids = op->kernel == RowwiseId::sorted_ids_hit;
  job->ops = op;
}

void refuse_label(const BadLabel& bad, const RowwiseJob& job, const View& y_pred) {
  if (bad.row < 0) return;
  std::string label = std::to_string(bad.label);
  if (bad.label == std::floor(bad.label)) label = label.substr(0, label.find('.'));
  throw ValueMistake("`y_true` must hold class labels in [0, " +
                     std::to_string(job.scores.shape[job.scores.rank - 1]) +
                     "), the size of the class axis of `y_pred`. Received: label " + label +
                     " in row " + std::to_string(bad.row) + " (y_pred.shape=" + shape_text(y_pred) +
                     ")");
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

// A view of `count` numbers, which one may stand for; false where it has another
// number of them.
bool spread_one(View& view, std::int64_t count) {
  if (view.size() == count) return true;
  if (view.size() != 1) return false;
  view.rank = 1;
  view.shape[0] = count;
  view.strides[0] = 0;
  return true;
}

// Weights one by one, or of the leading axes.
bool spread_weights(View& weight, const ClassIds& ids) {
  const int rank = ids.view.rank - (ids.dense ? 1 : 0);
  std::int64_t count = 1;
  for (int d = 0; d < rank; ++d) count *= ids.view.shape[d];
  if (weight.size() == count || weight.size() == 1) return spread_one(weight, count);
  return spread_over(weight, ids.view.shape, rank);
}

std::int64_t id_count(const ClassIds& ids) {
  if (!ids.dense) return ids.view.size();
  std::int64_t rows = 1;
  for (int d = 0; d + 1 < ids.view.rank; ++d) rows *= ids.view.shape[d];
  return rows;
}

}  // namespace

ElementwiseWork::ElementwiseWork(const Metric& metric, const Batch& batch) : batch_(batch) {
  settle_elementwise(metric, batch, &op, &job);
  values_rank_ = values_rank_of(metric, job);
  if (batch.has_weight) {
    weighting_ =
        spread_weight(batch.sample_weight, job.y_pred.shape, job.y_pred.rank, values_rank_);
    if (!weighting_.scalar) job.weight = &weighting_.view;
  }
  find_zero_one_labels(metric, batch, &op.params);
}

bool ElementwiseWork::run() { return run_elementwise(job, &sums); }

InArena<Pass> ElementwiseWork::pass(Arena& arena) { return make_pass(job, &sums, arena); }

void ElementwiseWork::collect(const Metric& metric, Addition* addition) {
  add_mean(mean_shape(metric), sums, weighting_, addition->few);
}

MeanShape ElementwiseWork::mean_shape(const Metric& metric) const {
  const bool summed = metric.last_axis == LastAxis::Sum;
  return mean_shape_of(metric, batch_.has_weight ? &weighting_ : nullptr, job.y_pred.shape,
                       values_rank_, job.y_pred.size(),
                       summed ? static_cast<double>(last_axis_of(metric, job)) : 1.0);
}

RowwiseWork::RowwiseWork(const Metric& metric, const Batch& batch) : batch_(batch) {
  settle_rowwise(metric, batch, &op, &job);
  const int lead = job.scores.rank - job.row_axes;
  if (!batch.has_weight) return;
  weighting_ = spread_weight(batch.sample_weight, job.scores.shape, lead, lead);
  if (metric.params.ignored.count > 0) {
    // Ignored rows need a weight of their own.
    broadcast_to(weighting_.view, job.scores.shape, lead);
    weighting_.scalar = false;
  }
  if (!weighting_.scalar) job.weight = &weighting_.view;
}

bool RowwiseWork::run() { return run_rowwise(job, &sums, &bad); }

InArena<Pass> RowwiseWork::pass(Arena& arena) { return make_pass(job, &sums, &bad, arena); }

void RowwiseWork::collect(const Metric& metric, Addition* addition) {
  refuse_label(bad, job, batch_.y_pred);
  add_mean(mean_shape(metric), sums, weighting_, addition->few);
}

MeanShape RowwiseWork::mean_shape(const Metric& metric) const {
  MeanShape shape =
      mean_shape_of(metric, batch_.has_weight ? &weighting_ : nullptr, job.scores.shape,
                    job.scores.rank - job.row_axes, rows_of(job), 1.0);
  shape.weighted |= metric.params.ignored.count > 0;
  return shape;
}

ColumnwiseWork::ColumnwiseWork(const Metric& metric, const Batch& batch) {
  job.y_true = batch.y_true;
  job.y_pred = batch.y_pred;
  if (metric.aligns_ranks) align_ranks(job.y_true, job.y_pred, true);
  if (job.y_true.rank != 2 || job.y_pred.rank != 2 || !same_shape(job.y_true, job.y_pred, 2) ||
      (!metric.folded && job.y_pred.shape[1] != metric.columns)) {
    throw ValueMistake("`y_true` and `y_pred` must both have shape (batch_size, " +
                       std::to_string(metric.columns) + "), as in the first batch. Received: " +
                       both_shapes(batch.y_true, batch.y_pred));
  }
  if (batch.has_weight) {
    View& weight = weight_ = batch.sample_weight;
    if (!spread_over(weight, job.y_pred.shape, 2)) {
      throw ValueMistake(
          "`sample_weight` must be a scalar, hold one weight per sample, or broadcast to the "
          "shape of `y_pred`. Received: sample_weight.shape=" +
          shape_text(batch.sample_weight) + ", y_pred.shape=" + shape_text(batch.y_pred));
    }
    job.weight = &weight;
  }
  job.op = {static_cast<ColumnwiseId>(metric.kernel.id), params_for(metric, batch.y_pred.dtype)};
  if (metric.has_precision) job.precision = &metric.precision;
}

bool ColumnwiseWork::run() { return run_columnwise(job, &sums); }

InArena<Pass> ColumnwiseWork::pass(Arena& arena) { return make_pass(job, &sums, arena); }

void ColumnwiseWork::collect(const Metric& metric, Addition* addition) {
  const std::int64_t columns = job.y_pred.shape[1];
  const int first = metric.counts_samples ? 1 : 0;
  const ColumnsBlocks& kinds = active_level().columnwise[metric.kernel.id];
  if (metric.counts_samples) {
    addition->few[0] = sums[(kinds.sums + kinds.low) * columns];
    addition->parts[0] = addition->few;
  }
  for (int k = 0; k < kinds.sums; ++k) {
    const double* part = sums.data() + k * columns;
    addition->parts[first + k] = metric.folded ? addition->few + k : part;
    if (metric.folded) addition->few[k] = std::accumulate(part, part + columns, 0.0);
  }
  for (int l = 0; l < kinds.low; ++l) {
    addition->low_parts[first + kinds.low_of[l]] = sums.data() + (kinds.sums + l) * columns;
  }
}

BinnedWork::BinnedWork(const Metric& metric, const Batch& batch) {
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
  const std::int64_t classes = rank > 0 ? job.y_pred.shape[rank - 1] : 1;
  // On a device nobody may wait for the data.
  if (metric.binary_labels && (rank < 2 || classes == 1) && batch.y_true.device == kHost &&
      !all_zero_or_one(batch.y_true)) {
    throw ValueMistake(
        "`y_true` must hold the labels 0 and 1 where `y_pred` has no axis of classes. For class "
        "ids, give one-hot labels and a score for each class, of shape (n, num_classes), or "
        "compare with one class: y_true == class_id. Received: " +
        both_shapes(batch.y_true, batch.y_pred));
  }
  if (metric.multi_label && (rank != 2 || job.y_pred.shape[1] != metric.labels)) {
    throw ValueMistake("with `multi_label=True`, `y_pred` must have shape (batch, " +
                       std::to_string(metric.labels) +
                       "). Received: " + both_shapes(batch.y_true, batch.y_pred));
  }
  job.labels = metric.labels;
  job.one_threshold = metric.one_threshold;
  if (metric.top_k > 0) {
    if (rank == 0) {
      throw ValueMistake("with `top_k`, `y_pred` must have a class axis. Received: " +
                         both_shapes(batch.y_true, batch.y_pred));
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
  if (batch.has_weight) {
    View& weight = weight_ = batch.sample_weight;
    if (metric.has_class_id && weight.rank == rank && weight.shape[rank - 1] == classes) {
      take_column(weight, job.class_id);
    }
    if (!spread_over(weight, job.y_pred.shape, rank)) {
      throw ValueMistake(
          "`sample_weight` must be a scalar, or match the leading axes of the scores that count, "
          "whose shape is " +
          shape_text(job.y_pred) + " (each axis equal or 1)" +
          ". Received: sample_weight.shape=" + shape_text(batch.sample_weight));
    }
    job.weights[0] = &weight;
  }
  if (!metric.label_weights.empty() && !metric.multi_label) {
    View& label_weight = label_weight_;
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
}

bool BinnedWork::run() { return run_binned(job, &cells, &nan_seen); }

InArena<Pass> BinnedWork::pass(Arena& arena) { return make_pass(job, &cells, &nan_seen, arena); }

void BinnedWork::collect(const Metric& metric, Addition* addition) {
  const std::int64_t size = static_cast<std::int64_t>(metric.thresholds.sorted.size()) * job.labels;
  for (std::size_t variable = 0; variable < metric.cells.size(); ++variable) {
    addition->parts[variable] = cells.data() + static_cast<int>(metric.cells[variable]) * size;
  }
  if (!nan_seen || !metric.poison_on_nan) return;
  addition->poison.assign(static_cast<std::size_t>(size), std::numeric_limits<double>::quiet_NaN());
  for (std::size_t variable = 0; variable < metric.cells.size(); ++variable) {
    addition->parts[variable] = addition->poison.data();
  }
}

TabulatedWork::TabulatedWork(const Metric& metric, const Batch& batch) {
  job.pairs = metric.pairs;
  job.labels = {batch.y_true, metric.dense_labels};
  job.predicted = {batch.y_pred, metric.dense_predicted};
  for (ClassIds* ids : {&job.labels, &job.predicted}) {
    View& view = ids->view;
    if (view.rank < (ids->dense ? 2 : 1)) {
      throw ValueMistake(
          "`y_true` and `y_pred` must have an axis of samples, and one more where they hold "
          "scores. Received: " +
          both_shapes(batch.y_true, batch.y_pred));
    }
    if (!ids->dense) continue;
    move_axis_last(view, axis_of(metric.axis, view.rank, view));
    if (view.shape[view.rank - 1] == 0 && id_count(*ids) > 0) {
      throw ValueMistake("the class axis must not be empty. Received: " +
                         both_shapes(batch.y_true, batch.y_pred));
    }
  }
  const std::int64_t labels = id_count(job.labels), predicted = id_count(job.predicted);
  const ClassIds given = job.labels;  // before one label is spread over several predictions
  job.count = labels == 1 ? predicted : labels;
  if ((labels != predicted && labels != 1 && predicted != 1) ||
      (labels != predicted && (job.labels.dense || job.predicted.dense)) ||
      (!job.labels.dense && !spread_one(job.labels.view, job.count)) ||
      (!job.predicted.dense && !spread_one(job.predicted.view, job.count))) {
    throw ValueMistake(
        "`y_true` and `y_pred` must hold the same number of classes or rows of scores. "
        "Received: " +
        both_shapes(batch.y_true, batch.y_pred));
  }
  if (batch.has_weight) {
    View& weight = weight_ = batch.sample_weight;
    if (!spread_weights(weight, given) || !spread_one(weight, job.count)) {
      throw ValueMistake(
          "`sample_weight` must hold one weight, one for each of the " + std::to_string(labels) +
          " samples, or match the leading axes of the class ids. Received: "
          "sample_weight.shape=" +
          shape_text(batch.sample_weight) + ", " + both_shapes(batch.y_true, batch.y_pred));
    }
    job.weight = &weight;
    job.whole_weights = metric.pairs.whole;
  }
  job.has_threshold = metric.params.has_threshold;
  job.threshold = static_cast<float>(metric.params.threshold);
}

bool TabulatedWork::run() { return run_tabulated(job, &table); }

InArena<Pass> TabulatedWork::pass(Arena& arena) { return make_pass(job, &table, arena); }

void TabulatedWork::collect(const Metric& metric, Addition* addition) {
  if (!table.dense) {
    addition->listed = &table;
    return;
  }
  const int variables = metric.pairs.by_class ? 3 : 1;
  for (int v = 0; v < variables; ++v) {
    addition->parts[v] = table.cells.data() + v * metric.pairs.classes;
  }
}

ExpressionWork::ExpressionWork(const Metric& metric, const Batch& batch) : batch_(batch) {
  job.y_true = batch.y_true;
  job.y_pred = batch.y_pred;
  job.expression = metric.expression.get();
  align_ranks(job.y_true, job.y_pred, true);
  broadcast_together(job.y_true, job.y_pred);
  if (!batch.has_weight) return;
  const int rank = job.y_pred.rank;
  weighting_ = spread_weight(batch.sample_weight, job.y_pred.shape, rank, rank);
  if (!weighting_.scalar) job.weight = &weighting_.view;
}

bool ExpressionWork::run() { return run_expression(job, sums); }

InArena<Pass> ExpressionWork::pass(Arena& arena) { return make_pass(job, sums, arena); }

void ExpressionWork::collect(const Metric& metric, Addition* addition) {
  // The count, behind the terms, is the same for all of them.
  for (int k = 0; k < job.expression->outputs(); ++k) {
    add_mean(mean_shape(metric), sums[k], weighting_, addition->few + k);
  }
}

MeanShape ExpressionWork::mean_shape(const Metric& metric) const {
  return mean_shape_of(metric, batch_.has_weight ? &weighting_ : nullptr, job.y_pred.shape,
                       job.y_pred.rank, job.y_pred.size(), 1.0);
}

namespace {

// Calls make(type tag) with the kind of work that the metric's kernel asks for.
template <class Make>
decltype(auto) with_kind(const Metric& metric, Make&& make) {
  switch (metric.kernel.executor) {
    case Executor::Elementwise:
      return make(std::type_identity<ElementwiseWork>());
    case Executor::Rowwise:
      return make(std::type_identity<RowwiseWork>());
    case Executor::Columnwise:
      return make(std::type_identity<ColumnwiseWork>());
    case Executor::Binned:
      return make(std::type_identity<BinnedWork>());
    case Executor::Tabulated:
      return make(std::type_identity<TabulatedWork>());
    case Executor::Expression:
      return make(std::type_identity<ExpressionWork>());
  }
  throw std::logic_error("unknown executor");
}

}  // namespace

Work& make_work(const Metric& metric, const Batch& batch, AnyWork* place) {
  return with_kind(metric, [&](auto kind) -> Work& {
    return place->emplace<typename decltype(kind)::type>(metric, batch);
  });
}

InArena<Work> make_work(const Metric& metric, const Batch& batch, Arena& arena) {
  return with_kind(metric, [&](auto kind) -> InArena<Work> {
    return make_in<typename decltype(kind)::type>(arena, metric, batch);
  });
}

namespace {

View shape_of(const std::int64_t* shape, int rank) {
  View out;
  out.rank = rank;
  std::copy(shape, shape + rank, out.shape);
  return out;
}

}  // namespace

ValuesJob::ValuesJob(const Metric& metric, const Batch& batch) : metric_(metric), batch_(batch) {
  switch (metric.kernel.executor) {
    case Executor::Elementwise:
      settle_elementwise(metric, batch, &elementwise_op_, &elementwise_);
      shape_ = shape_of(elementwise_.y_pred.shape, values_rank_of(metric, elementwise_));
      return;
    case Executor::Rowwise:
      settle_rowwise(metric, batch, &rowwise_op_, &rowwise_);
      shape_ = shape_of(rowwise_.scores.shape, rowwise_.scores.rank - rowwise_.row_axes);
      return;
    default:
      throw std::logic_error("a kernel without values of its own");
  }
}

std::int64_t ValuesJob::width() const { return last_axis_of(metric_, elementwise_); }

double ValuesJob::scale() const {
  return metric_.last_axis == LastAxis::Mean ? 1.0 / static_cast<double>(width()) : 1.0;
}

void ValuesJob::run(const Output& output) const {
  if (metric_.kernel.executor == Executor::Rowwise) {
    BadLabel bad;
    run_rowwise_values(rowwise_, output, &bad);
    refuse_label(bad, rowwise_, batch_.y_pred);
    return;
  }
  if (width() == 0) {
    const bool mean = metric_.last_axis == LastAxis::Mean;
    const double none = mean ? std::numeric_limits<double>::quiet_NaN() : 0.0;
    for (std::int64_t i = 0; i < shape_.size(); ++i) output.write(i, &none, 1);
    return;
  }
  ElementwiseJob job = elementwise_;
  Op<ElementwiseId> op = elementwise_op_;
  find_zero_one_labels(metric_, batch_, &op.params);
  job.ops = &op;
  run_elementwise_values(job, width(), scale(), output);
}

}  // namespace kt
