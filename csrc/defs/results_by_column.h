// Results of sums by column: a score for each, or their average.
#pragma once

#include "results.h"

namespace kt::KT_LEVEL {

struct Score {
  double value, weight;
};

// Sums over columns: of scores, of weights, of their products.
struct ScoreSums {
  double scores, weights, weighted;
};

// (1 + beta^2) P R / (beta^2 P + R), each division with epsilon, as in Keras.
KT_HOST_DEVICE double f_score(double tp, double fp, double fn, double beta, double epsilon) {
  const double precision = tp / (tp + fp + epsilon), recall = tp / (tp + fn + epsilon);
  const double square = beta * beta;
  return precision * recall / (square * precision + recall + epsilon) * (1.0 + square);
}

// State: TP, FP, FN and the weight of each column.
struct FScoreResult {
  KT_HOST_DEVICE static Score column(const ResultSpec& spec, const State& state, std::int64_t c) {
    return {f_score(sum_at(state, 0, c), sum_at(state, 1, c), sum_at(state, 2, c), spec.beta,
                    spec.epsilon),
            sum_at(state, 3, c)};
  }
  KT_HOST_DEVICE static double average(const ResultSpec& spec, const ScoreSums& sums,
                                       std::int64_t columns) {
    return spec.average == Average::Weighted ? sums.weighted / (sums.weights + spec.epsilon)
                                             : sums.scores / static_cast<double>(columns);
  }
  KT_HOST_DEVICE static double adjusted(const ResultSpec&, const State&, double score) {
    return score;
  }
  static constexpr int kVariable = 0;  // one whose entries are columns
};

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

// sum((t - p)^2) / sum((t - mean(t))^2). Of a constant column (a total of 0) it is 0
// where all is right and 1 where not, as in scikit-learn; without data the total is NaN.
KT_HOST_DEVICE double share_left(double error, double total) {
  if (total == 0.0 && error == 0.0) return 0.0;
  const double share = error / total;
  return std::isinf(share) ? 1.0 : share;
}

// R2 corrected for p regressors and n samples; unchanged where that has no meaning.
KT_HOST_DEVICE double adjusted_r2(double score, double n, double p) {
  return p == 0.0 || p >= n - 1.0 ? score : 1.0 - (1.0 - score) * (n - 1.0) / (n - p - 1.0);
}

KT_HOST_DEVICE DoublePair pair_at(const State& state, int variable, std::int64_t i) {
  return {state.variables[variable].sum[i], state.variables[variable].low[i]};
}

// Of squared deviations; state: number of samples, then sum(t^2), sum(t), sum((t - p)^2),
// weight by column. The weight of a column is its variation.
struct OfDeviations {
  KT_HOST_DEVICE static double variation(const State& state, std::int64_t c) {
    return sum_of_squares(pair_at(state, 1, c), pair_at(state, 2, c), pair_at(state, 4, c));
  }
  KT_HOST_DEVICE static double average(const ResultSpec& spec, const ScoreSums& sums,
                                       std::int64_t columns) {
    // Constant columns have no variance to weigh them by.
    const bool varies = spec.average == Average::Weighted && sums.weights != 0.0;
    return varies ? sums.weighted / sums.weights : sums.scores / static_cast<double>(columns);
  }
  KT_HOST_DEVICE static double adjusted(const ResultSpec& spec, const State& state, double score) {
    return adjusted_r2(score, sum_at(state, 0, 0), spec.regressors);
  }
  static constexpr int kVariable = 1;
};

struct R2Result : OfDeviations {
  KT_HOST_DEVICE static Score column(const ResultSpec&, const State& state, std::int64_t c) {
    const double total = variation(state, c);
    return {1.0 - share_left(sum_at(state, 3, c), total), total};
  }
};

struct RelativeSquaredErrorResult : OfDeviations {
  KT_HOST_DEVICE static Score column(const ResultSpec&, const State& state, std::int64_t c) {
    const double total = variation(state, c);
    return {share_left(sum_at(state, 3, c), total), total};
  }
};

}  // namespace kt::KT_LEVEL
