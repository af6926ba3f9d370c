// Divergences between a label and a probability, one element each, in float64
// whatever the input's dtype. NaN in either input makes the sum NaN; an empty
// batch and elements of zero weight add nothing; clipping keeps all finite.
#pragma once

#include "common.h"
#include "math.h"

namespace kt::KT_LEVEL {

// t = y_true (1 - s) + s / 2 with label smoothing s.
// Probabilities: p = clip(y_pred, lowest, highest); -(t log p + (1 - t) log(1 - p)).
// Logits x:      max(x, 0) - x t + log(1 + e^-|x|), which neither overflows nor
//                cancels for any finite x.
// NaN in either input makes the sum NaN.
struct BinaryCrossentropy {
  static constexpr bool kCounts = false;
  static constexpr bool kPlain = true;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params& params) {
    const V smoothing = constant<V>(params.label_smoothing);
    const V t = y_true * (1.0 - smoothing) + 0.5 * smoothing;
    if (params.from_logits) {
      const V positive = y_pred < V{} ? V{} : y_pred;
      return positive - y_pred * t + log1p_of(exp_of(-absolute(y_pred)));
    }
    const V p = clamp(y_pred, params.lowest, params.highest);
    // Hard labels need one of the two logarithms; the other counts zero times.
    if (Lanes<V>::all((t == 0.0) | (t == 1.0))) return -log_of(t == 1.0 ? p : 1.0 - p);
    return -(t * log_of(p) + (1.0 - t) * log_of(1.0 - p));
  }
};

// The same, scaled by (1 - q)^gamma with q = t p + (1 - t) (1 - p), p unclipped, so that
// 1 - q = t (1 - p) + (1 - t) p: what is easy counts little (Lin et al., 2017). With balanced
// classes also by t alpha + (1 - t) (1 - alpha).
struct BinaryFocalCrossentropy {
  static constexpr bool kCounts = false;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params& params) {
    const V smoothing = constant<V>(params.label_smoothing);
    const V t = y_true * (1.0 - smoothing) + 0.5 * smoothing;
    const V p = params.from_logits ? sigmoid_of(y_pred) : y_pred;
    const V clipped = clamp(p, params.lowest, params.highest);
    const V loss = -(t * log_of(clipped) + (1.0 - t) * log1p_of(-clipped));
    const V missing = t * (1.0 - p) + (1.0 - t) * p;
    const V focal = power_of(missing, params.gamma) * loss;
    const V weight = t * params.alpha + (1.0 - t) * (1.0 - params.alpha);
    return params.balance_classes ? weight * focal : focal;
  }
};

// t log(t / p), both clipped to [epsilon, 1].
struct KLDivergenceTerm {
  static constexpr bool kCounts = false;
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params& params) {
    const V t = clamp(y_true, params.lowest, 1.0), p = clamp(y_pred, params.lowest, 1.0);
    return t * log_of_ratio(t, p, t - p);
  }
};

}  // namespace kt::KT_LEVEL
