// Programs (exec/program.h) from Python, and what all that run them have in common.
#pragma once

#include <pybind11/pybind11.h>

#include <vector>

#include "../exec/program.h"

namespace kt {

using StateArrays = std::vector<StateArray>;
using ResultArrays = std::vector<ResultArray>;

// Which inputs there are, as bits of a number; y_pred, or the values, is always there.
enum Given : unsigned { kTruth = 1, kWeight = 2, kMaskedWeight = 4 };

struct Inputs {
  Batch batch;
  Batch masked;  // the same with the weights that a mask is part of
};

// next(name) returns one view after the other.
template <class Next>
Inputs read_inputs(unsigned given, Next&& next) {
  Inputs inputs;
  Batch& batch = inputs.batch;
  batch.has_true = (given & kTruth) != 0;
  if (batch.has_true) batch.y_true = next("y_true");
  batch.y_pred = next(batch.has_true ? "y_pred" : "values");
  batch.has_weight = (given & kWeight) != 0;
  if (batch.has_weight) batch.sample_weight = next("sample_weight");
  inputs.masked = batch;
  if ((given & kMaskedWeight) != 0) {
    inputs.masked.has_weight = true;
    inputs.masked.sample_weight = next("sample_weight");
  }
  return inputs;
}

void add_program_functions(pybind11::module_& m);

}  // namespace kt
