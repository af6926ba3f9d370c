// What one element adds to the sums of its column, in float64: y_true t, y_pred p,
// weight w. Sums of whole numbers are exact to 2^53 within a batch and beyond it
// in the state. NaN makes its column's sums NaN; an empty batch adds nothing.
#pragma once

#include "common.h"

namespace kt::KT_LEVEL {

// What R2 is made of: sum(w t^2), sum(w t), sum(w (t - p)^2), sum(w).
struct SquaredDeviations {
  static constexpr int kSums = 4;
  static constexpr bool kCountsHits = false;
  template <class V>
  KT_HOST_DEVICE static void add(V y_true, V y_pred, V weight, V* sums) {
    const V weighted = y_true * weight, error = y_true - y_pred;
    sums[0] += y_true * weighted;
    sums[1] += weighted;
    sums[2] += error * error * weight;
    sums[3] += weight;
  }
};

// What precision and recall are made of, for labels t in [0, 1] and predictions
// p that are 0 or 1: sum(w p t), sum(w p (1 - t)), sum(w (1 - p) t), sum(w t).
struct PredictedCells {
  static constexpr int kSums = 4;
  static constexpr bool kCountsHits = true;
  template <class V>
  KT_HOST_DEVICE static void add(V y_true, V predicted, V weight, V* sums) {
    const V one = constant<V>(1);
    sums[0] += predicted * y_true * weight;
    sums[1] += predicted * (one - y_true) * weight;
    sums[2] += (one - predicted) * y_true * weight;
    sums[3] += y_true * weight;
  }
};

}  // namespace kt::KT_LEVEL
