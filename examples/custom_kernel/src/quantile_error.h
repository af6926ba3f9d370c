// THE TEMPLATE TO COPY: one definition, from which the compiler makes a kernel for every
// SIMD level of the CPU and for CUDA. <keras_tally/definition.h> states the contract.
//
// The quantile ("pinball") error: y_true, y_pred -> one non-negative number, computed in
// float64 from any dtype and summed in float64. With e = y_true - y_pred and the quantile q:
//   q e        where the prediction is too low  (e >= 0),
//   (q - 1) e  where it is too high             (e < 0).
// Predictions of the q-quantile of y_true have the least expected error. NaN in either
// input makes the sum NaN; an empty batch and elements of zero weight add nothing. It
// overflows only where e does (1.8e308).
// Source: R. Koenker and G. Bassett, "Regression Quantiles", Econometrica 46 (1978).
#pragma once

#include <keras_tally/definition.h>

// The namespace is a macro: each SIMD level compiles this file once more, and no inline
// function of one level may be linked to another's.
namespace kt::KT_LEVEL {

// The name that the row in CMakeLists.txt says.
struct QuantileError {
  // Whether all values are 0 or 1, as those of an accuracy: then float32 batches are
  // computed in float32, twice as many at a time.
  static constexpr bool kCounts = false;

  // V is a vector of doubles on the CPU, one double on a GPU. The labels come first, as
  // in Keras.
  template <class V>
  KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params& params) {
    // What `kernel_arguments()` of the Python class returns, in its order.
    const V q = constant<V>(params.arguments[0]);
    const V error = y_true - y_pred;
    // Both sides are computed, and one is chosen lane by lane. A NaN fails the comparison
    // and takes the second side, which is NaN as well.
    return error >= constant<V>(0) ? q * error : (q - constant<V>(1)) * error;
  }
};

}  // namespace kt::KT_LEVEL
