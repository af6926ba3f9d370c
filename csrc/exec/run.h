// The executors: how a list of definitions runs over data. They know loop
// shapes (elementwise, rowwise, binned) and never name a metric. Each walks the
// data once, in cache-sized blocks, and applies every definition of the list to
// a block while it is hot. Results are partial sums: the state is only touched
// after an executor has returned without an error.
#pragma once

#include <cstdint>
#include <vector>

#include "../defs/common.h"
#include "../tensor/view.h"
#include "buffer.h"

namespace kt {

enum class ElementwiseId : int {
#define KT_ELEMENTWISE(name, definition, operands, shapes) name,
#define KT_ROWWISE(name, definition, labels, shapes)
#define KT_BINNED(name)
#include "../kernels.def"
#undef KT_ELEMENTWISE
#undef KT_ROWWISE
};

enum class RowwiseId : int {
#define KT_ELEMENTWISE(name, definition, operands, shapes)
#define KT_ROWWISE(name, definition, labels, shapes) name,
#include "../kernels.def"
#undef KT_ELEMENTWISE
#undef KT_ROWWISE
#undef KT_BINNED
};

template <class Id>
struct Op {
  Id kernel;
  Params params;
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
// Returns whether several threads worked.
bool run_elementwise(const ElementwiseJob& job, Sums* sums);

// scores: (..., classes); truth: (..., 1) labels or (..., targets).
struct RowwiseJob {
  View scores, truth;
  bool dense = false;
  const View* weight = nullptr;  // (...)
  bool scores_are_ids = false;   // only ever compared with the label
  const Op<RowwiseId>* ops;
  int op_count = 1;
};
struct BadLabel {
  std::int64_t row = -1;
  double label = 0;
};
bool run_rowwise(const RowwiseJob& job, Sums* sums, BadLabel* bad);

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
};

// y_true, y_pred and weights have the same shape (..., labels).
struct BinnedJob {
  View y_true, y_pred;
  const View* weights[2] = {nullptr, nullptr};
  const Thresholds* thresholds;
  std::int64_t labels = 1;  // columns counted apart (1: all together)
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

// Rounds to what `dtype` can hold, as a cast to it would.
void round_to(double* x, std::int64_t n, DType dtype);

}  // namespace kt
