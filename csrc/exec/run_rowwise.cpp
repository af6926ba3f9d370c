#include <algorithm>
#include <optional>
#include <vector>

#include "row_reader.h"

namespace kt {
namespace {

// Rows are evaluated in groups, whose values are then summed like elements.
constexpr std::int64_t kRowGroup = 256;

// Labels and weights, along the axes that are not part of a row.
using LeadWalk = Walk<2>;

LeadWalk lead_walk(const RowwiseJob& job) {
  const View* const views[2] = {job.dense ? nullptr : &job.truth, job.weight};
  return LeadWalk(views, job.scores.shape, job.scores.rank - job.row_axes);
}

// 64-bit ids do not fit a double: those equal to their row's label become 0,
// others 1, and the labels themselves 0.
class WideIds {
 public:
  WideIds(const RowwiseJob& job, const LeadWalk& walk)
      : job_(job), walk_(walk), all_({&job.scores}, job.scores.shape, job.scores.rank) {}

  const double* mark(std::int64_t start, std::int64_t n, std::int64_t width) {
    labels_.resize(static_cast<std::size_t>(n));
    ids_.resize(static_cast<std::size_t>(n * width));
    marks_.resize(ids_.size());
    read_int64(walk_, 0, job_.truth, start, n, labels_.data());
    read_int64(all_, 0, job_.scores, start * width, n * width, ids_.data());
    for (std::size_t i = 0; i < ids_.size(); ++i) {
      marks_[i] = ids_[i] == labels_[i / static_cast<std::size_t>(width)] ? 0.0 : 1.0;
    }
    return marks_.data();
  }

 private:
  const RowwiseJob& job_;
  const LeadWalk& walk_;
  const Walk<1> all_;
  std::vector<std::int64_t> labels_, ids_;
  std::vector<double> marks_;
};

// Calls emit(op, start, n, values, labels) for each group of rows.
template <class T, class Emit>
void evaluate_rows(const Level& level, const RowwiseJob& job, const LeadWalk& walk,
                   std::int64_t begin, std::int64_t end, BadLabel* bad, Emit&& emit) {
  alignas(64) double label_buffer[kRowGroup];
  alignas(64) double values[kRowGroup];
  RowReader<T> scores(level, job.scores, job.row_axes);
  std::optional<RowReader<T>> targets;
  std::optional<WideIds> wide_ids;
  if (job.dense) targets.emplace(level, job.truth, job.row_axes);
  if (job.scores_are_ids && wide_integer(job.scores.dtype) && wide_integer(job.truth.dtype)) {
    wide_ids.emplace(job, walk);
  }
  std::int64_t group = scores.group(kRowGroup);
  if (targets) group = targets->group(group);
  Rows rows = {};
  rows.classes = scores.width();
  rows.targets_size = targets ? targets->width() : 0;
  for (std::int64_t start = begin; start < end; start += group) {
    const std::int64_t n = std::min(group, end - start);
    rows.count = n;
    if (targets) {
      rows.targets = targets->read(start, n);
      rows.targets_stride = targets->stride();
      rows.targets_readable = targets->readable();
    } else {
      rows.labels = fetch(level, walk, 0, job.truth, start, n, label_buffer);
    }
    if (wide_ids) {
      rows.scores = wide_ids->mark(start, n, rows.classes);
      rows.stride = rows.classes;
      rows.readable = n * rows.classes;
      std::fill(label_buffer, label_buffer + n, 0.0);
      rows.labels = label_buffer;
    } else {
      rows.scores = scores.read(start, n);
      rows.stride = scores.stride();
      rows.readable = scores.readable();
    }
    for (int op = 0; op < job.op_count; ++op) {
      const RowsBlocks& blocks = level.rowwise[static_cast<int>(job.ops[op].kernel)];
      const RowsBlock block = std::is_same_v<T, float> ? blocks.float32 : blocks.float64;
      const std::int64_t row = block(rows, job.ops[op].params, values);
      if (row >= 0 && bad->row < 0) {
        *bad = {start + row, rows.labels == nullptr ? 0.0 : rows.labels[row]};
      }
      emit(op, start, n, values, rows.labels);
    }
  }
}

template <class T>
void sum_rows(const Level& level, const RowwiseJob& job, const LeadWalk& walk, std::int64_t begin,
              std::int64_t end, Sums* sums, BadLabel* bad) {
  alignas(64) double weight_buffer[kRowGroup];
  alignas(64) double own_weights[kRowGroup];
  Buffer<ChunkLanes, 1> lanes(job.op_count);
  for (int op = 0; op < job.op_count; ++op) lanes[op] = ChunkLanes();
  evaluate_rows<T>(
      level, job, walk, begin, end, bad,
      [&](int op, std::int64_t start, std::int64_t n, const double* values, const double* labels) {
        const Params& params = job.ops[op].params;
        if (job.weight == nullptr) {
          level.sum(values, n, lanes[op].all);
          return;
        }
        const double* weights = fetch(level, walk, 1, *job.weight, start, n, weight_buffer);
        if (params.has_ignore_class) {
          for (std::int64_t i = 0; i < n; ++i) {
            own_weights[i] = labels[i] == params.ignore_class ? 0.0 : weights[i];
          }
          weights = own_weights;
        }
        level.weighted_sum(values, weights, n, lanes[op].all);
      });
  for (int op = 0; op < job.op_count; ++op) sums[op] = lanes[op].total();
}

bool exact_in_float32(DType dtype) {
  return dtype != DType::Float64 && (!is_integer(dtype) || item_size(dtype) <= 2);
}

// How the rows of a job are cut, and the type they are computed in.
class RowCut {
 public:
  explicit RowCut(const RowwiseJob& job) {
    const int lead = job.scores.rank - job.row_axes;
    for (int d = 0; d < lead; ++d) rows_ *= job.scores.shape[d];
    for (int d = lead; d < job.scores.rank; ++d) width_ *= job.scores.shape[d];
    width_ = std::max<std::int64_t>(1, width_);
    single_ =
        job.scores.dtype == DType::Float32 && (!job.dense || exact_in_float32(job.truth.dtype));
    chunks_ = cut(rows_, std::max<std::int64_t>(1, kMinChunk / width_), kMaxChunks, 1);
  }

  int count() const { return chunks_.count; }

  // Calls run(begin, end, chunk, T{}) for each chunk; returns whether several
  // threads did.
  template <class Run>
  bool for_each(Run&& run) const {
    return for_chunks(chunks_, rows_, rows_ * width_ >= kParallelThreshold,
                      [&](std::int64_t begin, std::int64_t end, int chunk) {
                        if (single_) {
                          run(begin, end, chunk, float{});
                        } else {
                          run(begin, end, chunk, double{});
                        }
                      });
  }

 private:
  std::int64_t rows_ = 1, width_ = 1;
  bool single_ = false;
  Chunks chunks_;
};

void first_bad(const Buffer<BadLabel, 1>& found, int count, BadLabel* bad) {
  for (int chunk = 0; chunk < count; ++chunk) {
    if (found[chunk].row >= 0 && bad->row < 0) *bad = found[chunk];
  }
}

}  // namespace

bool run_rowwise(const RowwiseJob& job, Sums* sums, BadLabel* bad) {
  const Level& level = active_level();
  const LeadWalk walk = lead_walk(job);
  const RowCut cut(job);
  Buffer<BadLabel, 1> bad_labels;
  Buffer<Sums, 1> partial;
  bad_labels.clear(cut.count());
  partial.clear(cut.count() * job.op_count);
  const bool parallel =
      cut.for_each([&](std::int64_t begin, std::int64_t end, int chunk, auto type) {
        sum_rows<decltype(type)>(level, job, walk, begin, end,
                                 partial.data() + chunk * job.op_count, &bad_labels[chunk]);
      });
  first_bad(bad_labels, cut.count(), bad);
  combine(partial.data(), cut.count(), job.op_count, sums);
  return parallel;
}

bool run_rowwise_values(const RowwiseJob& job, const Output& output, BadLabel* bad) {
  const Level& level = active_level();
  const LeadWalk walk = lead_walk(job);
  const RowCut cut(job);
  Buffer<BadLabel, 1> bad_labels;
  bad_labels.clear(cut.count());
  const bool parallel = cut.for_each([&](std::int64_t begin, std::int64_t end, int chunk,
                                         auto type) {
    evaluate_rows<decltype(type)>(level, job, walk, begin, end, &bad_labels[chunk],
                                  [&](int, std::int64_t start, std::int64_t n, const double* values,
                                      const double*) { output.write(start, values, n); });
  });
  first_bad(bad_labels, cut.count(), bad);
  return parallel;
}

}  // namespace kt
