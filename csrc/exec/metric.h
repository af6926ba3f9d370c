// One metric: what it is configured to do, one update of its state, its result.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../defs/common.h"
#include "../defs/results.h"
#include "../tensor/view.h"
#include "run.h"

namespace kt {

enum class Executor { Elementwise, Rowwise, Columnwise, Binned, Tabulated };
enum class Operands { Unary, Binary };
enum class Shapes { Broadcast, Plain, Rows, Same };
enum class Labels { Sparse, Dense, Pair };
enum class Cell : int { TruePositives, FalsePositives, FalseNegatives, TrueNegatives };
enum class Result { Mean, Sum, RootMean, Counts, Ratio, Constrained, Auc, FScore, R2, Iou };
enum class LastAxis { Kept, Mean, Sum };

// A row of the table.
struct KernelRow {
  const char* name;
  Executor executor;
  int id;  // ElementwiseId, RowwiseId or ColumnwiseId
  Operands operands = Operands::Binary;
  Shapes shapes = Shapes::Broadcast;
  Labels labels = Labels::Sparse;
};
const std::vector<KernelRow>& kernel_table();
const KernelRow& find_kernel(const std::string& name);

struct Metric {
  KernelRow kernel;
  Params params;
  double epsilon = 1e-7;  // clips probabilities, in the scores' own precision
  // Elementwise.
  LastAxis last_axis = LastAxis::Kept;     // what becomes of a row's values
  bool find_zero_one_labels = false;       // hinge: labels may stand for -1 and 1
  bool labels_in_scores_dtype = false;     // Accuracy: compare after a cast
  bool threshold_in_scores_dtype = false;  // BinaryAccuracy on 16-bit scores
  bool has_value_dtype = false;            // Sum of integers
  DType value_dtype = DType::Float64;
  // Rowwise.
  std::int64_t axis = -1;
  std::vector<std::int64_t> axes;  // of pairs: what makes a row
  bool k_within_classes = false;   // k beyond the classes is an error
  // Columnwise.
  std::int64_t columns = 0;
  bool folded = false;          // one sum over all columns
  bool counts_samples = false;  // the first variable counts values of y_true
  bool aligns_ranks = false;
  bool any_weight_rank = false;
  bool has_precision = false;  // scores are compared in this dtype
  DType precision = DType::Float32;
  // Tabulated.
  ClassPairs pairs;
  bool dense_labels = false, dense_predicted = false;
  // Binned.
  Thresholds thresholds;
  std::vector<Cell> cells;
  std::int64_t labels = 1;
  bool multi_label = false;
  bool has_class_id = false;
  std::int64_t class_id = 0;
  std::int64_t top_k = 0;
  bool poison_on_nan = false;
  std::vector<double> label_weights;
  // Result.
  Result result = Result::Mean;
  Curve curve = Curve::Roc;
  Summation summation = Summation::Interpolation;
  Rate constrained = Rate::Recall, dependent = Rate::Precision;
  double required = 0.0;  // the least of the constrained rate
  Average average = Average::None;
  double beta = 1.0;
  double regressors = 0.0;
  std::vector<std::int64_t> target_class_ids;
};

constexpr int kMaxState = 5;

// The state: Keras's variables in order, and the low halves of all of them.
// Variables of integers need no low halves.
struct State {
  struct Variable {
    double* high = nullptr;
    std::int64_t* whole = nullptr;
    std::int64_t size = 0;
  };
  Variable variables[kMaxState];
  int count = 0;
  double* low = nullptr;  // null while nobody needs it
  std::int64_t low_stride = 0;

  bool whole() const { return variables[0].whole != nullptr; }
};

struct Batch {
  View y_true, y_pred, sample_weight;
  bool has_weight = false;
};

// What a batch adds to the state: to each variable as many numbers as it has or,
// where the table is not dense, to the cells that it lists.
struct Addition {
  const double* parts[kMaxState];
  const double* low_parts[kMaxState] = {};  // null: there is none
  Table table;
  double few[kMaxState] = {};
  bool parallel = false;  // several threads worked
};

// Two steps: `compute` throws on bad input before any state is touched and
// needs no lock; `commit` cannot fail.
void compute(const Metric& metric, const Batch& batch, Addition* addition);

// Adds to the high halves alone, if that loses nothing (counts below 2^48);
// otherwise changes nothing and returns false: then `commit` needs state.low.
bool commit_high(const Addition& addition, const State& state);
void commit(const Addition& addition, const State& state);

// Whether there is one result or one for each entry of the variables.
bool scalar_result(const Metric& metric, const State& state);
void finish(const Metric& metric, const State& state, double* results);

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
