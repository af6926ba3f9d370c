// Which threshold a score passes. `bin` is the number of thresholds (sorted
// ascending) that lie strictly below the score; a histogram over bins, one for
// each label, gives true/false positives and negatives at every threshold by
// running sums. NaN is above no threshold. Counts are integers and exact;
// weighted cells are float64 sums.
#pragma once

#include "common.h"

namespace kt::KT_LEVEL {

// y_pred > threshold, for one threshold.
struct AboveThreshold {
  template <class V>
  KT_HOST_DEVICE static V value(V y_pred, Scalar<V> threshold) {
    return y_pred > V{} + threshold ? constant<V>(1) : constant<V>(0);
  }
};

// Evenly spaced thresholds i / (T - 1): ceil(clip(p, 0, 1) (T - 1)), in the
// scores' own precision, as Keras computes it.
struct EvenBin {
  template <class V>
  KT_HOST_DEVICE static V scaled(V y_pred, Scalar<V> steps) {
    const V one = constant<V>(1);
    return Lanes<V>::smaller(Lanes<V>::larger(y_pred, V{}), one) * steps;
  }
};

}  // namespace kt::KT_LEVEL
