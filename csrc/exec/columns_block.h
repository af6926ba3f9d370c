// The columnwise loop: two matrices are walked as they lie, row after row, in
// runs of a whole number of rows whose elements have sums of their own. So short
// rows fill whole vectors as well.
#pragma once

#include "../defs/columns.h"
#include "level.h"
#include "row_value.h"
#include "vec.h"

namespace kt::KT_LEVEL {

template <class Def, bool kPlainFloat32>
KT_HOST_DEVICE void add_columns(F64 t, F64 p, F64 w, I64 in, std::int64_t stride, double* sums) {
  constexpr int kCount = Def::kSums + Def::kLow;
  F64 before[kCount], after[kCount];
  for (int k = 0; k < kCount; ++k) before[k] = after[k] = load_double(sums + k * stride);
  Def::template add<kPlainFloat32>(t, p, w, after);
  for (int k = 0; k < kCount; ++k) store_double(sums + k * stride, in ? after[k] : before[k]);
}

template <class Def, class T>
void columns_block(const T* y_true, const T* y_pred, const double* weight, std::int64_t n,
                   std::int64_t run, std::int64_t stride, double* sums) {
  constexpr int kL = kLanes<double>;
  const F64 one = constant<F64>(1);
  const I64 all = I64{} - 1;
  for (std::int64_t start = 0; start < n; start += run) {
    const std::int64_t end = start + run < n ? start + run : n;
    std::int64_t i = start;
    double* at = sums;
    if (weight == nullptr) {
      for (; i + kL <= end; i += kL, at += kL) {
        add_columns<Def, std::is_same_v<T, float>>(load_double(y_true + i), load_double(y_pred + i),
                                                   one, all, stride, at);
      }
    } else {
      for (; i + kL <= end; i += kL, at += kL) {
        add_columns<Def, false>(load_double(y_true + i), load_double(y_pred + i),
                                load_double(weight + i), all, stride, at);
      }
    }
    if (i == end) continue;
    const auto left = static_cast<std::size_t>(end - i);
    T t[kL] = {}, p[kL] = {};
    double w[kL];
    store(w, one);
    std::memcpy(t, y_true + i, left * sizeof(T));
    std::memcpy(p, y_pred + i, left * sizeof(T));
    if (weight != nullptr) std::memcpy(w, weight + i, left * sizeof(double));
    add_columns<Def, false>(load_double(t), load_double(p), load_double(w),
                            lanes_below(one, end - i), stride, at);
  }
}

// One column of labels that are all 0 or 1, without weights, where one threshold
// makes the predictions: whole numbers, exact in any order. Adds PredictedCells' sums
// to the first lane of each, `stride` apart; false, and nothing added, where a label
// is another number.
template <class T>
bool count_cells(const T* y_true, const T* y_pred, std::int64_t n, const Params& params,
                 std::int64_t stride, double* sums) {
  using V = Vec<T>;
  constexpr int kL = kLanes<T>;
  const V zero = {}, one = constant<V>(1), threshold = zero + static_cast<T>(params.threshold);
  V labels = {}, passed = {}, both = {};
  auto other = one != one;
  std::int64_t i = 0;
  for (; i + kL <= n; i += kL) {
    const V t = load<V>(y_true + i), p = load<V>(y_pred + i) > threshold ? one : zero;
    other |= (t != zero) & (t != one);
    labels += t;
    passed += p;
    both += t * p;
  }
  bool other_in_rest = false;
  double positives = 0.0, above = 0.0, hits = 0.0;
  for (; i < n; ++i) {
    const double p = y_pred[i] > static_cast<T>(params.threshold) ? 1.0 : 0.0;
    const double t = static_cast<double>(y_true[i]);
    other_in_rest |= (y_true[i] != T{0}) & (y_true[i] != T{1});
    positives += t;
    above += p;
    hits += t * p;
  }
  if (other_in_rest || any_lane(other)) return false;
  positives += sum_lanes(labels);
  above += sum_lanes(passed);
  hits += sum_lanes(both);
  const double added[] = {hits, above - hits, positives - hits, positives};
  for (int k = 0; k < 4; ++k) sums[k * stride] += added[k];
  return true;
}

// The sums of each column, from those of the elements of a run, low halves last.
template <class Def>
void fold_columns(const double* lanes, std::int64_t run, std::int64_t stride, std::int64_t columns,
                  double* sums) {
  for (int k = 0; k < Def::kSums; ++k) {
    int low_half = 0;  // 0: it has none
    for (int l = 0; l < Def::kLow; ++l) low_half = Def::kLowOf[l] == k ? Def::kSums + l : low_half;
    for (std::int64_t c = 0; c < columns; ++c) {
      double high = 0.0, low = 0.0;
      for (std::int64_t i = c; i < run; i += columns) {
        const double x = lanes[k * stride + i], sum = high + x;
        low += sum_error(high, x, sum) + (low_half == 0 ? 0.0 : lanes[low_half * stride + i]);
        high = sum;
      }
      sums[k * columns + c] = high;
      if (low_half != 0) sums[low_half * columns + c] = low;
    }
  }
}

// Scores above the threshold or, without one, the row's largest (all that tie,
// except probabilities of zero); NaN is above nothing, and in its row nothing is the largest.
template <class T>
void hits(const T* scores, std::int64_t rows, std::int64_t columns, const Params& params, T* out) {
  if (params.has_threshold) {
    const T threshold = static_cast<T>(params.threshold);
    for (std::int64_t i = 0; i < rows * columns; ++i) out[i] = scores[i] > threshold ? T{1} : T{0};
    return;
  }
  using V = Vec<T>;
  const T none = static_cast<T>(no_score(params));
  for (std::int64_t r = 0; r < rows; ++r) {
    const T* row = scores + r * columns;
    if (columns <= kLanes<T>) {
      const std::int64_t left = (rows - r) * columns;
      const auto in_row = lane_numbers(V{}) < static_cast<Index<V>>(columns);
      const T lowest = static_cast<T>(-__builtin_inf());
      const V v = left >= kLanes<T> ? (in_row ? load<V>(row) : V{} + lowest)
                                    : load_tail<T>(row, columns, lowest);
      const auto largest_here = (v >= max_lane(v)) & (absolute(v) > none);
      // NaN in the row: nothing is the largest.
      const V hit = any_lane(v != v) ? V{} : (largest_here ? constant<V>(1) : V{});
      const std::size_t size = static_cast<std::size_t>(left < kLanes<T> ? columns : kLanes<T>);
      std::memcpy(out + r * columns, &hit, size * sizeof(T));  // the next row comes over it
      continue;
    }
    bool has_nan = false;
    T largest = row_max(row, columns, &has_nan);
    if (has_nan) largest = static_cast<T>(__builtin_inf()) - static_cast<T>(__builtin_inf());
    T* to = out + r * columns;
    for (std::int64_t c = 0; c < columns; ++c) {
      to[c] = ((row[c] >= largest) & (absolute(row[c]) > none)) ? T{1} : T{0};
    }
  }
}

}  // namespace kt::KT_LEVEL
