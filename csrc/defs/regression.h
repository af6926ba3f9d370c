// Elementwise errors: y_true, y_pred -> one non-negative number, computed in the
// executor's precision and summed in float64. NaN in either input makes the sum NaN; an empty batch
// and elements of zero weight add nothing. Squared errors overflow only where
// float64 does (|y_true - y_pred| > 1.3e154).
#pragma once

#include "common.h"
#include "math.h"

namespace kt::KT_LEVEL {

// The value itself: Mean, Sum, and whatever a Python function computed.
struct Identity {
  static constexpr bool kCounts = false;
  static constexpr bool kPlain = true;
  template <class V>
  KT_HOST_DEVICE static V value(V, V y_pred, const Params&) {
    return y_pred;
  }
};

// (y_true - y_pred)^2
struct SquaredError {
  static constexpr bool kCounts = false;
  static constexpr bool kPlain = true;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params&) {
    const V error = y_true - y_pred;
    return error * error;
  }
};

// y_pred - y_true. Not among the plain ones: one more of them, and the CUDA kernel that
// holds them all would spill registers.
struct SignedError {
  static constexpr bool kCounts = false;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params&) {
    return y_pred - y_true;
  }
};

// |y_true - y_pred|
struct AbsoluteError {
  static constexpr bool kCounts = false;
  static constexpr bool kPlain = true;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params&) {
    return absolute(y_true - y_pred);
  }
};

// e = |y_true - y_pred|; e^2 / 2 up to the threshold d, d e - d^2 / 2 above it.
struct HuberError {
  static constexpr bool kCounts = false;
  static constexpr bool kPlain = true;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params& params) {
    const V error = absolute(y_true - y_pred);
    const V d = constant<V>(params.threshold);
    return error <= d ? 0.5 * error * error : d * error - 0.5 * d * d;
  }
};

// 100 |y_true - y_pred| / max(|y_true|, epsilon)
struct AbsolutePercentageError {
  static constexpr bool kCounts = false;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params& params) {
    const V size = absolute(y_true), epsilon = constant<V>(params.lowest);
    const V divisor = size < epsilon ? epsilon : size;
    return constant<V>(100) * (absolute(y_true - y_pred) / divisor);
  }
};

// (log(1 + max(y_pred, epsilon)) - log(1 + max(y_true, epsilon)))^2, as one logarithm
// of (1 + p) / (1 + t): near values lose nothing.
struct SquaredLogarithmicError {
  static constexpr bool kCounts = false;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params& params) {
    const V epsilon = constant<V>(params.lowest);
    const V t = y_true < epsilon ? epsilon : y_true;
    const V p = y_pred < epsilon ? epsilon : y_pred;
    const V error = log_of_ratio(p + 1.0, t + 1.0, p - t);
    return error * error;
  }
};

// log(cosh(e)), e = y_pred - y_true: |e| + log(1 + e^-2|e|) - log 2, which cannot
// overflow; below 1/4, where that would cancel, its power series (relative error
// < 4e-16 there, < 4e-15 elsewhere).
struct LogCosh {
  static constexpr bool kCounts = false;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params&) {
    const V e = absolute(y_pred - y_true);
    const V large = e + (log1p_of(exp_of(e * -2.0)) - 6.93147180559945286227e-01);
    const V z = e * e;
    V small = z * 3.277930227475478e-05 - 9.09896491907074e-05;
    small = small * z + 2.565805740408915e-04;
    small = small * z - 7.386029608251831e-04;
    small = small * z + 2.1869488536155205e-03;
    small = small * z - 6.746031746031746e-03;
    small = small * z + 2.2222222222222223e-02;
    small = small * z - 8.333333333333333e-02;
    small = (small * z + 0.5) * z;
    return e < 0.25 ? small : large;
  }
};

// p - y log(p + epsilon), for counts y and their predicted rates p: the negative
// log-likelihood up to what does not depend on p. NaN where p < -epsilon.
struct PoissonLoss {
  static constexpr bool kCounts = false;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params& params) {
    return y_pred - y_true * log_of(y_pred + params.lowest);
  }
};

}  // namespace kt::KT_LEVEL
