// Results of counts by threshold; state TP, FP, TN, FN, each (thresholds, labels).
// Sources: Davis & Goadrich (2006) for the interpolated precision-recall curve; Flach &
// Kull (2015) for precision-recall-gain.
#pragma once

#include "results.h"

namespace kt::KT_LEVEL {

// The four cells at threshold t of one label's column.
struct CurvePoint {
  double tp, fp, tn, fn;
};

// Area of the slice between two neighbouring thresholds, a below b, of the
// interpolated precision-recall curve: precision is not linear in recall.
KT_HOST_DEVICE double interpolated_pr_slice(const CurvePoint& a, const CurvePoint& b) {
  const double p_a = a.tp + a.fp, p_b = b.tp + b.fp;
  const double dtp = a.tp - b.tp, dp = p_a - p_b;
  const double slope = divide_no_nan(dtp, dp > 0.0 ? dp : 0.0);
  const double intercept = b.tp - slope * p_b;
  const double ratio = p_a > 0.0 && p_b > 0.0 ? p_a / p_b : 1.0;
  const double positives = b.tp + b.fn;
  return divide_no_nan(slope * (dtp + intercept * std::log(ratio)),
                       positives > 0.0 ? positives : 0.0);
}

struct Coordinates {
  double x, y;
};

KT_HOST_DEVICE Coordinates curve_coordinates(Curve curve, const CurvePoint& c) {
  const double recall = divide_no_nan(c.tp, c.tp + c.fn);
  if (curve == Curve::Roc) return {divide_no_nan(c.fp, c.fp + c.tn), recall};
  if (curve == Curve::Pr) return {recall, divide_no_nan(c.tp, c.tp + c.fp)};
  const double scaling = divide_no_nan(c.tp + c.fn, c.tn + c.fp);
  const bool none = c.tp == 0.0;
  const double recall_gain = none ? 0.0 : 1.0 - scaling * divide_no_nan(c.fn, c.tp);
  const double precision_gain = none ? 1.0 : 1.0 - scaling * divide_no_nan(c.fp, c.tp);
  return {recall_gain > 0.0 ? recall_gain : 0.0, precision_gain};
}

KT_HOST_DEVICE double summed_slice(Summation summation, const Coordinates& a,
                                   const Coordinates& b) {
  double height = (a.y + b.y) / 2.0;
  if (summation == Summation::Minoring) height = a.y < b.y ? a.y : b.y;
  if (summation == Summation::Majoring) height = a.y > b.y ? a.y : b.y;
  if (summation == Summation::Step) height = a.y;  // average precision's
  return (a.x - b.x) * height;
}

KT_HOST_DEVICE double rate_at(Rate rate, const CurvePoint& c) {
  if (rate == Rate::Precision) return divide_no_nan(c.tp, c.tp + c.fp);
  if (rate == Rate::Recall) return divide_no_nan(c.tp, c.tp + c.fn);
  return divide_no_nan(c.tn, c.tn + c.fp);
}

KT_HOST_DEVICE CurvePoint point_at(const State& state, std::int64_t i) {
  return {sum_at(state, 0, i), sum_at(state, 1, i), sum_at(state, 2, i), sum_at(state, 3, i)};
}

KT_HOST_DEVICE double cells_of(const CurvePoint& p) { return p.tp + p.fp + p.tn + p.fn; }

// State order: TP, FP, TN, FN, each (thresholds, labels).
struct AreaUnderCurve {
  template <class Runner>
  KT_HOST_DEVICE static double value(const Runner& run, const ResultSpec& spec,
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
};

// The best of one rate where the other is at least `required`; 0 where it never is.
struct BestUnderConstraint {
  template <class Runner>
  KT_HOST_DEVICE static double value(const Runner& run, const ResultSpec& spec,
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
};

}  // namespace kt::KT_LEVEL
