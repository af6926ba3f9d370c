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

enum class Executor { Elementwise, Rowwise, Binned };
enum class Operands { Unary, Binary };
enum class Shapes { Broadcast, Rows, Same };
enum class Labels { Sparse, Dense };
enum class Cell : int { TruePositives, FalsePositives, FalseNegatives, TrueNegatives };
enum class Result { Mean, Sum, RootMean, Counts, Ratio, Auc };

// A row of the table.
struct KernelRow {
  const char* name;
  Executor executor;
  int id;  // ElementwiseId or RowwiseId
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
  bool mean_over_last_axis = false;
  bool labels_in_scores_dtype = false;     // Accuracy: compare after a cast
  bool threshold_in_scores_dtype = false;  // BinaryAccuracy on 16-bit scores
  bool has_value_dtype = false;            // Sum of integers
  DType value_dtype = DType::Float64;
  // Rowwise.
  std::int64_t axis = -1;
  bool k_within_classes = false;  // k beyond the classes is an error
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
};

// The state: Keras's variables in order (`high`), each of `size` doubles, and
// the low halves of all of them, one after the other.
struct State {
  double* high[4];
  int count;
  std::int64_t size;
  double* low = nullptr;  // null while nobody needs it
};

struct Batch {
  View y_true, y_pred, sample_weight;
  bool has_weight = false;
};

// What a batch adds to the state.
struct Addition {
  Cells values;            // binned: four cells of the state's size
  double few[2] = {0, 0};  // otherwise: total and count
  bool parallel = false;   // several threads worked
};

// Two steps: `compute` throws on bad input before any state is touched and
// needs no lock; `commit` cannot fail.
void compute(const Metric& metric, const Batch& batch, Addition* addition);

// Adds to the high halves alone, if that loses nothing (counts below 2^48);
// otherwise changes nothing and returns false: then `commit` needs state.low.
bool commit_high(const Metric& metric, const Addition& addition, const State& state);
void commit(const Metric& metric, const Addition& addition, const State& state);

// Number of results (state size, or 1), and whether they are a scalar.
bool scalar_result(const Metric& metric, const State& state);
void finish(const Metric& metric, const State& state, double* results);

}  // namespace kt
