#include <algorithm>
#include <optional>
#include <vector>

#include "row_reader.h"

namespace kt {

bool single_precision(const RowwiseJob& job) {
  return job.scores.dtype == DType::Float32 && (!job.dense || exact_in_float32(job.truth.dtype));
}

bool compares_integers(const RowwiseJob& job) {
  return job.scores_are_ids && wide_integer(job.scores.dtype) && wide_integer(job.truth.dtype) &&
         job.ops[0].params.ignored.count == 0;
}

namespace {

// Rows are evaluated in groups, whose values are then summed like elements.
constexpr std::int64_t kRowGroup = 256;

// Labels and weights, along the axes that are not part of a row.
using LeadWalk = Walk<2>;

LeadWalk lead_walk(const RowwiseJob& job) {
  const View* const views[2] = {job.dense || !job.has_truth ? nullptr : &job.truth, job.weight};
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

template <class T, class Block>
Block block_of(Block float32, Block float64) {
  return std::is_same_v<T, float> ? float32 : float64;
}

// Calls emit(op, start, n, values, labels) for each group of rows.
template <class T, class Emit>
void evaluate_rows(const Level& level, const RowwiseJob& job, const LeadWalk& walk,
                   std::int64_t begin, std::int64_t end, BadLabel* bad, Emit&& emit) {
  alignas(64) double label_buffer[kRowGroup];
  Buffer<double, kRowGroup> values(kRowGroup * job.op_count);
  Buffer<RowMember, 1> members(job.op_count);
  for (int op = 0; op < job.op_count; ++op) {
    members[op] = {static_cast<int>(job.ops[op].kernel), &job.ops[op].params,
                   values.data() + op * kRowGroup, -1};
  }
  RowReader<T> scores(level, job.scores, job.row_axes);
  std::optional<RowReader<T>> targets;
  std::optional<WideIds> wide_ids;
  if (job.dense) targets.emplace(level, job.truth, job.row_axes);
  if (compares_integers(job)) {
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
    } else if (job.has_truth) {
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
    if (job.op_count == 1) {
      const RowsBlocks& blocks = level.rowwise[static_cast<int>(job.ops[0].kernel)];
      members[0].first_bad =
          block_of<T>(blocks.float32, blocks.float64)(rows, job.ops[0].params, values.data());
    } else {
      block_of<T>(level.rows_together_float32, level.rows_together_float64)(rows, members.data(),
                                                                            job.op_count);
    }
    for (int op = 0; op < job.op_count; ++op) {
      const std::int64_t row = members[op].first_bad;
      if (row >= 0 && bad->row < 0) {
        *bad = {start + row, rows.labels == nullptr ? 0.0 : rows.labels[row]};
      }
      emit(op, start, n, values.data() + op * kRowGroup, rows.labels);
    }
  }
}

// A job's rows, and the first of them whose label cannot be used.
class RowPass : public Pass {
 public:
  RowPass(const RowwiseJob& job, BadLabel* bad)
      : job_(job), level_(active_level()), walk_(lead_walk(job)), bad_(bad) {
    const int lead = job.scores.rank - job.row_axes;
    units = 1;
    for (int d = 0; d < lead; ++d) units *= job.scores.shape[d];
    for (int d = lead; d < job.scores.rank; ++d) width *= job.scores.shape[d];
    width = std::max<std::int64_t>(1, width);
    single_ = single_precision(job);
    step = single_ ? group_of<float>() : group_of<double>();
    chunks = cut(units, std::max<std::int64_t>(1, kMinChunk / width), kMaxChunks, 1);
    worth_threads = units * width >= kParallelThreshold;
    bad_labels_.clear(chunks.count);
  }

  void finish() override {
    for (int chunk = 0; chunk < chunks.count; ++chunk) {
      if (bad_labels_[chunk].row >= 0 && bad_->row < 0) *bad_ = bad_labels_[chunk];
    }
  }

 protected:
  // Calls emit as evaluate_rows() does.
  template <class Emit>
  void evaluate(int chunk, std::int64_t begin, std::int64_t end, Emit&& emit) {
    BadLabel* bad = &bad_labels_[chunk];
    if (single_) {
      evaluate_rows<float>(level_, job_, walk_, begin, end, bad, emit);
    } else {
      evaluate_rows<double>(level_, job_, walk_, begin, end, bad, emit);
    }
  }

  const RowwiseJob& job_;
  const Level& level_;
  const LeadWalk walk_;

 private:
  template <class T>
  std::int64_t group_of() const {
    std::int64_t group = RowReader<T>(level_, job_.scores, job_.row_axes).group(kRowGroup);
    if (job_.dense) group = RowReader<T>(level_, job_.truth, job_.row_axes).group(group);
    return group;
  }

  bool single_ = false;
  BadLabel* const bad_;
  Buffer<BadLabel, 1> bad_labels_;
};

class RowSums final : public RowPass {
 public:
  RowSums(const RowwiseJob& job, Sums* sums, BadLabel* bad) : RowPass(job, bad), sums_(sums) {
    lanes_.clear(chunks.count * job.op_count);
  }

  void run(int chunk, std::int64_t begin, std::int64_t end) override {
    alignas(64) double weight_buffer[kRowGroup];
    alignas(64) double own_weights[kRowGroup];
    ChunkLanes* lanes = lanes_.data() + chunk * job_.op_count;
    evaluate(chunk, begin, end,
             [&](int op, std::int64_t start, std::int64_t n, const double* values,
                 const double* labels) {
               const Ignored& ignored = job_.ops[op].params.ignored;
               const bool weighted = job_.weight != nullptr;
               if (!weighted && ignored.count == 0) return level_.sum(values, n, lanes[op].all);
               const double* weights =
                   weighted ? fetch(level_, walk_, 1, *job_.weight, start, n, weight_buffer)
                            : nullptr;
               if (ignored.count > 0) {
                 for (std::int64_t i = 0; i < n; ++i) {
                   own_weights[i] = ignored.has(labels[i]) ? 0.0 : weighted ? weights[i] : 1.0;
                 }
                 weights = own_weights;
               }
               level_.weighted_sum(values, weights, n, lanes[op].all);
             });
  }

  void finish() override {
    RowPass::finish();
    total(lanes_.data(), chunks.count, job_.op_count, sums_);
  }

 private:
  Sums* const sums_;
  Buffer<ChunkLanes, 1> lanes_;
};

class RowValues final : public RowPass {
 public:
  RowValues(const RowwiseJob& job, const Output& output, BadLabel* bad)
      : RowPass(job, bad), output_(output) {}

  void run(int chunk, std::int64_t begin, std::int64_t end) override {
    evaluate(chunk, begin, end,
             [&](int, std::int64_t start, std::int64_t n, const double* values, const double*) {
               output_.write(start, values, n);
             });
  }

 private:
  const Output& output_;
};

}  // namespace

bool run_rowwise(const RowwiseJob& job, Sums* sums, BadLabel* bad) {
  RowSums pass(job, sums, bad);
  return run_alone(pass);
}

InArena<Pass> make_pass(const RowwiseJob& job, Sums* sums, BadLabel* bad, Arena& arena) {
  return make_in<RowSums>(arena, job, sums, bad);
}

bool run_rowwise_values(const RowwiseJob& job, const Output& output, BadLabel* bad) {
  RowValues pass(job, output, bad);
  return run_alone(pass);
}

}  // namespace kt
