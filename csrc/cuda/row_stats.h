// Row statistics, each computed by a team of threads that goes over the row together.
#pragma once

#include <limits>

#include "../defs/rows.h"
#include "load.h"
#include "team.h"

namespace kt::KT_LEVEL {

// How many quads of a row a thread has in flight.
template <class T, bool kPlain>
constexpr int kRowQuads = kPlain           ? 4
                          : sizeof(T) == 4 ? 2
                                           : 1;

// Four neighbouring elements of a row for each thread of the team, several times: so
// many reads are under way at once.
template <class T, int kQuadsOfRow>
struct RowQuads {
  T x[kQuadsOfRow][4];

  // From element i on, `step` apart.
  template <bool kPlain, class Index>
  KT_HOST_DEVICE void read(const Row<T, kPlain>& row, Index i, Index step, Index n, bool fast) {
    if constexpr (!kPlain) {
      if (!fast) return row.four(i, n - i >= 4 ? 4 : static_cast<int>(n - i), x[0]);
    }
    KT_UNROLL
    for (int q = 0; q < kQuadsOfRow; ++q) row.four_fast(i + q * step, n, x[q]);
  }
  // One of them; there is one copy of what is done with it.
  KT_HOST_DEVICE T at(int wanted, int j) const {
    T out = x[0][j];
    KT_UNROLL
    for (int q = 1; q < kQuadsOfRow; ++q) out = q == wanted ? x[q][j] : out;
    return out;
  }
};

// Calls each(quad's number, its first element) for the team's elements of rows of n,
// after read(first element, distance to the next quad).
template <bool kShort, int kQuads, class Index, class Thread, class Read, class Each>
KT_HOST_DEVICE void for_quads(const Team<Thread>& team, Index n, bool fast, Read&& read,
                              Each&& each) {
  const Index step = 4 * team.size();
  const int quads = fast ? kQuads : 1;
  for (Index i = 4 * team.lane(); i < n; i += quads * step) {
    read(i, step);
    if constexpr (kShort) {
      KT_UNROLL
      for (int q = 0; q < kQuads; ++q) {
        if (q < quads && i + q * step < n) each(q, i + q * step);
      }
    } else {
      KT_NO_UNROLL
      for (int q = 0; q < quads; ++q) {
        if (i + q * step < n) each(q, i + q * step);
      }
    }
  }
}

// Calls each(i, x) for the team's elements of a row of n. Of what is short there is a copy
// for every element in flight.
template <bool kShort, class T, bool kPlain, class Thread, class Each>
KT_HOST_DEVICE void for_row(const Team<Thread>& team, const Row<T, kPlain>& row, std::int64_t size,
                            Each&& each) {
  using Index = typename Row<T, kPlain>::Index;
  const Index n = static_cast<Index>(size);
  constexpr int kQuadsOfRow = kRowQuads<T, kPlain>;
  const bool fast = row.fast();
  RowQuads<T, kQuadsOfRow> quads;
  for_quads<kShort, kQuadsOfRow>(
      team, n, fast, [&](Index i, Index step) { quads.read(row, i, step, n, fast); },
      [&](int q, Index i) {
        const Index left = n - i;
        KT_UNROLL
        for (int j = 0; j < 4; ++j) {
          if (j < left) each(i + j, quads.at(q, j));
        }
      });
}

// Calls each(x, y) for those of two rows, x and y being T.
template <class T, bool kPlain, class Thread, class Each>
KT_HOST_DEVICE void for_row_pairs(const Team<Thread>& team, const Row<T, kPlain>& a,
                                  const Row<T, kPlain>& b, std::int64_t size, Each&& each) {
  using Index = typename Row<T, kPlain>::Index;
  const Index n = static_cast<Index>(size);
  constexpr int kQuadsOfRow = (kRowQuads<T, kPlain> + 1) / 2;
  const bool fast = a.fast() && b.fast();
  RowQuads<T, kQuadsOfRow> x, y;
  for_quads<true, kQuadsOfRow>(
      team, n, fast,
      [&](Index i, Index step) {
        x.read(a, i, step, n, fast);
        y.read(b, i, step, n, fast);
      },
      [&](int q, Index i) {
        const Index left = n - i;
        KT_UNROLL
        for (int j = 0; j < 4; ++j) {
          if (j < left) each(x.at(q, j), y.at(q, j));
        }
      });
}

// The same, x and y being double.
template <class T, bool kPlain, class Thread, class Each>
KT_HOST_DEVICE void for_double_pairs(const Team<Thread>& team, const Row<T, kPlain>& a,
                                     const Row<T, kPlain>& b, std::int64_t size, Each&& each) {
  for_row_pairs(team, a, b, size,
                [&](T x, T y) { each(static_cast<double>(x), static_cast<double>(y)); });
}

// The first index of the largest score; NaN is the largest.
template <class T, bool kPlain, class Thread>
KT_HOST_DEVICE std::int64_t row_argmax(const Team<Thread>& team, const Row<T, kPlain>& row,
                                       std::int64_t n) {
  using Index = typename Row<T, kPlain>::Index;
  constexpr Index kNone = std::numeric_limits<Index>::max();
  T best{};
  bool nan = false;
  Index at = kNone;
  for_row<true>(team, row, n, [&](Index i, T x) {
    const bool better = at == kNone || (!nan && (x != x || x > best));
    if (!better) return;
    best = x;
    nan = x != x;
    at = i;
  });
  // Teams of one warp must go the same way, whatever is in their rows.
  const bool any_nan = team.any(nan);
  const T lowest = static_cast<T>(-kInfinity);
  const T top = team.largest(at == kNone || nan ? lowest : best);
  const bool first = any_nan ? nan : at != kNone && best == top;
  return team.smallest(first ? at : kNone);
}

// The same as below in two passes, of which the second finds the row nearby and has
// nothing to decide.
template <class T, class Thread>
KT_HOST_DEVICE Normaliser plain_normaliser(const Team<Thread>& team, const Row<T, true>& row,
                                           std::int64_t n) {
  T top = static_cast<T>(-kInfinity);
  bool nan = false;
  for_row<true>(team, row, n, [&](int, T x) {
    nan |= x != x;
    top = x > top ? x : top;
  });
  const bool any_nan = team.any(nan);
  const double highest = static_cast<double>(team.largest(top));
  double sum = 0.0;
  for_row<false>(team, row, n, [&](int, T x) { sum += exp_of(static_cast<double>(x) - highest); });
  sum = team.sum(sum);
  // Not sooner: teams of one warp must go the same way, whatever is in their rows.
  if (any_nan || highest - highest != 0.0) return {kInfinity - kInfinity, 0.0};
  return {highest, log_of(sum)};
}

// What must be subtracted from a logit to get its log-probability: in one pass, with
// the sum scaled down whenever a larger score comes along. NaN where a score is NaN or
// the largest is infinite.
template <class T, bool kPlain, class Thread>
KT_HOST_DEVICE Normaliser log_normaliser(const Team<Thread>& team, const Row<T, kPlain>& row,
                                         std::int64_t n) {
  if constexpr (kPlain) return plain_normaliser(team, row, n);
  double top = -kInfinity, sum = 0.0;
  bool nan = false;
  for_row<false>(team, row, n, [&](std::int64_t, T score) {
    const double x = static_cast<double>(score);
    nan |= x != x;
    if (!(x > -kInfinity)) return;
    if (x > top) {
      sum *= exp_of(top - x);
      top = x;
    }
    sum += exp_of(x - top);
  });
  const double highest = team.largest(top);
  const double total = team.sum(nan ? kInfinity - kInfinity : sum * exp_of(top - highest));
  if (highest - highest != 0.0) return {kInfinity - kInfinity, 0.0};
  return {highest, log_of(total)};
}

template <class T, bool kPlain, class Thread>
KT_HOST_DEVICE double row_sum(const Team<Thread>& team, const Row<T, kPlain>& row, std::int64_t n) {
  double sum = 0.0;
  for_row<true>(team, row, n, [&](std::int64_t, T x) { sum += static_cast<double>(x); });
  return team.sum(sum);
}

template <class T, bool kPlain, class Thread>
KT_HOST_DEVICE double max_probability(const Team<Thread>& team, const Row<T, kPlain>& row,
                                      std::int64_t n, const Params& params,
                                      const Normaliser& normaliser) {
  double top = -kInfinity;
  bool nan = false;
  for_row<true>(team, row, n, [&](std::int64_t, T score) {
    const double x = static_cast<double>(score);
    nan |= x != x;
    top = x > top ? x : top;
  });
  top = team.largest(top);
  if (team.any(nan)) return kInfinity - kInfinity;
  return params.from_logits ? exp_of(log_probability(top, normaliser)) : top;
}

// With kFocal each term is scaled by alpha (1 - p)^gamma.
template <bool kFocal, bool kLogits, class T, bool kPlain, class Thread>
KT_HOST_DEVICE double dense_log_loss(const Team<Thread>& team, const Row<T, kPlain>& scores,
                                     const Row<T, kPlain>& targets, std::int64_t n,
                                     const Params& params, const Normaliser& shift) {
  const double smoothing = params.label_smoothing;
  const double floor = smoothing / static_cast<double>(n);
  const bool from_logits = kPlain ? kLogits : params.from_logits;
  const double sum = from_logits ? 1.0 : row_sum(team, scores, n);
  const bool finite = sum - sum == 0.0;
  // Of a one-hot row one term counts; the others would add zeros.
  const bool skips = !from_logits && finite && floor == 0.0;
  double acc = 0.0;
  for_row_pairs(team, targets, scores, n, [&](T wanted, T v) {
    if (skips && wanted == T{0}) return;
    const double t = static_cast<double>(wanted) * (1.0 - smoothing) + floor;
    acc += log_loss_term<kFocal>(t, static_cast<double>(v), sum, shift, from_logits, params);
  });
  return -team.sum(acc);
}

template <class T, bool kPlain, class Thread>
KT_HOST_DEVICE void compare_rows(const Team<Thread>& team, unsigned needs,
                                 const Row<T, kPlain>& truth, const Row<T, kPlain>& scores,
                                 std::int64_t n, RowStats* stats) {
  if ((needs & kDots) != 0) {
    double tt = 0.0, pp = 0.0, tp = 0.0;
    for_double_pairs(team, truth, scores, n, [&](double a, double b) {
      tt += a * a;
      pp += b * b;
      tp += a * b;
    });
    stats->true_square = team.sum(tt);
    stats->pred_square = team.sum(pp);
    stats->product = team.sum(tp);
  }
  if ((needs & kMoments) != 0) {
    // Distances from the first element: rows of equal values have no variance,
    // and a large mean costs no digits.
    const double share = 1.0 / static_cast<double>(n);
    const double t0 = static_cast<double>(truth.at(0)), p0 = static_cast<double>(scores.at(0));
    double t_sum = 0.0, p_sum = 0.0;
    for_double_pairs(team, truth, scores, n, [&](double a, double b) {
      t_sum += a - t0;
      p_sum += b - p0;
    });
    const double t_mean = team.sum(t_sum) * share, p_mean = team.sum(p_sum) * share;
    double tt = 0.0, pp = 0.0, tp = 0.0;
    for_double_pairs(team, truth, scores, n, [&](double a, double b) {
      const double u = (a - t0) - t_mean, v = (b - p0) - p_mean;
      tt += u * u;
      pp += v * v;
      tp += u * v;
    });
    stats->mean_difference = (t0 - p0) + (t_mean - p_mean);
    stats->true_variance = team.sum(tt) * share;
    stats->pred_variance = team.sum(pp) * share;
    stats->covariance = team.sum(tp) * share;
  }
  if ((needs & kHingeTerms) != 0) {
    double inside = 0.0, outside = -kInfinity;
    for_double_pairs(team, truth, scores, n, [&](double a, double b) {
      inside += a * b;
      const double x = (1.0 - a) * b;
      outside = x > outside ? x : outside;
    });
    stats->inside = team.sum(inside);
    stats->outside = team.largest(outside);
  }
}

// The statistics of one row that `needs` names, which is part of kFamily. `label` is the
// row's, where it has one.
template <unsigned kFamily, class T, bool kPlain, bool kLogits, class Thread>
KT_HOST_DEVICE void row_stats(const Team<Thread>& team, const RowwiseLaunch& launch,
                              std::int64_t row, double label, unsigned wanted, const Params& params,
                              RowStats* stats) {
  // What the family has not is not compiled, and needs no registers.
  const unsigned needs = wanted & kFamily;
  const std::int64_t n = launch.classes;
  const Row<T, kPlain> scores(launch.scores, launch.lead, launch.scores_axes, row);
  const Row<T, kPlain> truth(launch.truth, launch.lead, launch.truth_axes, row);
  stats->label = label;
  if ((needs & kTrueArgmax) != 0) {
    stats->label = static_cast<double>(row_argmax(team, truth, launch.targets_size));
  }
  const std::int64_t index = to_int64(stats->label, -1);
  stats->usable_label = index >= 0 && index < n;
  const std::int64_t inside = stats->usable_label ? index : 0;
  if ((needs & kTrueIsArgmax) != 0) {
    // Nothing before the index may reach its score, nothing behind it exceed it; if it
    // is NaN, it must be the first.
    using Index = typename Row<T, kPlain>::Index;
    const T score = scores.at(inside);
    const Index own = static_cast<Index>(inside);
    bool beaten = static_cast<double>(index) != stats->label || !stats->usable_label;
    if (score == score) {
      for_row<true>(team, scores, n, [&](Index i, T x) {
        beaten |= !(x <= score);
        beaten |= (x == score) & (i < own);
      });
    } else {
      for_row<false>(team, scores, n, [&](Index i, T x) { beaten |= (x != x) & (i < own); });
    }
    stats->true_is_argmax = !team.any(beaten);
  }
  if ((needs & kRankOfTrue) != 0) {
    const T score = scores.at(inside);
    stats->true_is_nan = score != score;
    typename Row<T, kPlain>::Index above = 0;
    for_row<true>(team, scores, n, [&](std::int64_t, T x) { above += x <= score ? 0 : 1; });
    stats->rank = team.sum(static_cast<double>(above));
  }
  if ((needs & kFoundInFirstK) != 0) {
    const std::int64_t limit = params.k < n ? params.k : n;
    const std::int64_t wide_label = launch.integers ? truth.integer(0) : 0;
    bool found = false;
    for (std::int64_t i = team.lane(); i < limit; i += team.size()) {
      found |= launch.integers ? scores.integer(i) == wide_label
                               : static_cast<double>(scores.at(i)) == stats->label;
    }
    stats->found = team.any(found);
  }
  stats->normaliser = {};
  const bool from_logits = kPlain ? kLogits : params.from_logits;
  if ((needs & kNormalised) != 0 && from_logits) {
    stats->normaliser = log_normaliser(team, scores, n);
  }
  if ((needs & kSparseLogLoss) != 0) {
    const double score = static_cast<double>(scores.at(inside));
    if (from_logits) {
      stats->log_loss = -log_probability(score, stats->normaliser);
    } else {
      const double p = score / row_sum(team, scores, n);
      stats->log_loss = -log_of(clamp(p, params.lowest, params.highest));
    }
  }
  if ((needs & kDenseLogLoss) != 0) {
    stats->log_loss =
        dense_log_loss<false, kLogits>(team, scores, truth, n, params, stats->normaliser);
  }
  if ((needs & kFocalLoss) != 0) {
    stats->log_loss =
        dense_log_loss<true, kLogits>(team, scores, truth, n, params, stats->normaliser);
  }
  if ((needs & kMaxProbability) != 0) {
    stats->max_probability = max_probability(team, scores, n, params, stats->normaliser);
  }
  compare_rows(team, needs, truth, scores, n, stats);
}

}  // namespace kt::KT_LEVEL
