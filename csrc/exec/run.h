// The executors: how a list of definitions runs over data. They know loop shapes
// (elementwise, rowwise, columnwise, binned, tabulated, expression) and never name a metric. Each
// walks the data once, in cache-sized blocks, and applies every definition of the list to a block
// while it is hot. Results are partial sums: the state is only touched after an executor has
// returned without an error.
#pragma once

#include <cstdint>
#include <vector>

#include "../defs/common.h"
#include "../tensor/view.h"
#include "buffer.h"
#include "expression.h"
#include "kernel_ids.h"
#include "level.h"
#include "pass.h"

namespace kt {

template <class Id>
struct Op {
  Id kernel;
  Params params;

  bool operator==(const Op&) const = default;
};

// {sum of weight * value, sum of weight} of one definition; without weights the
// second is unused.
struct Sums {
  double value = 0;
  double weight = 0;
};

// All views have the same shape; `weight` may be null.
struct ElementwiseJob {
  View y_true, y_pred;
  const View* weight = nullptr;
  const Op<ElementwiseId>* ops;
  int op_count = 1;
  // Labels are brought to this dtype first (Accuracy); null: left alone.
  const DType* round_true = nullptr;
  const DType* round_pred = nullptr;
};
// Whether float32 is what it is computed in; else it is float64.
bool single_precision(const ElementwiseJob& job);
// Whether 64-bit integers, which do not fit a double, are compared as such.
bool compares_integers(const ElementwiseJob& job);
// Every run_... returns whether several threads worked; make_pass leaves the work
// to run_passes(), and the job and what is to be filled in must stay until then.
bool run_elementwise(const ElementwiseJob& job, Sums* sums);
InArena<Pass> make_pass(const ElementwiseJob& job, Sums* sums, Arena& arena);

// Where values that are not summed go: contiguous float or double.
struct Output {
  void* data;
  DType dtype;

  void write(std::int64_t at, const double* values, std::int64_t n) const {
    if (dtype == DType::Float32) {
      float* to = static_cast<float*>(data) + at;
      for (std::int64_t i = 0; i < n; ++i) to[i] = static_cast<float>(values[i]);
    } else {
      double* to = static_cast<double*>(data) + at;
      for (std::int64_t i = 0; i < n; ++i) to[i] = values[i];
    }
  }
};
// Each run of `width` values, summed and scaled; of the job's first definition,
// without weights.
bool run_elementwise_values(const ElementwiseJob& job, std::int64_t width, double scale,
                            const Output& output);

bool all_zero_or_one(const View& view);

// What an expression makes of each pair, summed, for each of its outputs. All views have
// the same shape; `weight` may be null.
struct ExpressionJob {
  View y_true, y_pred;
  const View* weight = nullptr;
  const Expression* expression;
};
bool single_precision(const ExpressionJob& job);
bool run_expression(const ExpressionJob& job, Sums* sums);
InArena<Pass> make_pass(const ExpressionJob& job, Sums* sums, Arena& arena);

// scores: (..., classes); truth: (..., 1) labels or (..., targets). The last
// `row_axes` axes of both make a row.
struct RowwiseJob {
  View scores, truth;
  int row_axes = 1;
  bool dense = false;
  bool has_truth = true;         // else the definitions look at scores alone
  const View* weight = nullptr;  // (...)
  bool scores_are_ids = false;   // only ever compared with the label
  const Op<RowwiseId>* ops;
  int op_count = 1;
};
bool single_precision(const RowwiseJob& job);
bool compares_integers(const RowwiseJob& job);
struct BadLabel {
  std::int64_t row = -1;
  double label = 0;
};
bool run_rowwise(const RowwiseJob& job, Sums* sums, BadLabel* bad);
InArena<Pass> make_pass(const RowwiseJob& job, Sums* sums, BadLabel* bad, Arena& arena);
bool run_rowwise_values(const RowwiseJob& job, const Output& output, BadLabel* bad);

// Matrices of one shape (rows, columns); `weight` may be null.
struct ColumnwiseJob {
  View y_true, y_pred;
  const View* weight = nullptr;
  Op<ColumnwiseId> op;
  // What values are rounded to before they are compared; null: nothing is.
  const DType* precision = nullptr;
};

bool single_precision(const ColumnwiseJob& job);

// Configuration of threshold counts.
struct Thresholds {
  std::vector<double> sorted;       // ascending, rounded to the precision of comparison
  std::vector<std::int64_t> order;  // order[i]: position of the i-th given one in `sorted`
  // The same padded with infinity to 2^k - 1 of them, for searching.
  std::vector<float> padded_float32;
  std::vector<double> padded_float64;
  bool in_order = true;  // they were given in ascending order
  bool even = false;     // i / (T - 1)
  bool first_always_passed = false;
  bool double_precision = false;

  bool operator==(const Thresholds&) const = default;
};
// Sorts them; how they are compared has been settled.
void set_thresholds(std::vector<double> given, Thresholds* out);

// y_true, y_pred and weights have the same shape (..., labels).
struct BinnedJob {
  View y_true, y_pred;
  const View* weights[2] = {nullptr, nullptr};
  const Thresholds* thresholds;
  std::int64_t labels = 1;  // columns counted apart (1: all together)
  bool one_threshold = false;
  bool from_logits = false;
  // Scores outside their row's best k count as below every threshold.
  std::int64_t top_k = 0;
  View top_k_scores;           // the whole rows (..., classes)
  std::int64_t class_id = -1;  // y_pred is this column of the rows
};
// cells: TP, FP, FN, TN, each (thresholds, labels) in the given order.
// `nan_seen`: a score with a weight other than 0 is NaN.
using Cells = Buffer<double, 1024>;
bool run_binned(const BinnedJob& job, Cells* cells, bool* nan_seen);
InArena<Pass> make_pass(const BinnedJob& job, Cells* cells, bool* nan_seen, Arena& arena);

// sums: each of the definition's, for each column; then the number of rows with a weight
// other than 0.
bool run_columnwise(const ColumnwiseJob& job, Cells* sums);
InArena<Pass> make_pass(const ColumnwiseJob& job, Cells* sums, Arena& arena);

// Class ids, flat: given, or the largest of a row of scores (..., classes).
struct ClassIds {
  View view;
  bool dense = false;
};
struct TabulatedJob {
  ClassIds labels, predicted;  // `count` ids each
  std::int64_t count = 0;
  const View* weight = nullptr;  // `count` of them
  bool whole_weights = false;    // truncated
  bool has_threshold = false;    // a predicted score this high is class 1
  float threshold = 0.5f;
  ClassPairs pairs;
};
// Either the whole table, or the cells that the samples go to with their weights
// (none: 1), where that is less.
struct Table {
  bool dense = true;
  Cells cells;
  std::vector<std::int64_t> indices;  // `pairs.none` where there is none
  std::vector<double> weights;        // one for each sample
};
bool run_tabulated(const TabulatedJob& job, Table* table);
InArena<Pass> make_pass(const TabulatedJob& job, Table* table, Arena& arena);

// Rounds to what `dtype` can hold, as a cast to it would.
void round_to(double* x, std::int64_t n, DType dtype);

}  // namespace kt
