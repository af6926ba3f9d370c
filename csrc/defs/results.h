// From the state to the answer, in float64: the definitions that results.def lists. 0/0
// counts as 0, as in Keras's divide_no_nan; a NaN in the state comes out as NaN. `run`
// says how loops are run: one step after the other on the CPU, by the threads of a block
// on a GPU (exec/finish.h). Source: Keras 3.15.
#pragma once

#include <cmath>
#include <cstdint>

#include "common.h"
#include "state.h"

namespace kt {

enum class Result {
#define KT_RESULT(name, ...) name,
#include "../results.def"
  expression,  // of a user's function, which an interpreter finishes
};
enum class ResultShape { Scalar, PerEntry, ByColumn };

enum class Curve { Roc, Pr, PrGain };
enum class Summation { Interpolation, Minoring, Majoring, Step };
// Shares that one threshold trades against another; state TP, FP, TN, FN.
enum class Rate { Precision, Recall, Specificity };
// Averages over columns or classes.
enum class Average { None, Micro, Macro, Weighted };

// What a result must know of a metric.
struct ResultSpec {
  Curve curve = Curve::Roc;
  Summation summation = Summation::Interpolation;
  Rate constrained = Rate::Recall, dependent = Rate::Precision;
  Average average = Average::None;
  bool by_class = false;  // counts for each class instead of a matrix
  double required = 0.0;
  double beta = 1.0;
  double regressors = 0.0;
  double epsilon = 1e-7;
  std::int64_t labels = 1;
  std::int64_t classes = 0;
  const double* label_weights = nullptr;  // null: they count alike
  const std::int64_t* targets = nullptr;  // classes
  std::int64_t target_count = 0;
};

namespace KT_LEVEL {

KT_HOST_DEVICE double divide_no_nan(double a, double b) { return b == 0.0 ? 0.0 : a / b; }

// State: total, count.
struct MeanResult {
  template <class Runner>
  KT_HOST_DEVICE static double value(const Runner&, const ResultSpec&, const State& state) {
    return divide_no_nan(sum_at(state, 0, 0), sum_at(state, 1, 0));
  }
};

struct RootMeanResult {
  template <class Runner>
  KT_HOST_DEVICE static double value(const Runner& run, const ResultSpec& spec,
                                     const State& state) {
    return std::sqrt(MeanResult::value(run, spec, state));
  }
};

struct FirstEntry {
  KT_HOST_DEVICE static double value(const ResultSpec&, const State& state, std::int64_t i) {
    return sum_at(state, 0, i);
  }
};

// x / (x + y).
struct RatioResult {
  KT_HOST_DEVICE static double value(const ResultSpec&, const State& state, std::int64_t i) {
    const double x = sum_at(state, 0, i);
    return divide_no_nan(x, x + sum_at(state, 1, i));
  }
};

}  // namespace KT_LEVEL
}  // namespace kt

#include "results_by_column.h"
#include "results_of_curves.h"
#include "results_of_tables.h"
