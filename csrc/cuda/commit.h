// What the last block of a launch does with the sums.
#pragma once

#include "../defs/mean.h"
#include "../defs/state.h"
#include "load.h"
#include "team.h"

namespace kt::KT_LEVEL {

KT_HOST_DEVICE void add_to(const State::Variable& v, std::int64_t i, double x) {
  if (v.whole != nullptr) {
    add_whole(v.whole + i, x);
  } else if (v.low != nullptr) {
    add_exactly(v.sum[i], v.low[i], x);
  } else {
    v.sum[i] += x;
  }
}

KT_HOST_DEVICE void add_to(const State& state, int variable, std::int64_t i, double x) {
  add_to(state.variables[variable], i, x);
}

KT_HOST_DEVICE void add_to_target(const Target& target, double value, double weight) {
  double total, count;
  const double scale =
      target.shape.scalar ? load_one<double>(target.scale, target.scale_dtype, 0) : 1.0;
  mean_parts(target.shape, value, weight, scale, &total, &count);
  add_to(target.total, 0, total);
  if (target.has_count) add_to(target.count, 0, count);
}

}  // namespace kt::KT_LEVEL
