// What a batch adds to the `total` and `count` of Keras's Mean. Every sample counts
// once, however many values it has; a scalar weight, or values of rank 0, make the
// batch one sample. A value may be the sum of `summed` elements, where others are the
// mean. In float64; an empty batch adds nothing, NaN makes the total NaN.
#pragma once

#include "common.h"

namespace kt {

struct MeanShape {
  double elements = 0, samples = 1, summed = 1;
  bool weighted = false, scalar = false;  // scalar: one weight for the whole batch
  bool sum = false;  // a plain sum; `count` is that of the weights, or of the elements
};

namespace KT_LEVEL {

// `value` and `weight` are the sums over the batch, `scale` the scalar weight.
KT_HOST_DEVICE void mean_parts(const MeanShape& shape, double value, double weight, double scale,
                               double* total, double* count) {
  *total = *count = 0.0;
  if (shape.elements == 0.0) return;
  const double factor = shape.scalar ? scale : 1.0;
  if (shape.sum) {
    *total = value * factor;
    *count = shape.weighted && !shape.scalar ? weight : shape.elements * factor;
    return;
  }
  if (shape.scalar) {
    *total = value / shape.elements * factor * shape.summed;
    *count = factor;
    return;
  }
  const double per_sample = shape.elements / shape.samples;
  *total = value / per_sample * shape.summed;
  *count = shape.weighted ? weight / per_sample : shape.samples;
}

}  // namespace KT_LEVEL
}  // namespace kt
