// The elementwise loop: a definition over one block, summed in fixed lanes. The
// lanes of a block are added to the chunk's, which are reduced once a chunk.
#pragma once

#include "vec.h"

namespace kt::KT_LEVEL {

// Four accumulators keep four additions in flight; their number is part of the
// result's definition, so it never changes with the level.
constexpr int kAccumulators = kBlockLanes / kLanes<double>;

KT_HOST_DEVICE void add_lanes(const F64* acc, double* lanes) {
  for (int a = 0; a < kAccumulators; ++a) {
    double* at = lanes + a * kLanes<double>;
    store_double(at, load_double(at) + acc[a]);
  }
}

template <class Def, class T>
void sum_as_double(const T* y_true, const T* y_pred, std::int64_t n, const Params& params,
                   double* lanes) {
  constexpr int kStep = kLanes<double> * kAccumulators;
  F64 acc[kAccumulators] = {};
  std::int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    for (int a = 0; a < kAccumulators; ++a) {
      const std::int64_t at = i + a * kLanes<double>;
      acc[a] +=
          Def::template value<F64>(load_double(y_true + at), load_double(y_pred + at), params);
    }
  }
  if (i < n) {
    T t[kStep] = {}, p[kStep] = {};
    std::memcpy(t, y_true + i, static_cast<std::size_t>(n - i) * sizeof(T));
    std::memcpy(p, y_pred + i, static_cast<std::size_t>(n - i) * sizeof(T));
    for (int a = 0; a < kAccumulators; ++a) {
      const int at = a * kLanes<double>;
      const F64 v = Def::template value<F64>(load_double(t + at), load_double(p + at), params);
      acc[a] += lanes_below(n - i - at) ? v : F64{};
    }
  }
  add_lanes(acc, lanes);
}

// Zeros and ones: exact in the input's own precision within a block.
template <class Def>
void sum_as_counts(const float* y_true, const float* y_pred, std::int64_t n, const Params& params,
                   double* lanes) {
  constexpr int kStep = kLanes<float> * 2;
  F32 acc[2] = {};
  std::int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    for (int a = 0; a < 2; ++a) {
      const std::int64_t at = i + a * kLanes<float>;
      acc[a] += Def::template value<F32>(load<F32>(y_true + at), load<F32>(y_pred + at), params);
    }
  }
  if (i < n) {
    float t[kStep] = {}, p[kStep] = {};
    std::memcpy(t, y_true + i, static_cast<std::size_t>(n - i) * sizeof(float));
    std::memcpy(p, y_pred + i, static_cast<std::size_t>(n - i) * sizeof(float));
    for (int a = 0; a < 2; ++a) {
      const int at = a * kLanes<float>;
      const F32 v = Def::template value<F32>(load<F32>(t + at), load<F32>(p + at), params);
      acc[a] += lanes_below_32(n - i - at) ? v : F32{};
    }
  }
  float counts[kStep];
  std::memcpy(counts, acc, sizeof(acc));
  F64 wide[kAccumulators];
  for (int a = 0; a < kAccumulators; ++a) wide[a] = load_double(counts + a * kLanes<double>);
  add_lanes(wide, lanes);
}

template <class Def, class T>
void sum_weighted(const T* y_true, const T* y_pred, const double* weight, std::int64_t n,
                  const Params& params, double* lanes) {
  constexpr int kStep = kLanes<double> * kAccumulators;
  F64 acc[kAccumulators] = {}, total[kAccumulators] = {};
  for (std::int64_t i = 0; i < n; i += kStep) {
    const std::int64_t left = n - i < kStep ? n - i : kStep;
    T t[kStep] = {}, p[kStep] = {};
    double w[kStep] = {};
    const T *ti = y_true + i, *pi = y_pred + i;
    const double* wi = weight + i;
    if (left < kStep) {
      std::memcpy(t, ti, static_cast<std::size_t>(left) * sizeof(T));
      std::memcpy(p, pi, static_cast<std::size_t>(left) * sizeof(T));
      std::memcpy(w, wi, static_cast<std::size_t>(left) * sizeof(double));
      ti = t, pi = p, wi = w;
    }
    for (int a = 0; a < kAccumulators; ++a) {
      const int at = a * kLanes<double>;
      const F64 wa = load_double(wi + at);
      const F64 v = Def::template value<F64>(load_double(ti + at), load_double(pi + at), params);
      acc[a] += lanes_below(left - at) ? wa * v : F64{};
      total[a] += wa;
    }
  }
  add_lanes(acc, lanes);
  add_lanes(total, lanes + kBlockLanes);
}

template <class Def, class T>
void elementwise_block(const void* y_true, const void* y_pred, const double* weight, std::int64_t n,
                       const Params& params, double* lanes) {
  const T* t = static_cast<const T*>(y_true);
  const T* p = static_cast<const T*>(y_pred);
  if (weight != nullptr) {
    sum_weighted<Def, T>(t, p, weight, n, params, lanes);
  } else if constexpr (Def::kCounts && std::is_same_v<T, float>) {
    sum_as_counts<Def>(t, p, n, params, lanes);
  } else {
    sum_as_double<Def, T>(t, p, n, params, lanes);
  }
}

}  // namespace kt::KT_LEVEL
