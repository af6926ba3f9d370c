// Row statistics: each loop over a row of scores, computed only when a
// definition asks for it.
#pragma once

#include "../defs/rows.h"
#include "level.h"
#include "vec.h"

namespace kt::KT_LEVEL {

// The last vector of a row, padded.
template <class T>
KT_HOST_DEVICE Vec<T> load_tail(const T* from, std::int64_t n, T padding) {
  T buffer[kLanes<T>];
  for (int i = 0; i < kLanes<T>; ++i) buffer[i] = padding;
  std::memcpy(buffer, from, static_cast<std::size_t>(n) * sizeof(T));
  return load<Vec<T>>(buffer);
}

template <class T>
T row_max(const T* x, std::int64_t n, bool* has_nan) {
  using V = Vec<T>;
  constexpr int kL = kLanes<T>;
  const T lowest = static_cast<T>(-__builtin_inf());
  V m0 = V{} + lowest, m1 = m0, m2 = m0, m3 = m0;
  auto nan = m0 != m0;
  std::int64_t i = 0;
  for (; i + 4 * kL <= n; i += 4 * kL) {
    const V a = load<V>(x + i), b = load<V>(x + i + kL);
    const V c = load<V>(x + i + 2 * kL), d = load<V>(x + i + 3 * kL);
    m0 = a > m0 ? a : m0;
    m1 = b > m1 ? b : m1;
    m2 = c > m2 ? c : m2;
    m3 = d > m3 ? d : m3;
    nan |= (a != a) | (b != b) | (c != c) | (d != d);
  }
  for (; i < n; i += kL) {
    // The last vector may overlap the one before: a maximum does not mind.
    const V a = i + kL <= n ? load<V>(x + i)
                : n >= kL   ? load<V>(x + n - kL)
                            : load_tail<T>(x, n, lowest);
    m0 = a > m0 ? a : m0;
    nan |= a != a;
  }
  m0 = m1 > m0 ? m1 : m0;
  m2 = m3 > m2 ? m3 : m2;
  m0 = m2 > m0 ? m2 : m0;
  *has_nan = any_lane(nan);
  return max_lane(m0);
}

template <class T>
std::int64_t first_nan(const T* x) {
  std::int64_t i = 0;
  while (x[i] == x[i]) ++i;
  return i;
}

// The first index of the largest score; NaN is the largest.
template <class T>
std::int64_t row_argmax(const T* x, std::int64_t n, std::int64_t readable) {
  using V = Vec<T>;
  constexpr int kL = kLanes<T>;
  if (n < kL) {
    const T lowest = static_cast<T>(-__builtin_inf());
    const auto in_row = lane_numbers(V{}) < static_cast<Index<V>>(n);
    const V v = readable >= kL ? (in_row ? load<V>(x) : V{} + lowest) : load_tail<T>(x, n, lowest);
    const auto nan = v != v;
    return first_lane(any_lane(nan) ? nan : v == max_lane(v));
  }
  if (n <= 2 * kL) {
    // Two vectors that may overlap.
    const V a = load<V>(x), b = load<V>(x + n - kL);
    if (any_lane((a != a) | (b != b))) return first_nan(x);
    const T best = max_lane(larger(a, b));
    const auto hit = a == best;
    return any_lane(hit) ? first_lane(hit) : n - kL + first_lane(b == best);
  }
  bool has_nan = false;
  const T best = row_max(x, n, &has_nan);
  if (has_nan) return first_nan(x);
  std::int64_t i = 0;
  for (; i + 4 * kL <= n; i += 4 * kL) {
    const auto hit = (load<V>(x + i) == best) | (load<V>(x + i + kL) == best) |
                     (load<V>(x + i + 2 * kL) == best) | (load<V>(x + i + 3 * kL) == best);
    if (any_lane(hit)) break;
  }
  while (i + kL <= n && !any_lane(load<V>(x + i) == best)) i += kL;
  while (x[i] != best) ++i;
  return i;
}

// Whether row_argmax(x, n) == index, in one pass that needs no maximum: nothing
// before the index may reach its score, nothing behind it exceed it.
template <class T>
bool row_is_argmax(const T* x, std::int64_t n, std::int64_t index, std::int64_t readable) {
  using V = Vec<T>;
  constexpr int kL = kLanes<T>;
  const T score = x[index];
  if (score != score) return row_argmax(x, n, readable) == index;
  if (n < kL && readable >= kL) {
    // A short row with others behind it: one vector, of which n lanes count.
    const V v = load<V>(x), limit = V{} + score;
    const auto lane = lane_numbers(V{});
    const auto from = (lane - lane) + static_cast<Index<V>>(index);
    const auto size = (lane - lane) + static_cast<Index<V>>(n);
    const auto beaten = ~((v < limit) | ((v == limit) & (lane >= from)) | (lane >= size));
    return !any_lane(beaten);
  }
  if (n < kL) {
    bool beaten = false;
    for (std::int64_t i = 0; i < n; ++i) {
      // Without branches: where the index lies cannot be predicted.
      beaten |= !((x[i] < score) | ((x[i] == score) & (i >= index)));
    }
    return !beaten;
  }
  const V limit = V{} + score;
  auto beaten = limit != limit;
  std::int64_t i = 0;
  for (; i + kL <= index; i += kL) beaten |= ~(load<V>(x + i) < limit);
  // The index lies in this vector, which may be the last, and short.
  const std::int64_t end = i + kL < n ? i + kL : n;
  bool beaten_near = false;
  for (; i < end; ++i) beaten_near |= i < index ? !(x[i] < score) : !(x[i] <= score);
  for (; i + kL <= n; i += kL) beaten |= ~(load<V>(x + i) <= limit);
  for (; i < n; ++i) beaten_near |= !(x[i] <= score);
  return !beaten_near && !any_lane(beaten);
}

template <class T>
double row_rank(const T* x, std::int64_t n, T score) {
  using V = Vec<T>;
  constexpr int kL = kLanes<T>;
  if (n < kL) {
    double above = 0;
    for (std::int64_t i = 0; i < n; ++i) above += x[i] <= score ? 0.0 : 1.0;
    return above;
  }
  V count = {};
  double total = 0;
  std::int64_t i = 0, since = 0;
  for (; i < n; i += kL) {
    const V a = i + kL <= n ? load<V>(x + i) : load_tail<T>(x + i, n - i, score);
    count += a <= score ? V{} : constant<V>(1);
    if (++since == 1 << 20) {  // a float lane counts exactly to 2^24
      total += sum_lanes(count);
      count = V{};
      since = 0;
    }
  }
  // A NaN score pads its own tail: those lanes are no classes.
  total += sum_lanes(count);
  if (score != score) total = static_cast<double>(n);
  return total;
}

// log(sum(e^x)) - of - shift, with the shift that keeps e^x in range.
template <class T>
double log_sum_exp(const T* x, std::int64_t n, double shift) {
  F64 acc[2] = {};
  std::int64_t i = 0;
  int a = 0;
  for (; i < n; i += kLanes<double>, a ^= 1) {
    F64 v;
    if (i + kLanes<double> <= n) {
      v = load_double(x + i);
    } else {
      T buffer[kLanes<double>];
      for (int lane = 0; lane < kLanes<double>; ++lane) {
        buffer[lane] = i + lane < n ? x[i + lane] : static_cast<T>(-__builtin_inf());
      }
      v = load_double(buffer);
    }
    acc[a] += exp_of(v - shift);
  }
  const F64 sum = F64{} + sum_lanes(acc[0] + acc[1]);
  return log_of(sum)[0];
}

template <class T>
double row_sum(const T* x, std::int64_t n) {
  F64 acc[2] = {};
  int a = 0;
  for (std::int64_t i = 0; i < n; i += kLanes<double>, a ^= 1) {
    T buffer[kLanes<double>] = {};
    const T* from = x + i;
    if (i + kLanes<double> > n) {
      std::memcpy(buffer, from, static_cast<std::size_t>(n - i) * sizeof(T));
      from = buffer;
    }
    acc[a] += load_double(from);
  }
  return sum_lanes(acc[0] + acc[1]);
}

KT_HOST_DEVICE double log_one(double x) { return log_of(F64{} + x)[0]; }

// What must be subtracted from a logit to get its log-probability.
template <class T>
double log_normaliser(const T* x, std::int64_t n) {
  bool has_nan = false;
  const double top = static_cast<double>(row_max(x, n, &has_nan));
  if (has_nan) return __builtin_nan("");
  return top + log_sum_exp(x, n, top);
}

template <class T>
double sparse_log_loss(const T* x, std::int64_t n, std::int64_t label, const Params& params) {
  const double score = static_cast<double>(x[label]);
  if (params.from_logits) return log_normaliser(x, n) - score;
  const double p = score / row_sum(x, n);
  return -log_one(clamp(p, params.lowest, params.highest));
}

// With kFocal each term is scaled by alpha (1 - p)^gamma.
template <bool kFocal, class T>
double dense_log_loss(const T* x, const T* targets, std::int64_t n, const Params& params) {
  const double smoothing = params.label_smoothing;
  const double floor = smoothing / static_cast<double>(n);
  const double shift = params.from_logits ? log_normaliser(x, n) : 0.0;
  const double sum = params.from_logits ? 1.0 : row_sum(x, n);
  const bool finite = sum - sum == 0.0;
  F64 acc = {};
  for (std::int64_t i = 0; i < n; i += kLanes<double>) {
    const std::int64_t left = n - i;
    T scores[kLanes<double>] = {}, wanted[kLanes<double>] = {};
    const T* from = x + i;
    const T* target = targets + i;
    if (left < kLanes<double>) {
      std::memcpy(scores, from, static_cast<std::size_t>(left) * sizeof(T));
      std::memcpy(wanted, target, static_cast<std::size_t>(left) * sizeof(T));
      from = scores;
      target = wanted;
    }
    const F64 v = load_double(from);
    const F64 t = load_double(target) * (1.0 - smoothing) + floor;
    // Of a one-hot row one vector counts; the others would add zeros.
    if (!params.from_logits && finite && !any_lane(t != 0.0)) continue;
    F64 term;
    if constexpr (kFocal) {
      const F64 p =
          clamp(params.from_logits ? exp_of(v - shift) : v / sum, params.lowest, params.highest);
      term = t * log_of(p) * (params.alpha * power_of(1.0 - p, params.gamma));
    } else {
      term = t * (params.from_logits ? v - shift
                                     : log_of(clamp(v / sum, params.lowest, params.highest)));
    }
    acc += lanes_below(left) ? term : F64{};
  }
  return -sum_lanes(acc);
}

// Calls each(t, p, lanes that count) over two rows, eight elements at a time;
// the lanes that do not count hold numbers of no meaning.
template <class T, class Each>
KT_HOST_DEVICE void for_pairs(const T* t, std::int64_t t_readable, const T* p,
                              std::int64_t p_readable, std::int64_t n, Each&& each) {
  constexpr int kL = kLanes<double>;
  std::int64_t i = 0;
  for (; i + kL <= n; i += kL) each(load_double(t + i), load_double(p + i), I64{} - 1);
  if (i == n) return;
  const auto mask = lanes_below(n - i);
  if (i + kL <= t_readable && i + kL <= p_readable) {
    each(load_double(t + i), load_double(p + i), mask);
    return;
  }
  T t_rest[kL] = {}, p_rest[kL] = {};
  std::memcpy(t_rest, t + i, static_cast<std::size_t>(n - i) * sizeof(T));
  std::memcpy(p_rest, p + i, static_cast<std::size_t>(n - i) * sizeof(T));
  each(load_double(t_rest), load_double(p_rest), mask);
}

template <unsigned kNeeds, class T>
KT_HOST_DEVICE void compare_rows(const T* t, std::int64_t t_readable, const T* p,
                                 std::int64_t p_readable, std::int64_t n, RowStats* stats) {
  const auto pairs = [&](auto&& each) { for_pairs(t, t_readable, p, p_readable, n, each); };
  const F64 zero = {};
  if constexpr ((kNeeds & kDots) != 0) {
    F64 tt = {}, pp = {}, tp = {};
    pairs([&](F64 a, F64 b, I64 in) {
      tt += in ? a * a : zero;
      pp += in ? b * b : zero;
      tp += in ? a * b : zero;
    });
    stats->true_square = sum_lanes(tt);
    stats->pred_square = sum_lanes(pp);
    stats->product = sum_lanes(tp);
  }
  if constexpr ((kNeeds & kMoments) != 0) {
    // Distances from the first element: rows of equal values have no variance,
    // and a large mean costs no digits.
    const double size = static_cast<double>(n);
    const double t0 = static_cast<double>(t[0]), p0 = static_cast<double>(p[0]);
    F64 t_sum = {}, p_sum = {};
    pairs([&](F64 a, F64 b, I64 in) {
      t_sum += in ? a - t0 : zero;
      p_sum += in ? b - p0 : zero;
    });
    const double t_mean = sum_lanes(t_sum) / size, p_mean = sum_lanes(p_sum) / size;
    F64 tt = {}, pp = {}, tp = {};
    pairs([&](F64 a, F64 b, I64 in) {
      const F64 u = in ? (a - t0) - t_mean : zero, v = in ? (b - p0) - p_mean : zero;
      tt += u * u;
      pp += v * v;
      tp += u * v;
    });
    stats->mean_difference = (t0 - p0) + (t_mean - p_mean);
    stats->true_variance = sum_lanes(tt) / size;
    stats->pred_variance = sum_lanes(pp) / size;
    stats->covariance = sum_lanes(tp) / size;
  }
  if constexpr ((kNeeds & kHingeTerms) != 0) {
    const F64 lowest = zero - kInfinity;
    F64 inside = {}, outside = lowest;
    pairs([&](F64 a, F64 b, I64 in) {
      inside += in ? a * b : zero;
      outside = larger(in ? (1.0 - a) * b : lowest, outside);
    });
    stats->inside = sum_lanes(inside);
    stats->outside = max_lane(outside);
  }
}

// Truncation towards zero; NaN and what int64 cannot hold become -1.
KT_HOST_DEVICE std::int64_t to_index(double label) {
  return label > -9.2e18 && label < 9.2e18 ? static_cast<std::int64_t>(label) : -1;
}

template <class T>
struct OneRow {
  const T* scores;
  std::int64_t readable;
  const T* targets;
  std::int64_t targets_readable;
  double label;
};

template <class Def, class T>
KT_HOST_DEVICE double row_value(const OneRow<T>& row, const Rows& rows, const Params& params,
                                bool* bad_label) {
  const T* scores = row.scores;
  const std::int64_t n = rows.classes;
  RowStats stats;
  stats.label = row.label;
  if constexpr ((Def::kNeeds & kTrueArgmax) != 0) {
    stats.label =
        static_cast<double>(row_argmax(row.targets, rows.targets_size, row.targets_readable));
  }
  const std::int64_t index = to_index(stats.label);
  if constexpr ((Def::kNeeds & (kLabelInRange | kRankOfTrue)) != 0) {
    if (index < 0 || index >= n) {
      *bad_label = true;
      return 0.0;
    }
  }
  if constexpr ((Def::kNeeds & kTrueIsArgmax) != 0) {
    const bool is_class = static_cast<double>(index) == stats.label && index >= 0 && index < n;
    stats.true_is_argmax = is_class && row_is_argmax(scores, n, index, row.readable);
  }
  if constexpr ((Def::kNeeds & kRankOfTrue) != 0) {
    const T score = scores[index];
    stats.true_is_nan = score != score;
    stats.rank = row_rank(scores, n, score);
  }
  if constexpr ((Def::kNeeds & kFoundInFirstK) != 0) {
    const std::int64_t limit = params.k < n ? params.k : n;
    for (std::int64_t i = 0; i < limit; ++i) {
      stats.found |= static_cast<double>(scores[i]) == stats.label;
    }
  }
  if constexpr ((Def::kNeeds & kSparseLogLoss) != 0) {
    stats.log_loss = sparse_log_loss(scores, n, index, params);
  }
  if constexpr ((Def::kNeeds & (kDenseLogLoss | kFocalLoss)) != 0) {
    constexpr bool kFocal = (Def::kNeeds & kFocalLoss) != 0;
    stats.log_loss = dense_log_loss<kFocal>(scores, row.targets, n, params);
  }
  compare_rows<Def::kNeeds>(row.targets, row.targets_readable, scores, row.readable, n, &stats);
  return Def::value(stats, params);
}

template <class Def, class T>
std::int64_t rows_block(const Rows& rows, const Params& params, double* values) {
  std::int64_t first_bad = -1;
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const double label = rows.labels == nullptr ? 0.0 : rows.labels[r];
    if (params.has_ignore_class && label == params.ignore_class) {
      values[r] = 0.0;
      continue;
    }
    bool bad_label = false;
    const std::int64_t offset = r * rows.stride, target_offset = r * rows.targets_stride;
    const OneRow<T> row = {static_cast<const T*>(rows.scores) + offset, rows.readable - offset,
                           static_cast<const T*>(rows.targets) + target_offset,
                           rows.targets_readable - target_offset, label};
    values[r] = row_value<Def>(row, rows, params, &bad_label);
    if (bad_label && first_bad < 0) first_bad = r;
  }
  return first_bad;
}

template <class T>
void argmax_block(const Rows& rows, double* indices) {
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const std::int64_t offset = r * rows.stride;
    indices[r] = static_cast<double>(row_argmax(static_cast<const T*>(rows.scores) + offset,
                                                rows.classes, rows.readable - offset));
  }
}

}  // namespace kt::KT_LEVEL
