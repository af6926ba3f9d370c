// One metric: what it is configured to do, one update of its state, its result.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../defs/common.h"
#include "../defs/results.h"
#include "../tensor/view.h"
#include "kernel_row.h"
#include "run.h"

namespace kt {

enum class Cell : int { TruePositives, FalsePositives, FalseNegatives, TrueNegatives };
enum class LastAxis { Kept, Mean, Sum };

const std::vector<KernelRow>& kernel_table();
const KernelRow& find_kernel(const std::string& name);

// What decides the statistics of a batch: metrics that agree in all of this share
// them.
struct Statistics {
  KernelRow kernel;
  Params params;
  double epsilon = 1e-7;  // clips probabilities, in the scores' own precision
  // Elementwise.
  LastAxis last_axis = LastAxis::Kept;     // what becomes of a row's values
  bool vectors_are_samples = false;        // then a vector has no last axis to average
  bool find_zero_one_labels = false;       // hinge: labels may stand for -1 and 1
  bool labels_in_scores_dtype = false;     // Accuracy: compare after a cast
  bool threshold_in_scores_dtype = false;  // BinaryAccuracy on 16-bit scores
  bool has_value_dtype = false;            // Sum of integers
  DType value_dtype = DType::Float64;
  std::shared_ptr<const kt::Expression> expression;
  // Rowwise.
  std::int64_t axis = -1;
  std::vector<std::int64_t> axes;  // of pairs: what makes a row
  // Columnwise.
  std::int64_t columns = 0;
  bool folded = false;  // one sum over all columns
  bool aligns_ranks = false;
  bool has_precision = false;  // scores are compared in this dtype
  DType precision = DType::Float32;
  // Tabulated.
  ClassPairs pairs;
  bool dense_labels = false, dense_predicted = false;
  // Binned.
  Thresholds thresholds;
  std::int64_t labels = 1;
  bool one_threshold = false;  // every score is above or not, and NaN is not
  bool multi_label = false;
  bool binary_labels = false;  // of vectors: other labels are class ids, and refused
  bool has_class_id = false;
  std::int64_t class_id = 0;
  std::int64_t top_k = 0;
  std::vector<double> label_weights;

  bool operator==(const Statistics&) const = default;
};

// And what becomes of them.
struct Metric : Statistics {
  bool counts_samples = false;  // the first variable counts samples
  // Whose sums cancel in the result: the low halves of these variables are kept, too.
  std::vector<int> low_of;
  std::vector<Cell> cells;
  bool poison_on_nan = false;
  Result result = Result::mean;
  Curve curve = Curve::Roc;
  Summation summation = Summation::Interpolation;
  Rate constrained = Rate::Recall, dependent = Rate::Precision;
  double required = 0.0;  // the least of the constrained rate
  Average average = Average::None;
  double beta = 1.0;
  double regressors = 0.0;
  std::vector<std::int64_t> target_class_ids;
  std::shared_ptr<const kt::Expression> finalize;
};

// Makes a state of variable_at(i) for i < count: Keras's variables, then the low halves.
template <class VariableAt>
void lay_out(const Metric& metric, int count, State* state, VariableAt&& variable_at) {
  state->count = count - static_cast<int>(metric.low_of.size());
  for (int i = 0; i < state->count; ++i) state->variables[i] = variable_at(i);
  for (int i = state->count; i < count; ++i) {
    const int of = metric.low_of[static_cast<std::size_t>(i - state->count)];
    state->variables[of].low = variable_at(i).sum;
  }
}

struct Batch {
  View y_true, y_pred, sample_weight;
  bool has_weight = false;
  bool has_true = true;
};

// What a batch adds to the state: to each variable as many numbers as it has or,
// where a table lists them, to single cells. It points into the work it came from.
struct Addition {
  const double* parts[kMaxState];
  const double* low_parts[kMaxState] = {};  // null: there is none
  const Table* listed = nullptr;
  double few[kMaxState] = {};
  std::vector<double> poison;

  Addition() {
    for (int i = 0; i < kMaxState; ++i) parts[i] = few + i;
  }
  Addition(const Addition&) = delete;
  Addition& operator=(const Addition&) = delete;
};

void commit(const Addition& addition, const State& state);

// What `low_of` is, for this kernel.
std::vector<int> find_low_of(const Metric& metric);

struct ResultName {
  const char* name;
  const char* shape;
};
// The rows of results.def, in order.
const std::vector<ResultName>& result_table();
// Throws where there is none of this name.
Result find_result(const std::string& name);

// Whether there is one result or one for each entry of the variables.
bool scalar_result(const Metric& metric, const State& state);
ResultSpec result_spec(const Metric& metric);
void finish(const Metric& metric, const State& state, double* results);

}  // namespace kt
