// The running state, several accumulators at a time.
#pragma once

#include "../defs/state.h"
#include "vec.h"

namespace kt::KT_LEVEL {

inline void add(double* sums, const double* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) sums[i] += x[i];
}

inline void accumulate(double* hi, double* lo, const double* x, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + kLanes<double> <= n; i += kLanes<double>) {
    F64 h = load<F64>(hi + i), l = load<F64>(lo + i);
    add_exactly(h, l, load<F64>(x + i));
    store(hi + i, h);
    store(lo + i, l);
  }
  for (; i < n; ++i) add_exactly(hi[i], lo[i], x[i]);
}

}  // namespace kt::KT_LEVEL
