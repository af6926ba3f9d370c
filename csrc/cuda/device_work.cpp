#include "device_work.h"

#include <algorithm>
#include <string>

#include "../defs/columns.h"
#include "../defs/elementwise.h"
#include "../defs/rows.h"
#include "../exec/group.h"
#include "../exec/walk.h"
#include "../tensor/error.h"

namespace kt {
namespace {

template <int kCount>
Axes axes_of(const Walk<kCount>& walk) {
  Axes axes;
  axes.rank = walk.rank;
  std::copy(walk.shape, walk.shape + walk.rank, axes.sizes);
  return axes;
}

// Whether four elements at a multiple of four can be read at once.
bool aligned_for_quads(const View& view) {
  const auto bytes =
      static_cast<std::uintptr_t>(std::min<std::int64_t>(16, 4 * item_size(view.dtype)));
  return reinterpret_cast<std::uintptr_t>(view.data) % bytes == 0;
}

// What makes an operand plain: the usual dtypes of up to 32 bits, in one piece.
int plain_bytes_of(const View& view, bool quads) {
  switch (view.dtype) {
    case DType::Bool:
    case DType::UInt8:
    case DType::Int32:
    case DType::Float16:
    case DType::BFloat16:
    case DType::Float32:
      return quads ? static_cast<int>(item_size(view.dtype)) : 0;
    default:
      return 0;
  }
}

template <int kCount>
Operand operand_of(const Walk<kCount>& walk, int v, const View& view) {
  Operand out;
  out.data = view.data;
  out.dtype = view.dtype;
  out.quads = walk.direct(v) && aligned_for_quads(view);
  out.plain_bytes = plain_bytes_of(view, out.quads);
  std::copy(walk.strides[v], walk.strides[v] + walk.rank, out.strides);
  return out;
}

// The last `axes` axes of a view.
View inner_of(const View& view, int axes) {
  View out = view;
  out.rank = axes;
  std::copy(view.shape + view.rank - axes, view.shape + view.rank, out.shape);
  std::copy(view.strides + view.rank - axes, view.strides + view.rank, out.strides);
  return out;
}

// Rows of a view, `v` in the walk along what is not part of a row.
template <int kCount>
RowOperand rows_of(const Walk<kCount>& lead, int v, const View& view, int row_axes, Axes* inner) {
  const View row = inner_of(view, row_axes);
  const Walk<1> walk({&row}, row.shape, row.rank);
  *inner = axes_of(walk);
  RowOperand out;
  out.data = view.data;
  out.dtype = view.dtype;
  out.direct = walk.direct(0);
  out.quads = out.direct && aligned_for_quads(view);
  for (int d = 0; d < lead.rank; ++d) {
    out.lead[d] = lead.strides[v][d];
    out.quads &= out.lead[d] % 4 == 0;
  }
  std::copy(walk.strides[0], walk.strides[0] + walk.rank, out.inner);
  return out;
}

// Whether the labels and scores of a batch are what plain.h takes.
template <class Launch>
bool is_plain(const Launch& launch) {
  return launch.n % 4 == 0 && launch.y_true.plain_bytes > 0 && launch.y_pred.plain_bytes > 0;
}

Target target_of(const MeanShape& shape, const View& scale, int op, const State& state) {
  Target target;
  target.op = op;
  target.shape = shape;
  target.scale = scale.data;
  target.scale_dtype = scale.dtype;
  target.total = state.variables[0];
  target.has_count = state.count > 1;
  if (target.has_count) target.count = state.variables[1];
  return target;
}

constexpr unsigned kRowNeeds[] = {
#define KT_ROWWISE(name, definition, labels, shapes) shared::definition::kNeeds,
#include "../kernels.def"
};

struct PlainOp {
  bool plain, counts;
};
constexpr PlainOp kPlainOps[] = {
#define KT_ELEMENTWISE(name, definition, operands, shapes) \
  {shared::has_plain_loop<shared::definition>(), shared::definition::kCounts},
#include "../kernels.def"
};

struct ColumnSums {
  int sums, low;
};
constexpr ColumnSums kColumnSums[] = {
#define KT_COLUMNWISE(name, definition) {shared::definition::kSums, shared::definition::kLow},
#include "../kernels.def"
};

bool same_op(const Definition& a, int kernel, const Params& params) {
  return a.kernel == kernel && a.params == params;
}

// A histogram of n samples. float32 and what it can hold fit the narrow sums; see
// exact_sum.h.
Bins make_bins(std::int64_t count, bool weighted, bool wide, std::int64_t n) {
  Bins bins;
  bins.count = count;
  bins.wide = wide;
  bins.words = !weighted ? 1 : wide ? kWideWords : kNarrowWords;
  if (weighted && n >= std::int64_t{1} << 31) {
    throw ValueMistake(
        "on a GPU, a batch with `sample_weight` must have less than 2^31 samples. Received: " +
        std::to_string(n) + ". Split the batch.");
  }
  constexpr std::int64_t kMostBytes = std::int64_t{1} << 30;
  if (8 * bins.count * bins.words > kMostBytes) {
    throw ValueMistake("on a GPU, the exact sums of a table must fit into 1 GiB. Received: " +
                       std::to_string(count) + " cells" +
                       (!weighted ? "."
                        : wide    ? " with float64 weights. Use float32 weights."
                                  : " with weights."));
  }
  return bins;
}

bool has_wide_weights(const BinnedJob& job) {
  // A product of two has more digits than float32.
  if (job.weights[0] != nullptr && job.weights[1] != nullptr) return true;
  const View* weight = job.weights[0] != nullptr ? job.weights[0] : job.weights[1];
  return weight != nullptr && weight->dtype == DType::Float64;
}

Bins bins_of(const BinnedJob& job) {
  if (job.one_threshold) return {};
  const auto thresholds = static_cast<std::int64_t>(job.thresholds->sorted.size());
  const bool weighted = job.weights[0] != nullptr || job.weights[1] != nullptr;
  return make_bins(2 * (thresholds + 1) * job.labels, weighted, has_wide_weights(job),
                   job.y_pred.size());
}

Bins bins_of(const TabulatedJob& job) {
  const bool weighted = job.weight != nullptr;
  return make_bins(job.pairs.size(), weighted, weighted && job.weight->dtype == DType::Float64,
                   job.count);
}

void settle(const ElementwiseJob& job, ElementwiseLaunch* launch) {
  const View* const views[3] = {&job.y_true, &job.y_pred, job.weight};
  const Walk<3> walk(views, job.y_pred.shape, job.y_pred.rank);
  launch->n = job.y_pred.size();
  launch->axes = axes_of(walk);
  launch->y_true = operand_of(walk, 0, job.y_true);
  launch->y_pred = operand_of(walk, 1, job.y_pred);
  launch->weighted = job.weight != nullptr;
  if (launch->weighted) launch->weight = operand_of(walk, 2, *job.weight);
  launch->integers = compares_integers(job);
  launch->rounds_true = job.round_true != nullptr && *job.round_true != job.y_true.dtype;
  launch->rounds_pred = job.round_pred != nullptr && *job.round_pred != job.y_pred.dtype;
  if (launch->rounds_true) launch->round_true = *job.round_true;
  if (launch->rounds_pred) launch->round_pred = *job.round_pred;
}

void add_op(int kernel, const Params& params, ElementwiseLaunch* launch) {
  Definition& op = launch->ops[launch->op_count++] = {kernel, params};
  if (!launch->finds_zero_one) return;
  Definition& other = launch->ops[launch->op_count++] = op;
  other.params.zero_one_labels = true;
}

Definition row_definition(int kernel, const Params& params) {
  return {kernel, params, (kRowNeeds[kernel] & shared::kUsableLabel) != 0};
}

std::int64_t count_rows(const RowwiseJob& job) {
  std::int64_t rows = 1;
  for (int d = 0; d < job.scores.rank - job.row_axes; ++d) rows *= job.scores.shape[d];
  return rows;
}

// Whether rows are neighbouring float32.
bool has_plain_rows(const View& view, const RowwiseJob& job) {
  return job.row_axes == 1 && view.dtype == DType::Float32 && view.strides[view.rank - 1] == 1 &&
         view.shape[view.rank - 1] < (std::int64_t{1} << 30);
}

CudaKernel kernel_for(const RowwiseJob& job, unsigned needs, const Params& params) {
  const bool single = single_precision(job);
  if (single && has_plain_rows(job.scores, job) && (!job.dense || has_plain_rows(job.truth, job))) {
    const bool logits = params.from_logits;
    const auto only = [&](unsigned family) { return (needs & ~family) == 0; };
    if (logits && only(shared::kLogitScores)) return CudaKernel::logit_scores;
    if (logits && only(shared::kLogitPairs)) return CudaKernel::logit_pairs;
    if (!logits && only(shared::kPlainScores)) return CudaKernel::plain_scores;
    if (!logits && only(shared::kPlainPairs)) return CudaKernel::plain_pairs;
  }
  if ((needs & shared::kOfPairs) != 0) {
    return single ? CudaKernel::pairs_float32 : CudaKernel::pairs_float64;
  }
  return single ? CudaKernel::scores_float32 : CudaKernel::scores_float64;
}

void settle(const RowwiseJob& job, RowwiseLaunch* launch) {
  const View* const views[3] = {&job.scores, job.has_truth ? &job.truth : nullptr, job.weight};
  const Walk<3> walk(views, job.scores.shape, job.scores.rank - job.row_axes);
  launch->rows = count_rows(job);
  launch->lead = axes_of(walk);
  launch->scores = rows_of(walk, 0, job.scores, job.row_axes, &launch->scores_axes);
  launch->classes = inner_of(job.scores, job.row_axes).size();
  launch->has_truth = job.has_truth;
  launch->dense = job.dense;
  if (job.has_truth) {
    launch->truth = rows_of(walk, 1, job.truth, job.row_axes, &launch->truth_axes);
    launch->targets_size = inner_of(job.truth, job.row_axes).size();
  }
  launch->weighted = job.weight != nullptr;
  if (launch->weighted) launch->weight = operand_of(walk, 2, *job.weight);
  launch->integers = compares_integers(job);
}

}  // namespace

const DeviceConstants& ConstantsOnDevices::on(int device, const Metric& metric) {
  for (const DeviceConstants& constants : all_) {
    if (constants.device == device) return constants;
  }
  std::string host;
  const auto put = [&](const void* data, std::size_t bytes) {
    const std::size_t at = host.size();
    if (bytes > 0) host.append(static_cast<const char*>(data), bytes);
    host.resize((host.size() + 15) / 16 * 16);
    return at;
  };
  const Thresholds& thresholds = metric.thresholds;
  const std::size_t listed =
      thresholds.double_precision
          ? put(thresholds.padded_float64.data(), thresholds.padded_float64.size() * 8)
          : put(thresholds.padded_float32.data(), thresholds.padded_float32.size() * 4);
  std::vector<std::int64_t> places(thresholds.order.size());
  for (std::size_t i = 0; i < places.size(); ++i) {
    places[static_cast<std::size_t>(thresholds.order[i])] = static_cast<std::int64_t>(i);
  }
  const std::size_t order = put(places.data(), places.size() * 8);
  const std::size_t weights = put(metric.label_weights.data(), metric.label_weights.size() * 8);
  const std::size_t targets =
      put(metric.target_class_ids.data(), metric.target_class_ids.size() * 8);
  DeviceConstants out;
  out.device = device;
  if (!host.empty()) {
    const char* memory = constants_on(device, host);
    out.thresholds = memory + listed;
    if (!thresholds.in_order) out.order = reinterpret_cast<const std::int64_t*>(memory + order);
    out.label_weights = reinterpret_cast<const double*>(memory + weights);
    out.targets = reinterpret_cast<const std::int64_t*>(memory + targets);
  }
  all_.push_back(out);
  return all_.back();
}

namespace {

template <class Launch>
void launch_with_workspace(int device, void* stream, CudaKernel kernel,
                           const Configuration& configuration, Launch* launch) {
  launch->workspace = workspace_of(device, stream, configuration.needed);
  launch_on(device, stream, kernel, configuration.grid, launch);
}

}  // namespace

template <class Launch>
void DeviceUpdate::launch(CudaKernel kernel, const Configuration& configuration, Launch* launch) {
  launch_with_workspace(device_, stream_, kernel, configuration, launch);
}

void DeviceUpdate::add(const Metric& metric, Work& work, const DeviceConstants& constants,
                       const State& state) {
  switch (metric.kernel.executor) {
    case Executor::Elementwise:
      return add(metric, static_cast<ElementwiseWork&>(work), state);
    case Executor::Rowwise:
      return add(metric, static_cast<RowwiseWork&>(work), state);
    case Executor::Binned:
      bins_of(static_cast<BinnedWork&>(work).job);  // refuses what is too large
      break;
    case Executor::Tabulated:
      bins_of(static_cast<TabulatedWork&>(work).job);
      break;
    case Executor::Columnwise:
    case Executor::Expression:
      break;
  }
  others_.push_back({&metric, &work, &constants, state});
}

void DeviceUpdate::add(const Metric& metric, ElementwiseWork& work, const State& state) {
  const ElementwiseJob& job = work.job;
  const std::int64_t n = job.y_pred.size();
  if (n == 0) return;
  const int kernel = static_cast<int>(work.op.kernel);
  const bool pairs = metric.find_zero_one_labels;
  Elementwise* found = nullptr;
  int op = -1;
  for (auto& known : elementwise_) {
    if (!same_input(*known->job, job) || known->launch.finds_zero_one != pairs) continue;
    if (known->launch.targets.count == kMaxTargets) continue;
    ElementwiseLaunch& candidate = known->launch;
    for (int i = 0; i < candidate.op_count && op < 0; i += pairs ? 2 : 1) {
      if (same_op(candidate.ops[i], kernel, work.op.params)) op = i;
    }
    if (op < 0 && candidate.op_count + (pairs ? 2 : 1) > kMaxOps) continue;
    found = known.get();
    break;
  }
  if (found == nullptr) {
    elementwise_.push_back(std::make_unique<Elementwise>());
    found = elementwise_.back().get();
    found->job = &job;
    settle(job, &found->launch);
    found->kernel =
        single_precision(job) ? CudaKernel::elementwise_float32 : CudaKernel::elementwise_float64;
    found->plain = is_plain(found->launch) && !found->launch.weighted &&
                   exact_in_float32(job.y_true.dtype) && exact_in_float32(job.y_pred.dtype) &&
                   !found->launch.rounds_true && !found->launch.rounds_pred;
    found->launch.finds_zero_one = pairs;
  }
  ElementwiseLaunch* launch = &found->launch;
  if (op < 0) {
    op = launch->op_count;
    add_op(kernel, work.op.params, launch);
    // A hit depends on the type in which a score is compared with the threshold.
    const Params& params = work.op.params;
    found->plain &= kPlainOps[kernel].plain && !params.from_logits &&
                    params.label_smoothing == 0.0 &&
                    (!kPlainOps[kernel].counts || found->kernel == CudaKernel::elementwise_float32);
  }
  launch->targets.all[launch->targets.count++] =
      target_of(work.mean_shape(metric), work.scalar_weight(), op, state);
}

void DeviceUpdate::add(const Metric& metric, RowwiseWork& work, const State& state) {
  const RowwiseJob& job = work.job;
  if (count_rows(job) == 0) return;
  const int kernel = static_cast<int>(work.op.kernel);
  const unsigned needs = kRowNeeds[kernel];
  const CudaKernel rows_kernel = kernel_for(job, needs, work.op.params);
  RowwiseLaunch* launch = nullptr;
  int op = -1;
  for (auto& known : rowwise_) {
    RowwiseLaunch& candidate = known->launch;
    if (!same_input(*known->job, job) || known->job->has_truth != job.has_truth) continue;
    if (known->kernel != rows_kernel) continue;
    if (candidate.targets.count == kMaxTargets) continue;
    for (int i = 0; i < candidate.op_count && op < 0; ++i) {
      if (same_op(candidate.ops[i], kernel, work.op.params)) op = i;
    }
    if (op < 0 && candidate.op_count == kMaxOps) continue;
    launch = &candidate;
    break;
  }
  if (launch == nullptr) {
    rowwise_.push_back(std::make_unique<Rowwise>());
    Rowwise& made = *rowwise_.back();
    made.job = &job;
    made.kernel = rows_kernel;
    launch = &made.launch;
    settle(job, launch);
  }
  if (op < 0) {
    // Behind the last of those that it shares its statistics with.
    int group = 0;
    while (group < launch->group_count &&
           !shared::share_stats(launch->groups[group].needs,
                                launch->ops[launch->groups[group].first].params, needs,
                                work.op.params)) {
      ++group;
    }
    if (group == launch->group_count) {
      launch->groups[launch->group_count++] = {0, launch->op_count, 0};
    }
    RowGroup& joined = launch->groups[group];
    op = joined.first + joined.count;
    std::move_backward(launch->ops + op, launch->ops + launch->op_count,
                       launch->ops + launch->op_count + 1);
    launch->ops[op] = row_definition(kernel, work.op.params);
    ++launch->op_count;
    joined.needs |= needs;
    ++joined.count;
    for (int g = group + 1; g < launch->group_count; ++g) ++launch->groups[g].first;
    for (int t = 0; t < launch->targets.count; ++t) {
      Target& target = launch->targets.all[t];
      target.op += target.op >= op ? 1 : 0;
    }
  }
  launch->targets.all[launch->targets.count++] =
      target_of(work.mean_shape(metric), work.scalar_weight(), op, state);
}

void DeviceUpdate::run(const Metric& metric, ColumnwiseWork& work, const State& state) {
  const ColumnwiseJob& job = work.job;
  ColumnwiseLaunch launch;
  launch.rows = job.y_pred.shape[0];
  launch.columns = job.y_pred.shape[1];
  if (launch.rows * launch.columns == 0) return;
  const Walk<3> walk({&job.y_true, &job.y_pred, job.weight}, job.y_pred.shape, 2);
  launch.axes = axes_of(walk);
  launch.y_true = operand_of(walk, 0, job.y_true);
  launch.y_pred = operand_of(walk, 1, job.y_pred);
  launch.weighted = job.weight != nullptr;
  if (launch.weighted) launch.weight = operand_of(walk, 2, *job.weight);
  launch.rounds = job.precision != nullptr && *job.precision != DType::Float64;
  if (launch.rounds) launch.precision = *job.precision;
  launch.kernel = static_cast<int>(job.op.kernel);
  launch.params = job.op.params;
  launch.folded = metric.folded;
  launch.first = metric.counts_samples ? 1 : 0;
  launch.state = state;
  const CudaKernel kernel =
      single_precision(job) ? CudaKernel::columnwise_float32 : CudaKernel::columnwise_float64;
  const ColumnSums sums = kColumnSums[launch.kernel];
  const Configuration configuration =
      configure(kernel, &launch, sums.sums + sums.low, sums.sums, device_info(device_));
  launch.workspace = workspace_of(device_, stream_, configuration.needed);
  // The slabs lie behind the sums.
  launch.lanes =
      launch.workspace.partials + configuration.grid.blocks * 2 * sums.sums * launch.columns;
  launch_on(device_, stream_, kernel, configuration.grid, &launch);
}

void DeviceUpdate::run(const Metric& metric, BinnedWork& work, const DeviceConstants& constants,
                       const State& state) {
  const BinnedJob& job = work.job;
  BinnedLaunch launch;
  launch.n = job.y_pred.size();
  if (launch.n == 0) return;
  const View* weights[2] = {nullptr, nullptr};
  View label_weights;
  for (const View* weight : job.weights) {
    if (weight == nullptr) continue;
    weights[launch.weight_count] = weight;
    if (weight->device == kHost) {
      // The metric's own weights of labels, whose copy is on the device.
      label_weights = *weight;
      label_weights.data = reinterpret_cast<const char*>(constants.label_weights);
      weights[launch.weight_count] = &label_weights;
    }
    ++launch.weight_count;
  }
  const Walk<4> walk({&job.y_true, &job.y_pred, weights[0], weights[1]}, job.y_pred.shape,
                     job.y_pred.rank);
  launch.axes = axes_of(walk);
  launch.y_true = operand_of(walk, 0, job.y_true);
  launch.y_pred = operand_of(walk, 1, job.y_pred);
  for (int w = 0; w < launch.weight_count; ++w) {
    launch.weights[w] = operand_of(walk, 2 + w, *weights[w]);
  }
  launch.from_logits = job.from_logits;
  launch.top_k = job.top_k;
  launch.class_id = job.class_id;
  if (job.top_k > 0) {
    const View& rows = job.top_k_scores;
    const Walk<1> lead({&rows}, rows.shape, rows.rank - 1);
    launch.rows_lead = axes_of(lead);
    launch.rows = rows_of(lead, 0, rows, 1, &launch.rows_inner);
    launch.classes = rows.shape[rows.rank - 1];
  }
  const Thresholds& thresholds = *job.thresholds;
  launch.thresholds = static_cast<std::int64_t>(thresholds.sorted.size());
  launch.padded = static_cast<std::int64_t>(thresholds.padded_float64.size());
  launch.listed = constants.thresholds;
  launch.order = constants.order;
  launch.threshold = thresholds.sorted[0];
  launch.even = thresholds.even;
  launch.first_always_passed = thresholds.first_always_passed;
  launch.labels = job.labels;
  for (std::size_t v = 0; v < metric.cells.size(); ++v) {
    launch.cells[v] = static_cast<int>(metric.cells[v]);
  }
  launch.poison_on_nan = metric.poison_on_nan;
  launch.state = state;
  launch.bins = bins_of(job);
  const bool single = !thresholds.double_precision;
  CudaKernel kernel = job.one_threshold
                          ? single ? CudaKernel::cells_float32 : CudaKernel::cells_float64
                      : single ? CudaKernel::binned_float32
                               : CudaKernel::binned_float64;
  const bool plain = single && is_plain(launch) && launch.weight_count == 0 &&
                     !launch.from_logits && launch.top_k == 0 && launch.labels == 1;
  const DeviceInfo& info = device_info(device_);
  if (job.one_threshold) return add(job, plain ? CudaKernel::plain_cells : kernel, launch);
  Configuration configuration = configure(kernel, &launch, info);
  if (plain && launch.bins.copies > 0) {
    kernel = CudaKernel::plain_bins;
    configuration = configure(kernel, &launch, info);
  }
  this->launch(kernel, configuration, &launch);
}

// With the variables of another metric of the same counts, where there is room.
void DeviceUpdate::add(const BinnedJob& job, CudaKernel kernel, const BinnedLaunch& launch) {
  for (auto& known : cells_) {
    BinnedLaunch& other = known->launch;
    if (!same_input(*known->job, job) || known->kernel != kernel) continue;
    if (other.threshold != launch.threshold) continue;
    if (other.state.count + launch.state.count > kMaxState) continue;
    for (int v = 0; v < launch.state.count; ++v) {
      other.cells[other.state.count] = launch.cells[v];
      other.state.variables[other.state.count++] = launch.state.variables[v];
    }
    return;
  }
  cells_.push_back(std::make_unique<Cells>(Cells{&job, kernel, launch}));
}

namespace {

IdOperand ids_of(const ClassIds& ids) {
  IdOperand out;
  const int row_axes = ids.dense ? 1 : 0;
  const Walk<1> lead({&ids.view}, ids.view.shape, ids.view.rank - row_axes);
  out.lead = axes_of(lead);
  out.rows = rows_of(lead, 0, ids.view, row_axes, &out.inner);
  out.dense = ids.dense;
  if (ids.dense) out.classes = ids.view.shape[ids.view.rank - 1];
  return out;
}

}  // namespace

void DeviceUpdate::run(const Metric&, TabulatedWork& work, const State& state) {
  const TabulatedJob& job = work.job;
  TabulatedLaunch launch;
  launch.n = job.count;
  if (launch.n == 0) return;
  launch.labels = ids_of(job.labels);
  launch.predicted = ids_of(job.predicted);
  if (job.weight != nullptr) {
    const Walk<1> walk({job.weight}, job.weight->shape, job.weight->rank);
    launch.weighted = true;
    launch.weight_axes = axes_of(walk);
    launch.weight = operand_of(walk, 0, *job.weight);
    launch.whole_weights = job.whole_weights;
  }
  launch.has_threshold = job.has_threshold;
  launch.threshold = job.threshold;
  launch.classes = job.pairs.classes;
  launch.by_class = job.pairs.by_class;
  launch.whole = job.pairs.whole;
  launch.ignored = job.pairs.ignored;
  launch.state = state;
  launch.bins = bins_of(job);
  const DeviceInfo& info = device_info(device_);
  this->launch(CudaKernel::tabulated, configure(CudaKernel::tabulated, &launch, info), &launch);
  if (launch.commits) return;
  CommitLaunch commit = {launch.bins, state, {}};
  this->launch(CudaKernel::commit, configure(CudaKernel::commit, commit, info), &commit);
}

void DeviceUpdate::run(const Metric& metric, ExpressionWork& work, const State& state) {
  const ExpressionJob& job = work.job;
  ExpressionLaunch launch;
  launch.n = job.y_pred.size();
  if (launch.n == 0) return;
  const Walk<3> walk({&job.y_true, &job.y_pred, job.weight}, job.y_pred.shape, job.y_pred.rank);
  launch.axes = axes_of(walk);
  launch.y_true = operand_of(walk, 0, job.y_true);
  launch.y_pred = operand_of(walk, 1, job.y_pred);
  launch.weighted = job.weight != nullptr;
  if (launch.weighted) launch.weight = operand_of(walk, 2, *job.weight);
  launch.code = job.expression->code();
  launch.shape = work.mean_shape(metric);
  launch.scale = work.scalar_weight().data;
  launch.scale_dtype = work.scalar_weight().dtype;
  launch.state = state;
  this->launch(CudaKernel::expression,
               configure(CudaKernel::expression, launch, device_info(device_)), &launch);
}

void DeviceUpdate::run() {
  const DeviceInfo& info = device_info(device_);
  for (auto& made : elementwise_) {
    const CudaKernel kernel = made->plain ? CudaKernel::plain_sums : made->kernel;
    launch(kernel, configure(kernel, &made->launch, info), &made->launch);
  }
  for (auto& made : rowwise_) {
    launch(made->kernel, configure(made->kernel, &made->launch, info), &made->launch);
  }
  for (const Other& other : others_) {
    const Metric& metric = *other.metric;
    if (metric.kernel.executor == Executor::Columnwise) {
      run(metric, static_cast<ColumnwiseWork&>(*other.work), other.state);
    } else if (metric.kernel.executor == Executor::Binned) {
      run(metric, static_cast<BinnedWork&>(*other.work), *other.constants, other.state);
    } else if (metric.kernel.executor == Executor::Expression) {
      run(metric, static_cast<ExpressionWork&>(*other.work), other.state);
    } else {
      run(metric, static_cast<TabulatedWork&>(*other.work), other.state);
    }
  }
  for (auto& made : cells_) {
    launch(made->kernel, configure(made->kernel, &made->launch, info), &made->launch);
  }
  ++device_counts.updates;
}

namespace {

void values_on(int device, void* stream, const ElementwiseJob& job, const ValuesJob& values,
               const Destination& to) {
  const DeviceInfo& info = device_info(device);
  const bool single = single_precision(job);
  ElementwiseLaunch launch;
  settle(job, &launch);
  launch.finds_zero_one = values.metric().find_zero_one_labels;
  add_op(static_cast<int>(job.ops->kernel), job.ops->params, &launch);
  const auto run = [&](CudaKernel kernel) {
    launch_with_workspace(device, stream, kernel, configure(kernel, &launch, info), &launch);
  };
  // Whether all labels are 0 or 1 decides every value: it must be known first.
  if (launch.finds_zero_one && launch.n > 0) {
    run(single ? CudaKernel::elementwise_float32 : CudaKernel::elementwise_float64);
  }
  launch.values = to;
  launch.width = values.width();
  launch.scale = values.scale();
  launch.n = values.shape().size();
  run(single ? CudaKernel::values_float32 : CudaKernel::values_float64);
}

void values_on(int device, void* stream, const RowwiseJob& job, const Destination& to) {
  RowwiseLaunch launch;
  settle(job, &launch);
  const int kernel = static_cast<int>(job.ops->kernel);
  const unsigned needs = kRowNeeds[kernel];
  launch.ops[launch.op_count++] = row_definition(kernel, job.ops->params);
  launch.groups[launch.group_count++] = {needs, 0, 1};
  launch.values = to;
  const CudaKernel rows_kernel = kernel_for(job, needs, job.ops->params);
  launch_with_workspace(device, stream, rows_kernel,
                        configure(rows_kernel, &launch, device_info(device)), &launch);
}

}  // namespace

void values_on(int device, void* stream, const ValuesJob& job, const Destination& values) {
  if (job.shape().size() == 0) return;
  if (job.metric().kernel.executor == Executor::Rowwise) {
    values_on(device, stream, job.rowwise(), values);
  } else {
    values_on(device, stream, job.elementwise(), job, values);
  }
}

void finish_on(int device, void* stream, const Metric& metric, const DeviceConstants& constants,
               const State& state, void* out, DType dtype) {
  if (metric.result == Result::expression) {
    FinalizeLaunch launch;
    launch.code = metric.finalize->code();
    launch.state = state;
    launch.out = out;
    launch.dtype = dtype;
    Grid grid;
    grid.shared_bytes = 8 * (launch.code.output_count + launch.code.slot_count);
    return launch_on(device, stream, CudaKernel::finalize, grid, &launch);
  }
  FinishLaunch launch;
  launch.spec = result_spec(metric);
  if (launch.spec.label_weights != nullptr) launch.spec.label_weights = constants.label_weights;
  launch.spec.targets = constants.targets;
  launch.state = state;
  launch.out = out;
  launch.dtype = dtype;
  Grid grid;
  grid.shared_bytes = kThreads / kWarp * 8;
  launch_on(device, stream, finish_kernel(metric.result), grid, &launch);
}

}  // namespace kt
