// Row statistics: each loop over a row of scores, computed only when a
// definition asks for it.
#pragma once

#include <type_traits>

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
    m0 = larger(a, m0);
    m1 = larger(b, m1);
    m2 = larger(c, m2);
    m3 = larger(d, m3);
    nan |= (a != a) | (b != b) | (c != c) | (d != d);
  }
  for (; i < n; i += kL) {
    // The last vector may overlap the one before: a maximum does not mind.
    const V a = i + kL <= n ? load<V>(x + i)
                : n >= kL   ? load<V>(x + n - kL)
                            : load_tail<T>(x, n, lowest);
    m0 = larger(a, m0);
    nan |= a != a;
  }
  m0 = larger(larger(m1, m0), larger(m3, m2));
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
    // Two vectors that may overlap; without branches, since where the largest lies
    // cannot be predicted.
    const V a = load<V>(x), b = load<V>(x + n - kL);
    const T best = max_lane(larger(a, b));
    const auto lanes = [&](auto in_a, auto in_b) {
      return lane_bits(in_a) | static_cast<std::uint64_t>(lane_bits(in_b)) << (n - kL);
    };
    const std::uint64_t nan = lanes(a != a, b != b), hit = lanes(a == best, b == best);
    return __builtin_ctzll(nan != 0 ? nan : hit);
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

// Rows whose elements have a bit each.
constexpr std::int64_t kShortRow = 64;
KT_HOST_DEVICE bool is_short(std::int64_t n, std::int64_t readable, int lanes) {
  return n > 0 && n <= kShortRow && (n >= lanes || readable >= lanes);
}

// A bit for each element of a short row that passes a test.
template <class T, class Test>
KT_HOST_DEVICE std::uint64_t bits_of_short_row(const T* x, std::int64_t n, Test&& test) {
  constexpr int kL = kLanes<T>;
  // The last vector may overlap the one before, or the next row, whose bits do not count.
  const std::int64_t last = n > kL ? n - kL : 0;
  const auto bits_at = [&](std::int64_t i) {
    return static_cast<std::uint64_t>(lane_bits(test(load<Vec<T>>(x + i)))) << i;
  };
  std::uint64_t bits = bits_at(last);
  for (std::int64_t i = 0; i < last; i += kL) bits |= bits_at(i);
  return bits & (~std::uint64_t{0} >> (kShortRow - n));
}

// row_argmax of four short rows, `stride` apart, without branches: where the largest lies
// cannot be predicted. False where there is a NaN.
template <bool kOneVector, class T>
[[gnu::always_inline]] inline bool argmax_of_four(const T* x, std::int64_t stride, std::int64_t n,
                                                  double* indices) {
  using V = Vec<T>;
  constexpr int kL = kLanes<T>;
  // The last vector of a row may overlap the one before.
  const std::int64_t last = kOneVector ? 0 : n - kL;
  const V lowest = V{} - static_cast<T>(__builtin_inf());
  const auto in_row = lane_numbers(V{}) < static_cast<Index<V>>(n);
  V largest[4];
  auto nan = lowest != lowest;
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) {
    V all = load<V>(x + r * stride + last);
    if (kOneVector) all = in_row ? all : lowest;
    nan |= all != all;
    for (std::int64_t i = 0; i < last; i += kL) {
      const V v = load<V>(x + r * stride + i);
      nan |= v != v;
      all = larger(v, all);
    }
    largest[r] = all;
  }
  if (any_lane(nan)) return false;
  T best[4];
  max_lanes(largest, best);
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) {
    const V wanted = V{} + best[r];
    std::uint64_t hits =
        static_cast<std::uint64_t>(equal_lanes(load<V>(x + r * stride + last), wanted)) << last;
    for (std::int64_t i = 0; i < last; i += kL) {
      hits |= static_cast<std::uint64_t>(equal_lanes(load<V>(x + r * stride + i), wanted)) << i;
    }
    indices[r] = static_cast<double>(__builtin_ctzll(hits));
  }
  return true;
}

// row_argmax of `count` rows.
template <class T>
void argmax_rows(const T* x, std::int64_t stride, std::int64_t count, std::int64_t n,
                 std::int64_t readable, double* indices) {
  constexpr int kL = kLanes<T>;
  for (std::int64_t r = 0; r < count; r += 4) {
    const T* row = x + r * stride;
    const std::int64_t left = readable - r * stride, rows = count - r < 4 ? count - r : 4;
    const bool in_memory = n >= kL || (left >= kL && left - 3 * stride >= kL);
    if (rows == 4 && n <= kShortRow && in_memory &&
        (n <= kL ? argmax_of_four<true>(row, stride, n, indices + r)
                 : argmax_of_four<false>(row, stride, n, indices + r))) {
      continue;
    }
    for (std::int64_t i = 0; i < rows; ++i) {
      indices[r + i] = static_cast<double>(row_argmax(row + i * stride, n, left - i * stride));
    }
  }
}

// Whether row_argmax(x, n) == index, in one pass that needs no maximum: nothing
// before the index may reach its score, nothing behind it exceed it.
template <class T>
[[gnu::always_inline]] inline bool row_is_argmax(const T* x, std::int64_t n, std::int64_t index,
                                                 std::int64_t readable) {
  using V = Vec<T>;
  constexpr int kL = kLanes<T>;
  const T score = x[index];
  if (score != score) return row_argmax(x, n, readable) == index;
  const V limit = V{} + score;
  const auto lane = lane_numbers(V{});
  const auto beaten_from = [&](const T* at, std::int64_t first) {
    const V v = load<V>(at);
    const auto from = (lane - lane) + static_cast<Index<V>>(index - first);
    return ~((v < limit) | ((v == limit) & (lane >= from)));
  };
  if (n < kL && readable >= kL) {
    // A short row with others behind it: one vector, of which n lanes count.
    const auto size = (lane - lane) + static_cast<Index<V>>(n);
    return !any_lane(beaten_from(x, 0) & (lane < size));
  }
  if (n < kL) {
    bool beaten = false;
    for (std::int64_t i = 0; i < n; ++i) {
      // Without branches: where the index lies cannot be predicted.
      beaten |= !((x[i] < score) | ((x[i] == score) & (i >= index)));
    }
    return !beaten;
  }
  auto beaten = limit != limit;
  std::int64_t i = 0;
  for (; i + kL <= index; i += kL) beaten |= ~(load<V>(x + i) < limit);
  // The index lies in this vector; the last one may overlap others.
  const std::int64_t near = i + kL <= n ? i : n - kL;
  beaten |= beaten_from(x + near, near);
  for (i += kL; i + kL <= n; i += kL) beaten |= ~(load<V>(x + i) <= limit);
  if (i < n) beaten |= beaten_from(x + n - kL, n - kL);
  return !any_lane(beaten);
}

template <class T>
[[gnu::always_inline]] inline double row_rank(const T* x, std::int64_t n, std::int64_t readable,
                                              T score) {
  using V = Vec<T>;
  constexpr int kL = kLanes<T>;
  if (is_short(n, readable, kL)) {
    const auto above = [&](V v) { return ~(v <= V{} + score); };
    return static_cast<double>(__builtin_popcountll(bits_of_short_row(x, n, above)));
  }
  if (n < kL) {
    double above = 0;
    for (std::int64_t i = 0; i < n; ++i) above += x[i] <= score ? 0.0 : 1.0;
    return above;
  }
  V count = {};
  double total = 0;
  std::int64_t i = 0, since = 0;
  for (; i + kL <= n; i += kL) {
    count += load<V>(x + i) <= score ? V{} : constant<V>(1);
    if (++since == 1 << 20) {  // a float lane counts exactly to 2^24
      total += sum_lanes(count);
      count = V{};
      since = 0;
    }
  }
  if (i < n) {
    // The last vector overlaps the one before, whose classes are counted.
    const auto lane = lane_numbers(V{});
    const auto counted = (lane - lane) + static_cast<Index<V>>(kL - (n - i));
    const auto left_out = (load<V>(x + n - kL) <= score) | (lane < counted);
    count += left_out ? V{} : constant<V>(1);
  }
  return total + sum_lanes(count);
}

// Adds e^(v - top), but counts those that are 1, which what the others add to 1 would be
// lost beside.
KT_HOST_DEVICE void add_exponentials(Eight v, Eight top, Eight& sum, Eight& ones) {
  const auto is_top = v == top;
  sum = select(is_top, sum, sum + exp_of(v - top));
  ones = select(is_top, ones + 1.0, ones);
}

// What the scores below the largest add to sum(e^(x - largest)), and those that equal it
// but for one. The largest is NaN where a score is.
template <class T>
void exponentials_of_row(const T* x, std::int64_t n, double* largest, double* others) {
  bool has_nan = false;
  const double top = static_cast<double>(row_max(x, n, &has_nan));
  Eight sum[2] = {}, ones = {};
  std::int64_t i = 0;
  int a = 0;
  for (; i + 2 * kEight <= n; i += 2 * kEight) {
    add_exponentials(load_eight(x + i), Eight{} + top, sum[0], ones);
    add_exponentials(load_eight(x + i + kEight), Eight{} + top, sum[1], ones);
  }
  for (; i + kEight <= n; i += kEight) {
    add_exponentials(load_eight(x + i), Eight{} + top, sum[a++], ones);
  }
  if (i < n) {
    T rest[kEight];
    for (int lane = 0; lane < kEight; ++lane) {
      rest[lane] = i + lane < n ? x[i + lane] : static_cast<T>(-__builtin_inf());
    }
    add_exponentials(load_eight(rest), Eight{} + top, sum[a], ones);
  }
  *largest = has_nan ? __builtin_nan("") : top;
  *others = sum_lanes(sum[0] + sum[1]) + (sum_lanes(ones) - 1.0);
}

// Rows of which eight are looked at side by side.
constexpr std::int64_t kNarrowRow = 16;

// The same of up to eight narrow rows.
template <class T>
void exponentials_of_rows(const T* x, std::int64_t stride, int count, std::int64_t n,
                          double* largest, double* others) {
  T columns[kNarrowRow * kEight];
  for (int r = 0; r < kEight; ++r) {
    const T* row = x + (r < count ? r * stride : 0);
    for (std::int64_t c = 0; c < n; ++c) columns[c * kEight + r] = row[c];
  }
  Eight top = load_eight(columns), sum = {}, ones = {};
  auto nan = top != top;
  for (std::int64_t c = 1; c < n; ++c) {
    const Eight v = load_eight(columns + c * kEight);
    nan = nan | (v != v);
    top = larger(v, top);
  }
  for (std::int64_t c = 0; c < n; ++c) {
    add_exponentials(load_eight(columns + c * kEight), top, sum, ones);
  }
  store_eight(largest, select(nan, Eight{} + __builtin_nan(""), top));
  store_eight(others, sum + (ones - 1.0));
}

// NaN where a score is NaN or the largest is infinite.
template <class T>
void normalise_rows(const T* x, std::int64_t stride, int count, std::int64_t n,
                    Normaliser* normalisers) {
  for (int start = 0; start < count; start += kEight) {
    const T* rows = x + start * stride;
    const int size = count - start < kEight ? count - start : kEight;
    double largest[kEight], others[kEight] = {};
    if (n > 0 && n <= kNarrowRow) {
      exponentials_of_rows(rows, stride, size, n, largest, others);
    } else {
      for (int r = 0; r < size; ++r) {
        exponentials_of_row(rows + r * stride, n, largest + r, others + r);
      }
    }
    for (int r = 0; r < kEight; r += kLanes<double>) {
      store(others + r, log1p_of(load<F64>(others + r)));
    }
    for (int r = 0; r < size; ++r) {
      const bool finite = largest[r] - largest[r] == 0.0;
      normalisers[start + r] =
          finite ? Normaliser{largest[r], others[r]} : Normaliser{__builtin_nan(""), 0.0};
    }
  }
}

template <class T>
KT_HOST_DEVICE double row_sum(const T* x, std::int64_t n, std::int64_t readable) {
  Eight acc = {};
  std::int64_t i = 0;
  for (; i + kEight <= n; i += kEight) acc += load_eight(x + i);
  if (i < n) {
    T buffer[kEight] = {};
    const T* from = x + i;
    if (i + kEight > readable) {
      std::memcpy(buffer, from, static_cast<std::size_t>(n - i) * sizeof(T));
      from = buffer;
    }
    acc += select(eight_below(n - i), load_eight(from), Eight{});
  }
  return sum_lanes(acc);
}

// NaN where a score is.
template <class T>
double max_probability(const T* x, std::int64_t n, const Params& params,
                       const Normaliser& normaliser) {
  bool has_nan = false;
  const double top = static_cast<double>(row_max(x, n, &has_nan));
  if (has_nan) return __builtin_nan("");
  if (!params.from_logits) return top;
  return exp_of(F64{} + log_probability(top, normaliser))[0];
}

template <class T>
struct OneRow {
  const T* scores;
  std::int64_t readable;
  const T* targets;
  std::int64_t targets_readable;
  double label;                  // of kTrueArgmax, the argmax of the targets
  const double* argmax;          // of kTrueIsArgmax, where the row is short
  const Normaliser* normaliser;  // of kNormalised
};

// log_loss = log_loss - log_factor log(log_argument), for as many rows as a register holds.
KT_HOST_DEVICE void add_logarithms(RowStats* stats) {
  constexpr int kL = kLanes<double>;
  double argument[kL], factor[kL], loss[kL];
  for (int i = 0; i < kL; ++i) {
    argument[i] = stats[i].log_argument;
    factor[i] = stats[i].log_factor;
    loss[i] = stats[i].log_loss;
  }
  const F64 f = load_double(factor);
  const F64 term = f * log_of(load_double(argument));
  store_double(loss, load_double(loss) - (f == 0.0 ? F64{} : term));
  for (int i = 0; i < kL; ++i) stats[i].log_loss = loss[i];
}

template <class T>
void sparse_log_loss(const T* x, std::int64_t n, std::int64_t readable, std::int64_t label,
                     const Params& params, RowStats* stats) {
  const double score = static_cast<double>(x[label]);
  if (params.from_logits) {
    stats->log_loss = -log_probability(score, stats->normaliser);
    return;
  }
  stats->log_argument = clamp(score / row_sum(x, n, readable), params.lowest, params.highest);
  stats->log_factor = 1.0;
}

// Calls each(t, p, lanes that count) over a row's targets and scores, eight at a
// time; the lanes that do not count hold numbers of no meaning.
template <class T, class Each>
KT_HOST_DEVICE void for_pairs(const OneRow<T>& row, std::int64_t n, Each&& each) {
  const T *t = row.targets, *p = row.scores;
  std::int64_t i = 0;
  for (; i + kEight <= n; i += kEight) {
    each(load_eight(t + i), load_eight(p + i), eight_below(kEight));
  }
  if (i == n) return;
  const auto mask = eight_below(n - i);
  if (i + kEight <= row.targets_readable && i + kEight <= row.readable) {
    each(load_eight(t + i), load_eight(p + i), mask);
    return;
  }
  T t_rest[kEight] = {}, p_rest[kEight] = {};
  std::memcpy(t_rest, t + i, static_cast<std::size_t>(n - i) * sizeof(T));
  std::memcpy(p_rest, p + i, static_cast<std::size_t>(n - i) * sizeof(T));
  each(load_eight(t_rest), load_eight(p_rest), mask);
}

// Of a finite row with one target other than 0, one probability is looked at; false where
// the row is not of that kind.
template <class T>
KT_HOST_DEVICE bool one_hot_log_loss(const OneRow<T>& row, std::int64_t n, const Params& params,
                                     RowStats* stats) {
  using V = Vec<T>;
  constexpr int kL = kLanes<T>;
  if (params.label_smoothing != 0.0) return false;
  std::int64_t hot = -1;
  const bool bits_at_once = is_short(n, row.targets_readable, kL);
  if (bits_at_once) {
    const std::uint64_t found = bits_of_short_row(row.targets, n, [](V t) { return t != V{}; });
    if ((found & (found - 1)) != 0) return false;
    if (found != 0) hot = __builtin_ctzll(found);
  }
  for (std::int64_t i = 0; i < n && !bits_at_once; i += kL) {
    const std::int64_t left = n - i;
    const V t = i + kL <= row.targets_readable ? load<V>(row.targets + i)
                                               : load_tail<T>(row.targets + i, left, T{0});
    const unsigned in_row = left >= kL ? ~0u : (1u << left) - 1u;
    const unsigned found = lane_bits(t != V{}) & in_row;
    if (found == 0) continue;
    if (hot >= 0 || (found & (found - 1)) != 0) return false;
    hot = i + __builtin_ctz(found);
  }
  const double total = row_sum(row.scores, n, row.readable);
  if (hot < 0 || total - total != 0.0) return false;
  const double target = static_cast<double>(row.targets[hot]);
  const double score = static_cast<double>(row.scores[hot]);
  if (params.from_logits) {
    stats->log_loss = -(target * log_probability(score, stats->normaliser));
  } else {
    stats->log_argument = clamp(score / total, params.lowest, params.highest);
    stats->log_factor = target;
  }
  return true;
}

// With kFocal each term is scaled by alpha (1 - p)^gamma.
template <bool kFocal, class T>
double dense_log_loss(const OneRow<T>& row, std::int64_t n, const Params& params,
                      const Normaliser& shift) {
  const double smoothing = params.label_smoothing;
  const double floor = smoothing / static_cast<double>(n);
  const double sum = params.from_logits ? 1.0 : row_sum(row.scores, n, row.readable);
  const bool finite = sum - sum == 0.0;
  Eight acc = {};
  for_pairs(row, n, [&](Eight wanted, Eight v, Bits<Eight> in) {
    const Eight t = wanted * (1.0 - smoothing) + floor;
    // Of a one-hot row one vector counts; the others would add zeros.
    if (!params.from_logits && finite && !any_lane(in & (t != 0.0))) return;
    acc += select(in, log_loss_term<kFocal>(t, v, sum, shift, params.from_logits, params), Eight{});
  });
  return -sum_lanes(acc);
}

// `needs` is a std::integral_constant, of which only what is named is compiled, or
// a number.
template <class Needs, class T>
KT_HOST_DEVICE void compare_rows(Needs needs, const OneRow<T>& row, std::int64_t n,
                                 RowStats* stats) {
  const auto pairs = [&](auto&& each) { for_pairs(row, n, each); };
  using Mask = Bits<Eight>;
  const Eight zero = {};
  if ((needs & kDots) != 0) {
    Eight tt = {}, pp = {}, tp = {};
    pairs([&](Eight a, Eight b, Mask in) {
      tt += select(in, a * a, zero);
      pp += select(in, b * b, zero);
      tp += select(in, a * b, zero);
    });
    double sums[3];
    sum_lanes(tt, pp, tp, sums);
    stats->true_square = sums[0];
    stats->pred_square = sums[1];
    stats->product = sums[2];
  }
  if ((needs & kMoments) != 0) {
    // Distances from the first element: rows of equal values have no variance,
    // and a large mean costs no digits.
    const double size = static_cast<double>(n);
    const double t0 = static_cast<double>(row.targets[0]);
    const double p0 = static_cast<double>(row.scores[0]);
    Eight t_sum = {}, p_sum = {};
    pairs([&](Eight a, Eight b, Mask in) {
      t_sum += select(in, a - t0, zero);
      p_sum += select(in, b - p0, zero);
    });
    double sums[3];
    sum_lanes(t_sum, p_sum, zero, sums);
    const double t_mean = sums[0] * (1.0 / size), p_mean = sums[1] * (1.0 / size);
    Eight tt = {}, pp = {}, tp = {};
    pairs([&](Eight a, Eight b, Mask in) {
      const Eight u = select(in, (a - t0) - t_mean, zero), v = select(in, (b - p0) - p_mean, zero);
      tt += u * u;
      pp += v * v;
      tp += u * v;
    });
    stats->mean_difference = (t0 - p0) + (t_mean - p_mean);
    sum_lanes(tt, pp, tp, sums);
    stats->true_variance = sums[0] * (1.0 / size);
    stats->pred_variance = sums[1] * (1.0 / size);
    stats->covariance = sums[2] * (1.0 / size);
  }
  if ((needs & kHingeTerms) != 0) {
    const Eight lowest = zero - kInfinity;
    Eight inside = {}, outside = lowest;
    pairs([&](Eight a, Eight b, Mask in) {
      inside += select(in, a * b, zero);
      outside = larger(select(in, (1.0 - a) * b, lowest), outside);
    });
    stats->inside = sum_lanes(inside);
    stats->outside = max_lane(outside);
  }
}

// The statistics of one row that `needs` names.
template <class Needs, class T>
KT_HOST_DEVICE void row_stats(Needs needs, const OneRow<T>& row, const Rows& rows,
                              const Params& params, RowStats* stats) {
  const T* scores = row.scores;
  const std::int64_t n = rows.classes;
  stats->label = row.label;
  const std::int64_t index = to_int64(stats->label, -1);
  stats->usable_label = index >= 0 && index < n;
  if ((needs & kTrueIsArgmax) != 0 && n <= kShortRow) {
    stats->true_is_argmax = *row.argmax == row.label;
  } else if ((needs & kTrueIsArgmax) != 0) {
    const bool is_class = static_cast<double>(index) == stats->label && stats->usable_label;
    stats->true_is_argmax = is_class && row_is_argmax(scores, n, index, row.readable);
  }
  if ((needs & kRankOfTrue) != 0 && stats->usable_label) {
    const T score = scores[index];
    stats->true_is_nan = score != score;
    stats->rank = row_rank(scores, n, row.readable, score);
  }
  if ((needs & kFoundInFirstK) != 0) {
    stats->found = false;
    const std::int64_t limit = params.k < n ? params.k : n;
    for (std::int64_t i = 0; i < limit; ++i) {
      stats->found |= static_cast<double>(scores[i]) == stats->label;
    }
  }
  stats->normaliser = {};
  if ((needs & kNormalised) != 0 && params.from_logits) stats->normaliser = *row.normaliser;
  if ((needs & kSparseLogLoss) != 0 && stats->usable_label) {
    sparse_log_loss(scores, n, row.readable, index, params, stats);
  }
  if ((needs & kDenseLogLoss) != 0) {
    if (!one_hot_log_loss(row, n, params, stats)) {
      stats->log_loss = dense_log_loss<false>(row, n, params, stats->normaliser);
    }
  }
  if ((needs & kFocalLoss) != 0) {
    stats->log_loss = dense_log_loss<true>(row, n, params, stats->normaliser);
  }
  if ((needs & kMaxProbability) != 0) {
    stats->max_probability = max_probability(scores, n, params, stats->normaliser);
  }
  compare_rows(needs, row, n, stats);
}

// A few rows, whose labels, argmax and normalisers are looked for together.
template <class T>
class SomeRows {
 public:
  static constexpr int kMost = 32;

  template <class Needs>
  KT_HOST_DEVICE SomeRows(Needs needs, const Rows& rows, const Params& params, std::int64_t start)
      : size(static_cast<int>(rows.count - start < kMost ? rows.count - start : kMost)),
        rows_(rows),
        scores_(static_cast<const T*>(rows.scores) + start * rows.stride),
        targets_(static_cast<const T*>(rows.targets) + start * rows.targets_stride),
        readable_(rows.readable - start * rows.stride),
        targets_readable_(rows.targets_readable - start * rows.targets_stride),
        labels_(rows.labels == nullptr ? nullptr : rows.labels + start) {
    if ((needs & kTrueArgmax) != 0) {
      argmax_rows(targets_, rows.targets_stride, size, rows.targets_size, targets_readable_,
                  own_labels_);
      labels_ = own_labels_;
    }
    if ((needs & kTrueIsArgmax) != 0 && rows.classes <= kShortRow) {
      argmax_rows(scores_, rows.stride, size, rows.classes, readable_, argmax_);
    }
    if ((needs & kNormalised) != 0 && params.from_logits) {
      normalise_rows(scores_, rows.stride, size, rows.classes, normalisers_);
    }
  }

  KT_HOST_DEVICE OneRow<T> operator[](std::int64_t r) const {
    const std::int64_t offset = r * rows_.stride, target_offset = r * rows_.targets_stride;
    return {scores_ + offset,
            readable_ - offset,
            targets_ + target_offset,
            targets_readable_ - target_offset,
            labels_ == nullptr ? 0.0 : label(r),
            argmax_ + r,
            normalisers_ + r};
  }
  KT_HOST_DEVICE double label(std::int64_t r) const { return labels_[r]; }
  KT_HOST_DEVICE double argmax(std::int64_t r) const { return argmax_[r]; }

  const int size;

 private:
  const Rows& rows_;
  const T* const scores_;
  const T* const targets_;
  const std::int64_t readable_, targets_readable_;
  const double* labels_;
  double own_labels_[kMost];
  // Filled where somebody needs them.
  double argmax_[kMost];
  Normaliser normalisers_[kMost];
};

// Calls each(start, n, statistics, which rows to ignore) for a few rows at a time:
// logarithms, and whatever definitions do with statistics, are computed for several
// rows side by side.
template <class T, class Needs, class Each>
KT_HOST_DEVICE void for_row_stats(Needs needs, const Rows& rows, const Params& params,
                                  Each&& each) {
  constexpr int kSide = SomeRows<T>::kMost;
  for (std::int64_t start = 0; start < rows.count; start += kSide) {
    const SomeRows<T> some(needs, rows, params, start);
    RowStats stats[kSide];  // filled as far as somebody needs them
    bool ignored[kSide] = {};
    const bool logs = (needs & (kSparseLogLoss | kDenseLogLoss)) != 0;
    if (logs) {
      for (RowStats& row : stats) row.log_loss = row.log_factor = 0.0, row.log_argument = 1.0;
    }
    for (int i = 0; i < some.size; ++i) {
      const OneRow<T> row = some[i];
      if (params.ignored.has(row.label)) {
        ignored[i] = true;
        continue;
      }
      row_stats(needs, row, rows, params, &stats[i]);
    }
    if (logs) {
      for (int i = 0; i < some.size; i += kLanes<double>) add_logarithms(stats + i);
    }
    each(start, some.size, stats, ignored);
  }
}

// Ignored rows, and those whose label cannot be used, have the value 0; returns the
// first of the latter, or -1.
template <class Value>
KT_HOST_DEVICE std::int64_t take_values(bool needs_label, std::int64_t start, int n,
                                        const RowStats* stats, const bool* ignored,
                                        const Params& params, double* values, Value value) {
  std::int64_t first_bad = -1;
  for (int i = 0; i < n; ++i) {
    const bool bad = needs_label && !ignored[i] && !stats[i].usable_label;
    if (bad && first_bad < 0) first_bad = start + i;
    values[start + i] = ignored[i] || bad ? 0.0 : value(stats[i], params);
  }
  return first_bad;
}

template <class Def, class T>
std::int64_t rows_block(const Rows& rows, const Params& params, double* values) {
  std::int64_t first_bad = -1;
  constexpr std::integral_constant<unsigned, Def::kNeeds> needs;
  constexpr unsigned kHits =
      kTrueIsArgmax | kTrueArgmax | kRankOfTrue | kLabelInRange | kIntegerLabel;
  if ((needs & ~kHits) == 0 && params.ignored.count == 0) {
    // Nothing is gained from several rows side by side, and short rows would wait for
    // their statistics to be written.
    for (std::int64_t start = 0; start < rows.count; start += SomeRows<T>::kMost) {
      const SomeRows<T> some(needs, rows, params, start);
      if ((needs & ~(kTrueIsArgmax | kTrueArgmax)) == 0 && rows.classes <= kShortRow) {
        RowStats stats;
        stats.true_is_argmax = true;
        const double hit = Def::value(stats, params);
        stats.true_is_argmax = false;
        const double miss = Def::value(stats, params);
        for (int i = 0; i < some.size; ++i) {
          values[start + i] = some.argmax(i) == some.label(i) ? hit : miss;
        }
        continue;
      }
      for (int i = 0; i < some.size; ++i) {
        RowStats stats;
        row_stats(needs, some[i], rows, params, &stats);
        const bool bad = (needs & kUsableLabel) != 0 && !stats.usable_label;
        if (bad && first_bad < 0) first_bad = start + i;
        values[start + i] = bad ? 0.0 : Def::value(stats, params);
      }
    }
    return first_bad;
  }
  for_row_stats<T>(needs, rows, params,
                   [&](std::int64_t start, int n, const RowStats* stats, const bool* ignored) {
                     const std::int64_t bad = take_values(
                         (needs & kUsableLabel) != 0, start, n, stats, ignored, params, values,
                         [](const RowStats& row, const Params& p) { return Def::value(row, p); });
                     if (first_bad < 0) first_bad = bad;
                   });
  return first_bad;
}

// A definition among others.
struct RowDefinition {
  unsigned needs;
  double (*value)(const RowStats& row, const Params& params);
};

template <class T>
void rows_of_members(const Rows& rows, const RowDefinition* definitions, RowMember* members,
                     int count) {
  constexpr int kMost = 64;
  for (int done = 0; done < count; done += kMost) {
    const int end = count - done < kMost ? count : done + kMost;
    bool taken[kMost] = {};
    for (int first = done; first < end; ++first) {
      if (taken[first - done]) continue;
      int together[kMost], size = 0;
      unsigned needs = 0;
      const Params& params = *members[first].params;
      for (int m = first; m < end; ++m) {
        const unsigned own = definitions[members[m].kernel].needs;
        if (taken[m - done]) continue;
        // Parameters with a NaN do not equal themselves.
        if (m != first && !share_stats(needs, params, own, *members[m].params)) continue;
        taken[m - done] = true;
        together[size++] = m;
        needs |= own;
        members[m].first_bad = -1;
      }
      for_row_stats<T>(needs, rows, params,
                       [&](std::int64_t start, int n, const RowStats* stats, const bool* ignored) {
                         for (int i = 0; i < size; ++i) {
                           RowMember& member = members[together[i]];
                           const RowDefinition& definition = definitions[member.kernel];
                           const std::int64_t bad = take_values(
                               (definition.needs & kUsableLabel) != 0, start, n, stats, ignored,
                               *member.params, member.values, definition.value);
                           if (member.first_bad < 0) member.first_bad = bad;
                         }
                       });
    }
  }
}

template <class T>
void argmax_block(const Rows& rows, double* indices) {
  argmax_rows(static_cast<const T*>(rows.scores), rows.stride, rows.count, rows.classes,
              rows.readable, indices);
}

}  // namespace kt::KT_LEVEL
