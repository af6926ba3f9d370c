// Where a metric's state is: plain data, for the CPU and for a GPU; and how it adds up.
//
// Sums that cancel in the result (squares about a large mean): an unevaluated sum
// hi + lo of two doubles. Adding is a two-sum, which loses nothing that two doubles
// can hold. From 2^48 on, hi is kept a multiple of 4096 and lo takes the rest: then
// the plain sum of two states (what data parallel training does to metric variables)
// loses nothing of whole numbers. Integer weights add up in 64-bit integers.
#pragma once

#include <cstdint>
#include <limits>

#include "common.h"
#include "math.h"

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

namespace KT_LEVEL {

// Of a variable that may be one of integers.
KT_HOST_DEVICE double state_at(const State& state, int variable, std::int64_t i) {
  const State::Variable& v = state.variables[variable];
  return v.whole != nullptr ? static_cast<double>(v.whole[i]) : v.sum[i];
}

// Of one that is not.
KT_HOST_DEVICE double sum_at(const State& state, int variable, std::int64_t i) {
  return state.variables[variable].sum[i];
}

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

// A number that no 64-bit integer can be becomes the least of them, as on x86-64.
KT_HOST_DEVICE std::int64_t whole_of(double x) {
  const bool fits = x >= -0x1p63 && x < 0x1p63;
  return fits ? static_cast<std::int64_t>(x) : std::numeric_limits<std::int64_t>::min();
}

// Past the largest integer it goes on with the least.
KT_HOST_DEVICE void add_whole(std::int64_t* to, double x) {
  const auto sum = static_cast<std::uint64_t>(*to) + static_cast<std::uint64_t>(whole_of(x));
  *to = static_cast<std::int64_t>(sum);
}

}  // namespace KT_LEVEL
}  // namespace kt
