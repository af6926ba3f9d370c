// Programs for modules that do not contain the kernels: what runs them, as pointers.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "program.h"

namespace kt {

struct ProgramApi {
  const Program& (*find)(std::string_view key);
  void (*update)(const Program&, const Batch& batch, const StateArray*, int count);
  void (*results)(const Program&, const StateArray*, int count, const ResultArray*);
  std::int64_t (*result_size)(const Program&, int member);
};

constexpr const char* kProgramApiCapsule = "keras_tally.program_api";

using StateArrays = std::vector<StateArray>;
using ResultArrays = std::vector<ResultArray>;

// Which inputs there are, as bits of a number; y_pred, or the values, is always there.
enum Given : unsigned { kTruth = 1, kWeight = 2 };

// next(name) returns one view after the other.
template <class Next>
Batch read_inputs(unsigned given, Next&& next) {
  Batch batch;
  batch.has_true = (given & kTruth) != 0;
  if (batch.has_true) batch.y_true = next("y_true");
  batch.y_pred = next(batch.has_true ? "y_pred" : "values");
  batch.has_weight = (given & kWeight) != 0;
  if (batch.has_weight) batch.sample_weight = next("sample_weight");
  return batch;
}

}  // namespace kt
