// The running state, several accumulators at a time.
#pragma once

#include "../defs/state.h"
#include "vec.h"

namespace kt::KT_LEVEL {

// Whether hi + x is exact and below 2^48 for all n: then lo need not be touched.
inline bool adds_exactly(const double* hi, const double* x, std::int64_t n) {
  auto bad = F64{} != F64{};
  std::int64_t i = 0;
  for (; i + kLanes<double> <= n; i += kLanes<double>) {
    const F64 h = load<F64>(hi + i), added = load<F64>(x + i), sum = h + added;
    bad |= (sum_error(h, added, sum) != 0.0) | ~(absolute(sum) < kExactIntegers);
  }
  bool bad_in_rest = false;
  for (; i < n; ++i) {
    const double sum = hi[i] + x[i];
    bad_in_rest |= sum_error(hi[i], x[i], sum) != 0.0 || !(absolute(sum) < kExactIntegers);
  }
  return !bad_in_rest && !any_lane(bad);
}

inline void add(double* hi, const double* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) hi[i] += x[i];
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
