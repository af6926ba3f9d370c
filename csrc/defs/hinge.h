// Hinge losses of labels -1 and 1 (or, where the whole batch holds nothing else,
// 0 and 1, which then mean -1 and 1): how far y_true y_pred stays below the
// margin of 1. Computed in the executor's precision and summed in float64. NaN
// in either input makes the sum NaN; an empty batch and elements of zero weight
// add nothing.
#pragma once

#include "common.h"

namespace kt::KT_LEVEL {

// max(1 - t y_pred, 0)
struct HingeLoss {
  static constexpr bool kCounts = false;
  static constexpr bool kPlain = true;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params& params) {
    const V one = constant<V>(1);
    const V t = params.zero_one_labels ? y_true + y_true - one : y_true;
    const V loss = one - t * y_pred;
    return loss < V{} ? V{} : loss;
  }
};

// max(1 - t y_pred, 0)^2
struct SquaredHingeLoss {
  static constexpr bool kCounts = false;
  static constexpr bool kPlain = true;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params& params) {
    const V loss = HingeLoss::value(y_true, y_pred, params);
    return loss * loss;
  }
};

}  // namespace kt::KT_LEVEL
