// The running state: each accumulator is an unevaluated sum hi + lo of two
// doubles. Adding is a two-sum, so counts stay exact far beyond 2^53 and sums
// lose nothing that float64 could hold. From 2^48 on, hi is kept a multiple of
// 4096 and lo takes the rest: then the plain sum of two states (what data
// parallel training does to metric variables) is exact for counts as well.
#pragma once

#include "vec.h"

namespace kt::KT_LEVEL {

constexpr double kExactIntegers = 281474976710656.0;  // 2^48

template <class V>
KT_HOST_DEVICE void add_exactly(V& hi, V& lo, V x) {
  const V sum = hi + x;
  const V low = lo + sum_error(hi, x, sum);
  // What an infinite sum leaves out is NaN, which would hide that it is infinite.
  V head = (sum - sum) == V{} ? sum + low : sum;
  V tail = low - (head - sum);
  const V scaled = head * (1.0 / 4096.0);
  const V rounded = ((scaled + kRoundMagic) - kRoundMagic) * 4096.0;
  // Above 2^63 the rounding trick ends, and hi is coarser than 4096 anyway.
  const auto coarse = (absolute(head) >= kExactIntegers) & (absolute(head) < 4.0e18);
  tail = coarse ? tail + (head - rounded) : tail;
  head = coarse ? rounded : head;
  hi = head;
  // Infinity and NaN have no remainder.
  lo = (head - head) == V{} ? tail : V{};
}

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
