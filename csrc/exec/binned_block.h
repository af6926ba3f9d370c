// The binned loops: where each score falls among the thresholds.
#pragma once

#include "../defs/confusion.h"
#include "level.h"
#include "vec.h"

namespace kt::KT_LEVEL {

// One threshold. Unweighted: three sums of zeros and ones, exact in T within a
// block, give the four cells. Weighted: each cell is summed directly.
template <class T>
void threshold_cells(const T* y_true, const T* y_pred, const double* weight, std::int64_t n,
                     double threshold, double* cells) {
  using V = Vec<T>;
  constexpr int kL = kLanes<T>;
  const T level = static_cast<T>(threshold);
  if (weight != nullptr) {
    for (std::int64_t i = 0; i < n; ++i) {
      const int above = y_pred[i] > level ? 0 : 2;
      cells[above + (y_true[i] != T{0} ? 0 : 1)] += weight[i];
    }
    // The order of the cells is TP, FP, FN, TN.
    return;
  }
  V labels = {}, passed = {}, both = {};
  std::int64_t i = 0;
  for (; i + kL <= n; i += kL) {
    const V t = load<V>(y_true + i) != V{} ? constant<V>(1) : V{};
    const V p = AboveThreshold::value<V>(load<V>(y_pred + i), level);
    labels += t;
    passed += p;
    both += t * p;
  }
  double positives = sum_lanes(labels), above = sum_lanes(passed), hits = sum_lanes(both);
  for (; i < n; ++i) {
    const double t = y_true[i] != T{0} ? 1.0 : 0.0, p = y_pred[i] > level ? 1.0 : 0.0;
    positives += t;
    above += p;
    hits += t * p;
  }
  cells[0] += hits;
  cells[1] += above - hits;
  cells[2] += positives - hits;
  cells[3] += static_cast<double>(n) - positives - above + hits;
}

template <class T>
bool any_weighted_nan(const T* y_pred, const double* weight, std::int64_t n) {
  bool found = false;
  for (std::int64_t i = 0; i < n; ++i) {
    found |= (y_pred[i] != y_pred[i]) & (weight == nullptr || weight[i] != 0.0);
  }
  return found;
}

// The smallest integer that is not less; of numbers that int32 holds.
KT_HOST_DEVICE I32 ceil_to_int(F32 x) {
#if KT_REGISTER == 64
  return (I32)_mm512_maskz_cvt_roundps_epi32(0xffff, (__m512)x,
                                             _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
#else
  // As truncation plus a comparison.
  const I32 whole = __builtin_convertvector(x, I32);
  return whole - (x > __builtin_convertvector(whole, F32));
#endif
}

KT_HOST_DEVICE I32 even_bins_of(F32 y_true, F32 y_pred, float steps, std::int32_t lowest) {
  I32 bin = ceil_to_int(EvenBin::scaled(y_pred, steps));
#if KT_REGISTER == 64
  bin = (I32)_mm512_maskz_max_epi32(0xffff, (__m512i)bin, (__m512i)(I32{} + lowest));
  bin += bin;
  const __mmask16 label = _mm512_cmp_ps_mask((__m512)y_true, _mm512_setzero_ps(), _CMP_NEQ_UQ);
  return (I32)_mm512_mask_add_epi32((__m512i)bin, label, (__m512i)bin, _mm512_set1_epi32(1));
#else
  bin = bin < lowest ? I32{} + lowest : bin;
  const I32 label = y_true != F32{};
  return bin * 2 - label;  // a true lane is -1
#endif
}

template <class T>
bool even_bins(const T* y_true, const T* y_pred, const double* weight, std::int64_t n,
               std::int64_t thresholds, bool first_always_passed, std::int32_t* bins) {
  const T steps = static_cast<T>(thresholds - 1);
  const std::int32_t lowest = first_always_passed ? 1 : 0;
  std::int64_t i = 0;
  bool nan = false;
  if constexpr (std::is_same_v<T, float>) {
    auto nans = F32{} != F32{};
    for (; i + kLanes<float> <= n; i += kLanes<float>) {
      const F32 p = load<F32>(y_pred + i);
      nans |= p != p;
      const I32 packed = even_bins_of(load<F32>(y_true + i), p, steps, lowest);
      std::memcpy(bins + i, &packed, sizeof(packed));
    }
    nan = any_lane(nans);
  }
  for (; i < n; ++i) {
    const T p = y_pred[i];
    nan |= p != p;
    const T scaled = EvenBin::scaled<T>(p, steps);
    std::int32_t bin = static_cast<std::int32_t>(scaled);
    bin += scaled > static_cast<T>(bin) ? 1 : 0;
    bin = bin < lowest ? lowest : bin;
    bins[i] = bin * 2 + (y_true[i] != T{0} ? 1 : 0);
  }
  return nan && any_weighted_nan(y_pred, weight, n);
}

// The bins of the next few vectors are computed while those of the last are
// counted: the arithmetic, the increments and the memory all work at once.
inline bool count_even(const float* y_true, const float* y_pred, std::int64_t n,
                       std::int64_t thresholds, bool first_always_passed, std::uint32_t* tables,
                       std::int64_t size) {
  constexpr int kVectors = 4;
  constexpr int kStep = kVectors * kLanes<float>;
  const float steps = static_cast<float>(thresholds - 1);
  const std::int32_t lowest = first_always_passed ? 1 : 0;
  std::uint32_t* table[kCountTables];
  for (int t = 0; t < kCountTables; ++t) table[t] = tables + t * size;
  alignas(64) std::int32_t bins[2][kStep];
  auto nans = F32{} != F32{};
  const std::int64_t steps_of_data = n / kStep;
  for (std::int64_t step = 0; step <= steps_of_data; ++step) {
    if (step < steps_of_data) {
      for (int v = 0; v < kVectors; ++v) {
        const std::int64_t at = step * kStep + v * kLanes<float>;
        const F32 p = load<F32>(y_pred + at);
        nans |= p != p;
        const I32 packed = even_bins_of(load<F32>(y_true + at), p, steps, lowest);
        std::memcpy(bins[step & 1] + v * kLanes<float>, &packed, sizeof(packed));
      }
    }
    if (step > 0) {
      const std::int32_t* last = bins[(step - 1) & 1];
#pragma GCC unroll 64
      for (int i = 0; i < kStep; ++i) ++table[i % kCountTables][last[i]];
    }
  }
  const std::int64_t done = steps_of_data * kStep;
  const bool nan_in_rest = even_bins<float>(y_true + done, y_pred + done, nullptr, n - done,
                                            thresholds, first_always_passed, bins[0]);
  for (std::int64_t i = 0; i < n - done; ++i) ++table[0][bins[0][i]];
  return any_lane(nans) || nan_in_rest;
}

// Running sums from the lowest bin up count what does not pass a threshold; the
// rest of the total does.
inline void cells_of_counts(const std::uint32_t* counts, std::int64_t thresholds, double* cells) {
  constexpr int kSpan = 64;
  std::uint32_t all[2] = {0, 0};
  for (std::int64_t bin = 0; bin <= thresholds; ++bin) {
    all[0] += counts[2 * bin];
    all[1] += counts[2 * bin + 1];
  }
  double* tp = cells;
  double* fp = tp + thresholds;
  double* fn = fp + thresholds;
  double* tn = fn + thresholds;
  std::uint32_t below[2] = {0, 0};
  std::uint32_t running[2][kSpan];
  for (std::int64_t start = 0; start < thresholds; start += kSpan) {
    const std::int64_t left = thresholds - start;
    const int span = static_cast<int>(left < kSpan ? left : kSpan);
    const std::uint32_t* from = counts + 2 * start;
    for (int i = 0; i < span; ++i) {
      running[0][i] = below[0] += from[2 * i];
      running[1][i] = below[1] += from[2 * i + 1];
    }
    for (int i = 0; i < span; ++i) {
      tp[start + i] = static_cast<double>(all[1] - running[1][i]);
      fp[start + i] = static_cast<double>(all[0] - running[0][i]);
      fn[start + i] = static_cast<double>(running[1][i]);
      tn[start + i] = static_cast<double>(running[0][i]);
    }
  }
}

constexpr std::int64_t kShortList = 31;

template <class T>
bool listed_bins(const T* y_true, const T* y_pred, const double* weight, std::int64_t n,
                 const T* thresholds, std::int64_t count, std::int32_t* bins) {
  // A lower bound without branches (how many thresholds lie below the score),
  // eight scores side by side so that their look-ups overlap.
  constexpr int kSide = 8;
  bool nan = false;
  std::int64_t i = 0;
  if constexpr (std::is_same_v<T, float>) {
    // Short lists: compare with each.
    auto nans = F32{} != F32{};
    for (; count <= kShortList && i + kLanes<float> <= n; i += kLanes<float>) {
      const F32 p = load<F32>(y_pred + i);
      nans |= p != p;
      I32 bin = {};
      for (std::int64_t t = 0; t < count; ++t) bin -= p > thresholds[t];
      const I32 label = load<F32>(y_true + i) != F32{};
      const I32 packed = bin * 2 - label;  // a true lane is -1
      std::memcpy(bins + i, &packed, sizeof(packed));
    }
    nan = any_lane(nans);
  }
  for (; i < n; i += kSide) {
    const int left = static_cast<int>(n - i < kSide ? n - i : kSide);
    T score[kSide] = {};
    std::int32_t low[kSide] = {};
    for (int s = 0; s < left; ++s) {
      score[s] = y_pred[i + s];
      nan |= score[s] != score[s];
    }
    for (std::int64_t half = (count + 1) / 2; half > 0; half /= 2) {
      for (int s = 0; s < kSide; ++s) {
        const bool above = score[s] > thresholds[low[s] + half - 1];
        low[s] += static_cast<std::int32_t>(half) & -static_cast<std::int32_t>(above);
      }
    }
    for (int s = 0; s < left; ++s) bins[i + s] = low[s] * 2 + (y_true[i + s] != T{0} ? 1 : 0);
  }
  return nan && any_weighted_nan(y_pred, weight, n);
}

}  // namespace kt::KT_LEVEL
