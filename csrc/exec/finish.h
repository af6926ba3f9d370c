// From the state to the results. A runner says how the loops are run: one step after
// the other on the CPU, by the threads of a block on a GPU.
#pragma once

#include "state.h"

namespace kt::KT_LEVEL {

struct Serial {
  // f(i, sums) adds to kCount sums.
  template <int kCount, class F>
  KT_HOST_DEVICE void sum(std::int64_t n, double (&sums)[kCount], F&& f) const {
    for (std::int64_t i = 0; i < n; ++i) f(i, sums);
  }
  // The sum of slice(make(i), make(i + 1)).
  template <class Make, class Slice>
  KT_HOST_DEVICE double slices(std::int64_t n, Make&& make, Slice&& slice) const {
    double sum = 0.0;
    auto low = make(std::int64_t{0});
    for (std::int64_t i = 1; i < n; ++i) {
      const auto high = make(i);
      sum += slice(low, high);
      low = high;
    }
    return sum;
  }
  // The largest f(i), at least 0.
  template <class F>
  KT_HOST_DEVICE double largest(std::int64_t n, F&& f) const {
    double best = 0.0;
    for (std::int64_t i = 0; i < n; ++i) {
      const double x = f(i);
      best = x > best ? x : best;
    }
    return best;
  }
  template <class F>
  KT_HOST_DEVICE void each(std::int64_t n, F&& f) const {
    for (std::int64_t i = 0; i < n; ++i) f(i);
  }
};

KT_HOST_DEVICE double state_at(const State& state, int variable, std::int64_t i) {
  const State::Variable& v = state.variables[variable];
  if (v.whole != nullptr) return static_cast<double>(v.whole[i]);
  return v.low == nullptr ? v.sum[i] : v.sum[i] + v.low[i];
}

KT_HOST_DEVICE CurvePoint point_at(const State& state, std::int64_t i) {
  return {state_at(state, 0, i), state_at(state, 1, i), state_at(state, 2, i),
          state_at(state, 3, i)};
}

KT_HOST_DEVICE double cells_of(const CurvePoint& p) { return p.tp + p.fp + p.tn + p.fn; }

// State order: TP, FP, TN, FN, each (thresholds, labels).
template <class Runner>
KT_HOST_DEVICE double area_under_curve(const Runner& run, const ResultSpec& spec,
                                       const State& state) {
  const std::int64_t labels = spec.labels, count = state.variables[0].size / labels;
  const bool interpolated_pr =
      spec.curve == Curve::Pr && spec.summation == Summation::Interpolation;
  double weighted = 0, weights = 0;
  for (std::int64_t column = 0; column < labels; ++column) {
    const auto point = [&](std::int64_t t) { return point_at(state, t * labels + column); };
    const double cells = cells_of(point(0));
    if (cells != cells) return cells;
    double area = 0;
    if (interpolated_pr) {
      area = run.slices(count, point, [](const CurvePoint& low, const CurvePoint& high) {
        return interpolated_pr_slice(low, high);
      });
    } else {
      area = run.slices(
          count, [&](std::int64_t t) { return curve_coordinates(spec.curve, point(t)); },
          [&](const Coordinates& low, const Coordinates& high) {
            return summed_slice(spec.summation, low, high);
          });
    }
    const double weight = spec.label_weights == nullptr ? 1.0 : spec.label_weights[column];
    weighted += area * weight;
    weights += weight;
  }
  return divide_no_nan(weighted, weights);
}

// The best of one rate where the other is at least `required`; 0 where it never is.
template <class Runner>
KT_HOST_DEVICE double best_under_constraint(const Runner& run, const ResultSpec& spec,
                                            const State& state) {
  const std::int64_t size = state.variables[0].size;
  double poison[1] = {0.0};
  run.sum(size, poison, [&](std::int64_t t, double* sums) {
    const double cells = cells_of(point_at(state, t));
    sums[0] += cells == cells ? 0.0 : cells;
  });
  if (poison[0] != 0.0) return poison[0];
  return run.largest(size, [&](std::int64_t t) {
    const CurvePoint point = point_at(state, t);
    const bool allowed = rate_at(spec.constrained, point) >= spec.required;
    return allowed ? rate_at(spec.dependent, point) : 0.0;
  });
}

// State: TP, FP, FN and the weight of each column.
template <class Runner, class Put>
KT_HOST_DEVICE void f_scores(const Runner& run, const ResultSpec& spec, const State& state,
                             Put&& put) {
  const std::int64_t columns = state.variables[0].size;
  const bool each = spec.average == Average::None;
  double sums[3] = {0.0, 0.0, 0.0};
  run.sum(columns, sums, [&](std::int64_t c, double* into) {
    const double score = f_score(state_at(state, 0, c), state_at(state, 1, c),
                                 state_at(state, 2, c), spec.beta, spec.epsilon);
    if (each) put(c, score);
    into[0] += score;
    into[1] += state_at(state, 3, c);
    into[2] += score * state_at(state, 3, c);
  });
  if (each) return;
  const bool weighted = spec.average == Average::Weighted;
  run.each(1, [&](std::int64_t) {
    put(0, weighted ? sums[2] / (sums[1] + spec.epsilon) : sums[0] / static_cast<double>(columns));
  });
}

KT_HOST_DEVICE DoublePair pair_at(const State& state, int variable, std::int64_t i) {
  return {state.variables[variable].sum[i], state.variables[variable].low[i]};
}

// State: number of samples, then sum(t^2), sum(t), sum((t - p)^2), weight by column.
template <class Runner, class Put>
KT_HOST_DEVICE void r2_scores(const Runner& run, const ResultSpec& spec, const State& state,
                              Put&& put) {
  const std::int64_t columns = state.variables[1].size;
  const double n = state_at(state, 0, 0);
  const bool each = spec.average == Average::None;
  double sums[3] = {0.0, 0.0, 0.0};
  run.sum(columns, sums, [&](std::int64_t c, double* into) {
    const double total =
        sum_of_squares(pair_at(state, 1, c), pair_at(state, 2, c), pair_at(state, 4, c));
    const double score = r2_score(state_at(state, 3, c), total);
    if (each) put(c, adjusted_r2(score, n, spec.regressors));
    into[0] += score;
    into[1] += score * total;
    into[2] += total;
  });
  if (each) return;
  const bool weighted = spec.average == Average::Weighted;
  run.each(1, [&](std::int64_t) {
    // Constant columns have no variance to weigh them by.
    const bool varies = weighted && sums[2] != 0.0;
    const double mean = varies ? sums[1] / sums[2] : sums[0] / static_cast<double>(columns);
    put(0, adjusted_r2(mean, n, spec.regressors));
  });
}

// The mean over target classes that occur, of TP / (TP + FP + FN).
template <class Runner>
KT_HOST_DEVICE double mean_iou(const Runner& run, const ResultSpec& spec, const State& state) {
  const std::int64_t classes = spec.classes;
  double sums[2] = {0.0, 0.0};
  run.sum(spec.target_count, sums, [&](std::int64_t i, double* into) {
    const std::int64_t target = spec.targets[i];
    const std::int64_t id = target < 0 ? target + classes : target;
    double hits = 0.0, all = 0.0;
    if (spec.by_class) {
      hits = state_at(state, 0, id);
      all = hits + state_at(state, 1, id) + state_at(state, 2, id);
    } else {
      hits = state_at(state, 0, id * classes + id);
      for (std::int64_t other = 0; other < classes; ++other) {
        all += state_at(state, 0, id * classes + other) + state_at(state, 0, other * classes + id);
      }
      all -= hits;
    }
    const bool occurs = all > 1e-9;
    into[0] += occurs ? hits / (all + spec.epsilon) : 0.0;
    into[1] += occurs ? 1.0 : 0.0;
  });
  return sums[0] / (sums[1] + spec.epsilon);
}

// Calls put(i, result).
template <class Runner, class Put>
KT_HOST_DEVICE void finish(const Runner& run, const ResultSpec& spec, const State& state,
                           Put&& put) {
  const std::int64_t size = state.variables[0].size;
  const auto put_one = [&](double x) { run.each(1, [&](std::int64_t) { put(0, x); }); };
  switch (spec.result) {
    case Result::Mean:
      return put_one(divide_no_nan(state_at(state, 0, 0), state_at(state, 1, 0)));
    case Result::RootMean:
      return put_one(std::sqrt(divide_no_nan(state_at(state, 0, 0), state_at(state, 1, 0))));
    case Result::Sum:
    case Result::Counts:
      return run.each(size, [&](std::int64_t i) { put(i, state_at(state, 0, i)); });
    case Result::Ratio:
      return run.each(size, [&](std::int64_t i) {
        const double x = state_at(state, 0, i);
        put(i, divide_no_nan(x, x + state_at(state, 1, i)));
      });
    case Result::Auc:
      return put_one(area_under_curve(run, spec, state));
    case Result::Constrained:
      return put_one(best_under_constraint(run, spec, state));
    case Result::FScore:
      return f_scores(run, spec, state, put);
    case Result::R2:
      return r2_scores(run, spec, state, put);
    case Result::Iou:
      return put_one(mean_iou(run, spec, state));
    case Result::Expression:
      return;  // by an interpreter
  }
}

}  // namespace kt::KT_LEVEL
