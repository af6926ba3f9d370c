// The elementwise loop: a definition over one block, summed in fixed lanes. The
// lanes of a block are added to the chunk's, which are reduced once a chunk.
#pragma once

#include "blocks.h"
#include "vec.h"

namespace kt::KT_LEVEL {

// As many registers as make kBlockLanes lanes, at every level.
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
      acc[a] += lanes_below(v, n - i - at) ? v : F64{};
    }
  }
  add_lanes(acc, lanes);
}

// Zeros and ones: exact in the input's own precision within a block.
template <class Def>
void sum_as_counts(const float* y_true, const float* y_pred, std::int64_t n, const Params& params,
                   double* lanes) {
  constexpr int kStep = kBlockLanes, kRegisters = kStep / kLanes<float>;
  F32 acc[kRegisters] = {};
  std::int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    for (int a = 0; a < kRegisters; ++a) {
      const std::int64_t at = i + a * kLanes<float>;
      acc[a] += Def::template value<F32>(load<F32>(y_true + at), load<F32>(y_pred + at), params);
    }
  }
  if (i < n) {
    float t[kStep] = {}, p[kStep] = {};
    std::memcpy(t, y_true + i, static_cast<std::size_t>(n - i) * sizeof(float));
    std::memcpy(p, y_pred + i, static_cast<std::size_t>(n - i) * sizeof(float));
    for (int a = 0; a < kRegisters; ++a) {
      const int at = a * kLanes<float>;
      const F32 v = Def::template value<F32>(load<F32>(t + at), load<F32>(p + at), params);
      acc[a] += lanes_below(v, n - i - at) ? v : F32{};
    }
  }
  float counts[kStep];
  std::memcpy(counts, acc, sizeof(acc));
  F64 wide[kAccumulators];
  for (int a = 0; a < kAccumulators; ++a) wide[a] = load_double(counts + a * kLanes<double>);
  add_lanes(wide, lanes);
}

// Sums of w v, and of w.
inline void weighted_sum(const double* values, const double* weight, std::int64_t n,
                         double* lanes) {
  constexpr int kStep = kLanes<double> * kAccumulators;
  F64 acc[kAccumulators] = {}, total[kAccumulators] = {};
  const auto step = [&](const double* v, const double* w) {
    for (int a = 0; a < kAccumulators; ++a) {
      const F64 wa = load_double(w + a * kLanes<double>);
      acc[a] += wa * load_double(v + a * kLanes<double>);
      total[a] += wa;
    }
  };
  std::int64_t i = 0;
  for (; i + kStep <= n; i += kStep) step(values + i, weight + i);
  if (i < n) {
    double v[kStep] = {}, w[kStep] = {};
    std::memcpy(v, values + i, static_cast<std::size_t>(n - i) * sizeof(double));
    std::memcpy(w, weight + i, static_cast<std::size_t>(n - i) * sizeof(double));
    step(v, w);
  }
  add_lanes(acc, lanes);
  add_lanes(total, lanes + kBlockLanes);
}

template <class Def, class T>
void sum_block(const T* y_true, const T* y_pred, std::int64_t n, const Params& params,
               double* lanes) {
  if constexpr (Def::kCounts && std::is_same_v<T, float>) {
    sum_as_counts<Def>(y_true, y_pred, n, params, lanes);
  } else {
    sum_as_double<Def, T>(y_true, y_pred, n, params, lanes);
  }
}

template <class Def, class T>
void values_block(const T* y_true, const T* y_pred, std::int64_t n, const Params& params,
                  double* values) {
  constexpr int kL = kLanes<double>;
  std::int64_t i = 0;
  for (; i + kL <= n; i += kL) {
    store_double(values + i, Def::template value<F64>(load_double(y_true + i),
                                                      load_double(y_pred + i), params));
  }
  if (i < n) {
    T t[kL] = {}, p[kL] = {};
    double v[kL];
    const auto left = static_cast<std::size_t>(n - i);
    std::memcpy(t, y_true + i, left * sizeof(T));
    std::memcpy(p, y_pred + i, left * sizeof(T));
    store_double(v, Def::template value<F64>(load_double(t), load_double(p), params));
    std::memcpy(values + i, v, left * sizeof(double));
  }
}

template <class Def>
constexpr ElementwiseBlocks blocks_of() {
  return {{sum_block<Def, float>, values_block<Def, float>},
          {sum_block<Def, double>, values_block<Def, double>},
          Def::kCounts};
}

inline void sum_each_row(const double* values, std::int64_t rows, std::int64_t width, double scale,
                         double* sums) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const double* row = values + r * width;
    Eight acc = {};
    std::int64_t i = 0;
    for (; i + kEight <= width; i += kEight) acc += load_eight(row + i);
    double rest = 0.0;
    const double whole = i > 0 ? sum_lanes(acc) : 0.0;
    for (; i < width; ++i) rest += row[i];
    sums[r] = (whole + rest) * scale;
  }
}

template <class T>
bool zero_or_one(const T* x, std::int64_t n) {
  using V = Vec<T>;
  constexpr int kL = kLanes<T>;
  const V one = constant<V>(1);
  auto other = one != one;
  std::int64_t i = 0;
  for (; i + kL <= n; i += kL) {
    const V v = load<V>(x + i);
    other |= (v != V{}) & (v != one);
  }
  bool other_in_rest = false;
  for (; i < n; ++i) other_in_rest |= (x[i] != T{0}) & (x[i] != T{1});
  return !other_in_rest && !any_lane(other);
}

}  // namespace kt::KT_LEVEL
