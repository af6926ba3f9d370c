// One metric's work on one batch, in three steps: shapes are settled, and refused,
// when it is made; a pass runs over the data; what came out becomes an addition to
// the state. Nothing here needs a lock or touches the state.
#pragma once

#include <variant>

#include "../defs/mean.h"
#include "../tensor/shapes.h"
#include "metric.h"
#include "run.h"

namespace kt {

class Work {
 public:
  Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  virtual ~Work() = default;

  // Alone: returns whether several threads worked.
  virtual bool run() = 0;
  // Or together with others; the work must stay until they have run.
  virtual InArena<Pass> pass(Arena& arena) = 0;
  // What `metric`, which may be any with the same statistics, adds to its state.
  virtual void collect(const Metric& metric, Addition* addition) = 0;
};

class ElementwiseWork final : public Work {
 public:
  ElementwiseWork(const Metric& metric, const Batch& batch);
  bool run() override;
  InArena<Pass> pass(Arena& arena) override;
  void collect(const Metric& metric, Addition* addition) override;

  // What the sums of such a batch mean, and the one weight it may have.
  MeanShape mean_shape(const Metric& metric) const;
  const View& scalar_weight() const { return weighting_.view; }

  ElementwiseJob job;
  Op<ElementwiseId> op;
  Sums sums;

 private:
  const Batch& batch_;
  Weighting weighting_;
  int values_rank_ = 0;
};

class RowwiseWork final : public Work {
 public:
  RowwiseWork(const Metric& metric, const Batch& batch);
  bool run() override;
  InArena<Pass> pass(Arena& arena) override;
  void collect(const Metric& metric, Addition* addition) override;

  MeanShape mean_shape(const Metric& metric) const;
  const View& scalar_weight() const { return weighting_.view; }

  RowwiseJob job;
  Op<RowwiseId> op;
  Sums sums;
  BadLabel bad;

 private:
  const Batch& batch_;
  Weighting weighting_;
};

class ColumnwiseWork final : public Work {
 public:
  ColumnwiseWork(const Metric& metric, const Batch& batch);
  bool run() override;
  InArena<Pass> pass(Arena& arena) override;
  void collect(const Metric& metric, Addition* addition) override;

  ColumnwiseJob job;
  Cells sums;

 private:
  View weight_;
};

class BinnedWork final : public Work {
 public:
  BinnedWork(const Metric& metric, const Batch& batch);
  bool run() override;
  InArena<Pass> pass(Arena& arena) override;
  void collect(const Metric& metric, Addition* addition) override;

  BinnedJob job;
  Cells cells;
  bool nan_seen = false;

 private:
  View weight_, label_weight_;
};

class TabulatedWork final : public Work {
 public:
  TabulatedWork(const Metric& metric, const Batch& batch);
  bool run() override;
  InArena<Pass> pass(Arena& arena) override;
  void collect(const Metric& metric, Addition* addition) override;

  TabulatedJob job;
  Table table;

 private:
  View weight_;
};

class ExpressionWork final : public Work {
 public:
  ExpressionWork(const Metric& metric, const Batch& batch);
  bool run() override;
  InArena<Pass> pass(Arena& arena) override;
  void collect(const Metric& metric, Addition* addition) override;

  MeanShape mean_shape(const Metric& metric) const;
  const View& scalar_weight() const { return weighting_.view; }

  ExpressionJob job;
  Sums sums[Code::kMaxOutputs];

 private:
  const Batch& batch_;
  Weighting weighting_;
};

// Room for any of them.
using AnyWork = std::variant<std::monostate, ElementwiseWork, RowwiseWork, ColumnwiseWork,
                             BinnedWork, TabulatedWork, ExpressionWork>;

// Throws on bad input.
Work& make_work(const Metric& metric, const Batch& batch, AnyWork* place);
InArena<Work> make_work(const Metric& metric, const Batch& batch, Arena& arena);

// The values of a batch themselves, one for each element or row. Shapes are
// settled (and refused) first; then the values are written to an array of the
// shape that came out.
class ValuesJob {
 public:
  ValuesJob(const Metric& metric, const Batch& batch);
  ValuesJob(const ValuesJob&) = delete;
  ValuesJob& operator=(const ValuesJob&) = delete;

  const View& shape() const { return shape_; }  // no data
  void run(const Output& output) const;

  const Metric& metric() const { return metric_; }
  // Of the two, the one that the metric's kernel is for.
  const ElementwiseJob& elementwise() const { return elementwise_; }
  const RowwiseJob& rowwise() const { return rowwise_; }
  // How many elements make a value, and what their sum is multiplied by.
  std::int64_t width() const;
  double scale() const;

 private:
  const Metric& metric_;
  const Batch& batch_;
  ElementwiseJob elementwise_;
  RowwiseJob rowwise_;
  Op<ElementwiseId> elementwise_op_;
  Op<RowwiseId> rowwise_op_;
  View shape_;
};

}  // namespace kt
