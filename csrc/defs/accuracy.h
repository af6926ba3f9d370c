// Elementwise hits: 1 where the prediction agrees with the label, else 0. The
// sum of a block is exact in float32, the running sum exact far past 2^53. NaN
// agrees with nothing (BinaryAccuracy: NaN is above no threshold, so it counts
// as class 0). An empty batch adds nothing.
#pragma once

#include "common.h"

namespace kt::KT_LEVEL {

// y_true == y_pred, y_true already brought to y_pred's dtype.
struct Equal {
  static constexpr bool kCounts = true;
  static constexpr bool kPlain = true;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params&) {
    return y_true == y_pred ? constant<V>(1) : constant<V>(0);
  }
};

// (y_pred > threshold) == y_true
struct BinaryHit {
  static constexpr bool kCounts = true;
  static constexpr bool kPlain = true;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params& params) {
    const V one = constant<V>(1), zero = constant<V>(0);
    const V above = y_pred > constant<V>(params.threshold) ? one : zero;
    return y_true == above ? one : zero;
  }
};

}  // namespace kt::KT_LEVEL
