// The one header that a definition of your own includes:
//
//   #include <keras_tally/definition.h>
//
// THE CONTRACT. A definition says what one pair (y_true, y_pred) is worth. It is compiled
// once for each SIMD level of the CPU, where V is a vector of doubles (or of floats, see
// kCounts), and once for CUDA, where V is one double or float:
//
//   namespace kt::KT_LEVEL {         // each level has a namespace of its own: yours too
//
//   struct QuantileError {
//     // true: every value is 0 or 1. Float32 batches are then computed in float32, whose
//     // sums of zeros and ones are exact within a block. Else all is float64.
//     static constexpr bool kCounts = false;
//
//     template <class V>
//     KT_HOST_DEVICE static V value(V y_true, V y_pred, const Params& params) {
//       const V q = constant<V>(params.arguments[0]);
//       ...
//     }
//   };
//
//   }  // namespace kt::KT_LEVEL
//
// 1. No loops, threads, memory, global variables, calls of the C library. Whoever needs
//    a loop is writing an executor.
// 2. No branch on data: `condition ? a : b`, arithmetic and comparisons mean the same
//    lane by lane on vectors, and both sides are computed. Conditions are joined by & and
//    |. A branch on `params` is fine.
// 3. Arithmetic is +, -, *, /; numbers become vectors by constant<V>(x). Beside it there
//    are absolute(x), clamp(x, low, high), Lanes<V>::larger(a, b) and smaller(a, b) from
//    defs/common.h; where kCounts is false, also log_of, log1p_of, exp_of, sigmoid_of and
//    power_of from defs/math.h, which give the same bits at every level.
// 4. `params.arguments` holds up to kMaxArguments numbers, those that the metric's
//    `kernel_arguments()` returns. `params.lowest` and `params.highest` are Keras's epsilon
//    and 1 - epsilon in the precision of y_pred.
// 5. A NaN that comes in goes out, so that it shows in the result. `x < low ? low : x` lets
//    it through; `x > low ? x : low` hides it.
// 6. There is nothing to do for empty batches (no value is asked for) and for weights (the
//    executor multiplies; as in Keras, 0 times NaN is NaN). But the last vector of a batch
//    is filled up with zeros: value(0, 0) may be computed and thrown away, so it must be
//    harmless, though not meaningful.
// 7. Values are computed and, within a batch, added in float64, in an order that depends
//    on the batch's size alone; the running sum keeps twice as many bits.
//
// The header of a definition states formula, input -> accumulator -> result, what NaN, an
// empty batch and zero weight do, and when it could overflow. docs/cpp.md has the rest.
#pragma once

#include "defs/common.h"
#include "defs/math.h"
