// Elementwise errors: y_true, y_pred -> one non-negative number, summed by the
// executor in float64. NaN in either input makes the sum NaN; an empty batch
// and elements of zero weight add nothing. Squared errors overflow only where
// float64 does (|y_true - y_pred| > 1.3e154).
#pragma once

#include "common.h"

namespace kt::KT_LEVEL {

// The value itself: Mean, Sum, and whatever a Python function computed.
struct Identity {
  static constexpr bool kCounts = false;
  template <class V>
  KT_HOST_DEVICE static V value(V, V y_pred, const Params&) {
    return y_pred;
  }
};

// (y_true - y_pred)^2
struct SquaredError {
  static constexpr bool kCounts = false;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params&) {
    const V error = y_true - y_pred;
    return error * error;
  }
};

// |y_true - y_pred|
struct AbsoluteError {
  static constexpr bool kCounts = false;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params&) {
    return absolute(y_true - y_pred);
  }
};

// e = |y_true - y_pred|; e^2 / 2 up to the threshold d, d e - d^2 / 2 above it.
struct HuberError {
  static constexpr bool kCounts = false;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params& params) {
    const V error = absolute(y_true - y_pred);
    const V d = constant<V>(params.threshold);
    return error <= d ? 0.5 * error * error : d * error - 0.5 * d * d;
  }
};

}  // namespace kt::KT_LEVEL
