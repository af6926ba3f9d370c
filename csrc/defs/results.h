// From the state to the answer, in float64. 0/0 counts as 0, as in Keras's
// divide_no_nan; a NaN in the state comes out as NaN. Sources: Keras 3.15;
// Davis & Goadrich (2006) for the interpolated precision-recall curve; Flach &
// Kull (2015) for precision-recall-gain.
#pragma once

#include <cmath>
#include <cstdint>

#include "common.h"

namespace kt {

KT_HOST_DEVICE double divide_no_nan(double a, double b) { return b == 0.0 ? 0.0 : a / b; }

enum class Result {
  Mean,
  Sum,
  RootMean,
  Counts,
  Ratio,
  Constrained,
  Auc,
  FScore,
  R2,
  Iou,
  Expression
};
enum class Curve { Roc, Pr, PrGain };
enum class Summation { Interpolation, Minoring, Majoring, Step };

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

// Shares that one threshold trades against another; state TP, FP, TN, FN.
enum class Rate { Precision, Recall, Specificity };

KT_HOST_DEVICE double rate_at(Rate rate, const CurvePoint& c) {
  if (rate == Rate::Precision) return divide_no_nan(c.tp, c.tp + c.fp);
  if (rate == Rate::Recall) return divide_no_nan(c.tp, c.tp + c.fn);
  return divide_no_nan(c.tn, c.tn + c.fp);
}

// Averages over columns or classes.
enum class Average { None, Micro, Macro, Weighted };

// (1 + beta^2) P R / (beta^2 P + R), each division with epsilon, as in Keras.
KT_HOST_DEVICE double f_score(double tp, double fp, double fn, double beta, double epsilon) {
  const double precision = tp / (tp + fp + epsilon), recall = tp / (tp + fn + epsilon);
  const double square = beta * beta;
  return precision * recall / (square * precision + recall + epsilon) * (1.0 + square);
}

// An unevaluated sum of two doubles.
struct DoublePair {
  double high, low;
};

// sum(t^2) - sum(t)^2 / n, where a large mean cancels almost everything: with an
// exact product and an exact remainder of the division. What is smaller than the
// sums can tell (2^-80 of sum(t^2)) is 0: columns of equal values have no variance.
KT_HOST_DEVICE double sum_of_squares(DoublePair squares, DoublePair sum, DoublePair count) {
  const double mean = sum.high / count.high;
  const double remainder = std::fma(-mean, count.high, sum.high) + (sum.low - mean * count.low);
  const double mean_low = remainder / count.high;
  const double product = sum.high * mean;
  const double product_low =
      std::fma(sum.high, mean, -product) + (sum.high * mean_low + sum.low * mean);
  const double total = (squares.high - product) + (squares.low - product_low);
  return std::fabs(total) <= 8.3e-25 * squares.high ? 0.0 : total;
}

// 1 - sum((t - p)^2) / sum((t - mean(t))^2). Of a constant column (a total of 0) it is 1
// where all is right and 0 where not, as in scikit-learn; without data the total is NaN.
KT_HOST_DEVICE double r2_score(double error, double total) {
  if (total == 0.0 && error == 0.0) return 1.0;
  const double score = 1.0 - error / total;
  return std::isinf(score) ? 0.0 : score;
}

// R2 corrected for p regressors and n samples; unchanged where that has no meaning.
KT_HOST_DEVICE double adjusted_r2(double score, double n, double p) {
  return p == 0.0 || p >= n - 1.0 ? score : 1.0 - (1.0 - score) * (n - 1.0) / (n - p - 1.0);
}

}  // namespace kt
