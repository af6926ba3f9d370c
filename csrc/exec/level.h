// What one SIMD level offers to the rest of the core: plain functions over
// contiguous blocks. The same source is compiled once per level; the results
// are the same bits at every level (fixed lanes, no contraction).
#pragma once

#include <cstdint>

#include "../defs/common.h"
#include "../tensor/view.h"
#include "blocks.h"
#include "expression.h"

namespace kt {

// How pairs of class ids are told from each other.
struct ClassPairs {
  std::int64_t classes = 0;
  bool by_class = false;  // counts for each class instead of a matrix
  bool whole = true;      // ids are truncated to integers first
  Ignored ignored;        // labels that are left out

  std::int64_t size() const { return by_class ? 3 * classes : classes * classes; }
  bool operator==(const ClassPairs&) const = default;
};

// Rows of scores, `stride` elements apart, and their labels or targets. Targets
// are of the scores' type.
struct Rows {
  const void* scores;
  std::int64_t count;
  std::int64_t stride;
  std::int64_t classes;
  std::int64_t readable;  // elements from `scores` on that may be read
  const double* labels;   // one for each row, or null
  const void* targets;    // y_true's rows, or null
  std::int64_t targets_stride;
  std::int64_t targets_size;
  std::int64_t targets_readable;
};

// Writes each row's value (0 where the label is to be ignored) and returns the
// first row whose label cannot be used, or -1.
using RowsBlock = std::int64_t (*)(const Rows& rows, const Params& params, double* values);

struct RowsBlocks {
  RowsBlock float32;
  RowsBlock float64;
  bool needs_label;  // that is a class
};

// One of several definitions that rows are read for.
struct RowMember {
  int kernel;  // in the table's order
  const Params* params;
  double* values;
  std::int64_t first_bad;  // what a RowsBlock returns
};

// Computes each statistic of a row once for all of them.
using RowsTogether = void (*)(const Rows& rows, RowMember* members, int count);

// Adds elements (weights null: 1) to running sums: for each sum of the definition
// `stride` numbers, element i going to i modulo `run`, which is a multiple of the
// number of columns.
template <class T>
using ColumnsBlock = void (*)(const T* y_true, const T* y_pred, const double* weight,
                              std::int64_t n, std::int64_t run, std::int64_t stride, double* sums);

struct ColumnsBlocks {
  ColumnsBlock<float> float32;
  ColumnsBlock<double> float64;
  // From those, each column's: `sums` of them, then `low` low halves.
  void (*fold)(const double* lanes, std::int64_t run, std::int64_t stride, std::int64_t columns,
               double* sums);
  int sums;
  int low;
  const int* low_of;
  bool counts_hits;  // y_pred is made 0 or 1 first
};

// Neighbouring scores often share a bin: several tables keep their increments
// from waiting for each other.
constexpr int kCountTables = 4;

// cells_*: counts over one threshold, cells[0..3] += TP, FP, FN, TN (weighted or
// not). The others write the bin of every score, times two plus the label, for
// the histogram, and return whether a score with non-zero weight is NaN.
struct BinnedBlocks {
  void (*cells_float32)(const float* y_true, const float* y_pred, const double* weight,
                        std::int64_t n, double threshold, double* cells);
  void (*cells_float64)(const double* y_true, const double* y_pred, const double* weight,
                        std::int64_t n, double threshold, double* cells);
  bool (*even_float32)(const float* y_true, const float* y_pred, const double* weight,
                       std::int64_t n, std::int64_t thresholds, bool first_always_passed,
                       std::int32_t* bins);
  bool (*even_float64)(const double* y_true, const double* y_pred, const double* weight,
                       std::int64_t n, std::int64_t thresholds, bool first_always_passed,
                       std::int32_t* bins);
  // The same without the bins: counts them, in `kCountTables` tables of `size`
  // that take turns.
  bool (*count_even_float32)(const float* y_true, const float* y_pred, std::int64_t n,
                             std::int64_t thresholds, bool first_always_passed,
                             std::uint32_t* tables, std::int64_t size);
  // TP, FP, FN, TN at each of `thresholds` thresholds, from a table of counts.
  void (*cells_of_counts)(const std::uint32_t* counts, std::int64_t thresholds, double* cells);
  // `thresholds` ascend and are padded with infinity to 2^k - 1 of them.
  bool (*listed_float32)(const float* y_true, const float* y_pred, const double* weight,
                         std::int64_t n, const float* thresholds, std::int64_t count,
                         std::int32_t* bins);
  bool (*listed_float64)(const double* y_true, const double* y_pred, const double* weight,
                         std::int64_t n, const double* thresholds, std::int64_t count,
                         std::int32_t* bins);
};

struct Level {
  const char* name;
  // In the table's order.
  const ElementwiseBlocks* elementwise;
  const RowsBlocks* rowwise;
  const ColumnsBlocks* columnwise;
  RowsTogether rows_together_float32;
  RowsTogether rows_together_float64;
  BinnedBlocks binned;
  ExpressionSums<float> expression_sums_float32;
  ExpressionSums<double> expression_sums_float64;
  void (*expression_values)(const Expression& expression, const double* inputs, double* outputs);
  // Lanes as in ElementwiseBlock; weighted_sum also adds the weights to the next
  // kBlockLanes.
  void (*sum)(const double* values, std::int64_t n, double* lanes);
  void (*weighted_sum)(const double* values, const double* weight, std::int64_t n, double* lanes);
  void (*sum_each_row)(const double* values, std::int64_t rows, std::int64_t width, double scale,
                       double* sums);
  bool (*zero_or_one_float32)(const float* x, std::int64_t n);
  bool (*zero_or_one_float64)(const double* x, std::int64_t n);
  // 1 where a score is above the threshold (or is its row's largest), else 0.
  void (*hits_float32)(const float* scores, std::int64_t rows, std::int64_t columns,
                       const Params& params, float* hits);
  void (*hits_float64)(const double* scores, std::int64_t rows, std::int64_t columns,
                       const Params& params, double* hits);
  // What PredictedCells adds over one column of labels 0 and 1; false for others.
  bool (*count_cells_float32)(const float* y_true, const float* y_pred, std::int64_t n,
                              const Params& params, std::int64_t stride, double* sums);
  bool (*count_cells_float64)(const double* y_true, const double* y_pred, std::int64_t n,
                              const Params& params, std::int64_t stride, double* sums);
  // The index of each row's largest score.
  void (*argmax_float32)(const Rows& rows, double* indices);
  void (*argmax_float64)(const Rows& rows, double* indices);
  // The cells that pairs of class ids go to (`pairs.size()`: to none); by class
  // there are two for each pair, in two runs of n.
  void (*class_cells_float64)(const double* labels, const double* predicted, std::int64_t n,
                              const ClassPairs& pairs, std::int64_t* cells);
  void (*class_cells_int32)(const std::int32_t* labels, const std::int32_t* predicted,
                            std::int64_t n, const ClassPairs& pairs, std::int64_t* cells);
  void (*class_cells_int64)(const std::int64_t* labels, const std::int64_t* predicted,
                            std::int64_t n, const ClassPairs& pairs, std::int64_t* cells);
  // Converts n elements, `stride` apart, to float or double.
  void (*to_float32)(const char* data, DType dtype, std::int64_t stride, std::int64_t n,
                     float* out);
  void (*to_float64)(const char* data, DType dtype, std::int64_t stride, std::int64_t n,
                     double* out);
  void (*multiply)(double* x, const double* y, std::int64_t n);
  void (*sigmoid_float32)(float* x, std::int64_t n);
  void (*sigmoid_float64)(double* x, std::int64_t n);
  // The running state: sums, and pairs of halves hi + lo; see accumulate.h.
  void (*add)(double* sums, const double* x, std::int64_t n);
  void (*accumulate)(double* hi, double* lo, const double* x, std::int64_t n);
  // Reads every byte once: the yardstick of the benchmarks.
  double (*read)(const char* data, std::int64_t bytes);
};

// The levels this processor can run, worst first; the last is the default.
struct LevelList {
  const Level* levels[4];
  int count;
};
const LevelList& usable_levels();
const Level& active_level();
void set_active_level(int index);

}  // namespace kt
