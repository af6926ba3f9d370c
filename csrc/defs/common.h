// What every definition is written with: one source for CPU vectors and for
// CUDA threads. A definition is a template over V, which is a vector of floats
// or doubles on the CPU and one float or double on a GPU. The rules:
//
// 1. No loops, threads, memory, global variables, calls of the C library. Whoever
//    needs a loop is writing an executor.
// 2. No branch on data: `condition ? a : b`, arithmetic and comparisons mean the
//    same lane by lane on both, and both sides are computed. Conditions are joined
//    by & and |. A branch on `params` is fine.
// 3. Numbers become vectors by constant<V>(x).
// 4. A NaN that comes in goes out, so that it shows in the result. `x < low ? low : x`
//    lets it through; `x > low ? x : low` hides it.
// 5. Empty batches ask for no value, and weights are the executor's. But the last
//    vector of a batch is filled up with zeros: value(0, 0) may be computed and
//    thrown away, so it must be harmless.
// 6. kCounts: every value is 0 or 1. Float32 batches are then computed in float32,
//    whose sums of zeros and ones are exact within a block. Else all is float64.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

// On a GPU: loops over arrays that are to stay in registers, and loops of which one copy
// is enough.
#if defined(__CUDA_ARCH__)
#define KT_UNROLL _Pragma("unroll")
#define KT_NO_UNROLL _Pragma("unroll 1")
#else
#define KT_UNROLL
#define KT_NO_UNROLL
#endif

// KT_SCALAR: one element at a time, with the logarithms of the platform.
#if defined(__CUDACC__)
#define KT_SCALAR
#define KT_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define KT_HOST_DEVICE inline __attribute__((always_inline))
#endif

// Every SIMD level compiles the definitions once more, each in a namespace of
// its own, so that an inline helper can never link to another level's copy.
#ifndef KT_LEVEL
#define KT_LEVEL shared
#endif

namespace kt {

// Class ids whose samples are left out.
struct Ignored {
  static constexpr int kMost = 8;
  int count = 0;
  double ids[kMost] = {};

  // Inlined, or a level might link to another level's copy.
  __attribute__((always_inline)) KT_HOST_DEVICE bool has(double label) const {
    return is(0, label) | is(1, label) | is(2, label) | is(3, label) | is(4, label) | is(5, label) |
           is(6, label) | is(7, label);
  }
  __attribute__((always_inline)) bool operator==(const Ignored&) const = default;

 private:
  __attribute__((always_inline)) KT_HOST_DEVICE bool is(int i, double label) const {
    return (i < count) & (label == ids[i]);
  }
};

// Configuration of one metric, fixed when the metric is created.
struct Params {
  double threshold = 0.5;
  double label_smoothing = 0.0;
  // epsilon and 1 - epsilon in the precision of the scores: what probabilities
  // are clipped to, and what keeps divisors and logarithms away from 0.
  double lowest = 1e-7;
  double highest = 1.0 - 1e-7;
  double smallest_norm = 0.0;  // shorter rows are divided by this instead
  double alpha = 0.25;         // focal cross-entropy: weight of the positive class
  double gamma = 2.0;          // and the power of what is missing to certainty
  bool balance_classes = false;
  bool zero_one_labels = false;  // hinge: the labels are 0 and 1, not -1 and 1
  bool has_threshold = false;    // F-scores: else a row's largest scores count
  bool from_logits = false;
  bool from_sorted_ids = false;
  Ignored ignored;
  std::int64_t k = 5;

  // Inlined, or a level might link to another level's copy.
  __attribute__((always_inline)) bool operator==(const Params&) const = default;
};

namespace KT_LEVEL {

template <class V>
struct ScalarOf {
  using type = V;
};
template <class V>
using Scalar = typename ScalarOf<V>::type;

template <class V>
KT_HOST_DEVICE V constant(double value) {
  return V{} + static_cast<Scalar<V>>(value);
}

// What vectors do better than lane by lane; exec/vec.h specialises it for them.
template <class V>
struct Lanes {
  KT_HOST_DEVICE static V absolute(V x) { return x < V{} ? -x : x; }
  KT_HOST_DEVICE static bool all(bool condition) { return condition; }
  // b where one of them is NaN.
  KT_HOST_DEVICE static V larger(V a, V b) { return a > b ? a : b; }
  KT_HOST_DEVICE static V smaller(V a, V b) { return a < b ? a : b; }
  KT_HOST_DEVICE static V root(V x) { return std::sqrt(x); }
  // A function of numbers, lane by lane.
  template <class Function>
  KT_HOST_DEVICE static V each(V x, Function&& function) {
    return function(x);
  }
  template <class Function>
  KT_HOST_DEVICE static V each(V a, V b, Function&& function) {
    return function(a, b);
  }
};

template <class V>
KT_HOST_DEVICE V absolute(V x) {
  return Lanes<V>::absolute(x);
}

// Clamping that lets NaN through.
template <class V>
KT_HOST_DEVICE V clamp(V x, Scalar<V> low, Scalar<V> high) {
  const V lo = V{} + low, hi = V{} + high;
  x = x < lo ? lo : x;
  return x > hi ? hi : x;
}

// Whether the CUDA loop over plain batches (cuda/plain.h) knows a definition: those of few
// instructions say so, and those for which it has a way of its own.
template <class Def>
constexpr bool has_plain_loop() {
  if constexpr (requires { Def::kPlain; }) return Def::kPlain;
  return false;
}

// Truncation towards zero; `otherwise` where no 64-bit integer holds it, and for NaN.
KT_HOST_DEVICE std::int64_t to_int64(double x, std::int64_t otherwise) {
  return x > -9.2e18 && x < 9.2e18 ? static_cast<std::int64_t>(x) : otherwise;
}

}  // namespace KT_LEVEL
}  // namespace kt
