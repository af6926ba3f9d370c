// Where a metric's state is, and what its result is made of: plain data, for the CPU
// and for a GPU.
#pragma once

#include <cstdint>

#include "../defs/results.h"

namespace kt {

constexpr int kMaxState = 9;

// The state: Keras's variables in order, as float64 or as integers.
struct State {
  struct Variable {
    double* sum = nullptr;
    double* low = nullptr;  // what `sum` cannot hold, where the result cancels it
    std::int64_t* whole = nullptr;
    std::int64_t size = 0;
  };
  Variable variables[kMaxState];
  int count = 0;

  bool whole() const { return variables[0].whole != nullptr; }
};

// What finish() must know of a metric.
struct ResultSpec {
  Result result = Result::Mean;
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

}  // namespace kt
