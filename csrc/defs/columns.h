// What one element adds to the running sums of its column, in float64: y_true t,
// y_pred p, weight w. Sums of whole numbers are exact to 2^53 within a batch and
// beyond it in the state. NaN makes its column's sums NaN; an empty batch adds
// nothing. Where a difference of sums matters, some are unevaluated pairs of doubles:
// after the kSums sums follow kLow low halves, the l-th that of sum kLowOf[l].
// kPlainFloat32 promises that inputs come from float32 and all weights are 1.
#pragma once

#include "common.h"
#include "math.h"

namespace kt::KT_LEVEL {

// A probability of no more than this is zero, and predicts nothing even where it is a
// row's largest; logits have no such number.
KT_HOST_DEVICE double no_score(const Params& params) { return params.from_logits ? -1.0 : 1e-9; }

// What R2 is made of: sum(w t^2), sum(w t), sum(w (t - p)^2), sum(w). The variance
// is made of all but the third, and a large mean cancels it: these are exact to
// about 2^-100.
struct SquaredDeviations {
  static constexpr int kSums = 4;
  static constexpr int kLow = 3;
  static constexpr int kLowOf[kLow] = {0, 1, 3};
  static constexpr bool kCountsHits = false;
  template <bool kPlainFloat32, class V>
  KT_HOST_DEVICE static void add(V y_true, V y_pred, V weight, V* sums) {
    const V error = y_true - y_pred;
    if constexpr (kPlainFloat32) {
      // Squares of float32 are exact, and so are the weights, all 1.
      add_pair(sums[0], sums[4], y_true * y_true, V{});
      add_pair(sums[1], sums[5], y_true, V{});
      sums[2] += error * error;
      sums[3] += weight;
      return;
    }
    const V weighted = y_true * weight;
    const V weighted_rest = product_error(y_true, weight, weighted);
    const V square = y_true * weighted;
    const V square_rest = product_error(y_true, weighted, square) + y_true * weighted_rest;
    add_pair(sums[0], sums[4], square, square_rest);
    add_pair(sums[1], sums[5], weighted, weighted_rest);
    sums[2] += error * error * weight;
    add_pair(sums[3], sums[6], weight, V{});
  }

 private:
  template <class V>
  KT_HOST_DEVICE static void add_pair(V& high, V& low, V x, V rest) {
    const V sum = high + x;
    low += sum_error(high, x, sum) + rest;
    high = sum;
  }
};

// What precision and recall are made of, for labels t in [0, 1] and predictions
// p that are 0 or 1: sum(w p t), sum(w p (1 - t)), sum(w (1 - p) t), sum(w t).
struct PredictedCells {
  static constexpr int kSums = 4;
  static constexpr int kLow = 0;
  static constexpr int kLowOf[3] = {};  // unused
  static constexpr bool kCountsHits = true;
  template <bool kPlainFloat32, class V>
  KT_HOST_DEVICE static void add(V y_true, V predicted, V weight, V* sums) {
    const V one = constant<V>(1);
    sums[0] += predicted * y_true * weight;
    sums[1] += predicted * (one - y_true) * weight;
    sums[2] += (one - predicted) * y_true * weight;
    sums[3] += y_true * weight;
  }
};

}  // namespace kt::KT_LEVEL
