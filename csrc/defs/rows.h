// What one row of class scores contributes, alone or together with a row of
// y_true. The executor computes the row statistics that a definition names in
// kNeeds; the definition combines them into one number. Statistics are computed
// in the scores' own dtype where that is exact (argmax, rank) and in float64
// where it is not (sums, logarithms). NaN in a row makes its sums NaN.
#pragma once

#include "common.h"
#include "math.h"

namespace kt::KT_LEVEL {

enum RowNeeds : unsigned {
  kTrueIsArgmax = 1u << 0,     // the label is the first index of the largest score (NaN largest)
  kRankOfTrue = 1u << 1,       // scores above the true class's (NaN counts as above)
  kTrueArgmax = 1u << 2,       // argmax of the row of y_true becomes the label
  kFoundInFirstK = 1u << 3,    // the label is among the first k scores
  kSparseLogLoss = 1u << 4,    // -log(probability of the true class)
  kDenseLogLoss = 1u << 5,     // -sum(y_true * log(probability))
  kLabelInRange = 1u << 6,     // a label outside [0, classes) is the user's error
  kIntegerLabel = 1u << 7,     // labels are truncated to integers first
  kDots = 1u << 8,             // sums of squares and products of two rows
  kMoments = 1u << 9,          // means, variances and covariance of two rows
  kHingeTerms = 1u << 10,      // sum(t p) and max((1 - t) p)
  kFocalLoss = 1u << 11,       // kDenseLogLoss, its terms scaled by alpha (1 - p)^gamma
  kMaxProbability = 1u << 12,  // the largest probability
};

// A label that is no class cannot be used for these.
constexpr unsigned kUsableLabel = kLabelInRange | kRankOfTrue;
// With from_logits, these need log(sum(e^x)).
constexpr unsigned kNormalised = kSparseLogLoss | kDenseLogLoss | kFocalLoss | kMaxProbability;

// Statistics of two rows together; a definition names these or those of scores (and the
// label), so that either can be compiled without the other.
constexpr unsigned kOfPairs = kDenseLogLoss | kFocalLoss | kDots | kMoments | kHingeTerms;
constexpr unsigned kOfScores = ~kOfPairs;

// What most metrics of rows ask for. Alone it needs few registers on a GPU.
constexpr unsigned kPlainScores =
    kTrueIsArgmax | kRankOfTrue | kTrueArgmax | kSparseLogLoss | kLabelInRange | kIntegerLabel;
constexpr unsigned kPlainPairs = kDenseLogLoss | kDots;
// The same of logits.
constexpr unsigned kLogitScores = kSparseLogLoss | kLabelInRange | kIntegerLabel;
constexpr unsigned kLogitPairs = kDenseLogLoss;

// What must be subtracted from a logit for its log-probability, log(sum(e^x)): the
// largest logit and the rest, apart, since their sum would round away what is small
// beside the largest.
struct Normaliser {
  double top, rest;
};

template <class V>
KT_HOST_DEVICE V log_probability(V logit, const Normaliser& normaliser) {
  return (logit - normaliser.top) - normaliser.rest;
}

// Only what a definition needs is filled in.
struct RowStats {
  double label;  // as given, or the argmax of y_true's row
  bool true_is_argmax;
  double rank;
  double log_loss;  // still to be reduced by log_factor log(log_argument)
  double log_argument, log_factor;
  bool true_is_nan;
  bool found;
  bool usable_label;
  Normaliser normaliser;
  double max_probability;
  // Of the rows of y_true and y_pred together.
  double true_square, pred_square, product;
  double mean_difference, true_variance, pred_variance, covariance;
  double inside, outside;
};

// One term of kDenseLogLoss or, with kFocal, of kFocalLoss: what is subtracted for the
// target t and the score v. `shift` is the row's normaliser, `sum` that of its scores.
template <bool kFocal, class V>
KT_HOST_DEVICE V log_loss_term(V t, V v, double sum, const Normaliser& shift, bool from_logits,
                               const Params& params) {
  if constexpr (kFocal) {
    const V p = clamp(from_logits ? exp_of(log_probability(v, shift)) : v / sum, params.lowest,
                      params.highest);
    return t * log_of(p) * (params.alpha * power_of(1.0 - p, params.gamma));
  } else {
    return t * (from_logits ? log_probability(v, shift)
                            : log_of(clamp(v / sum, params.lowest, params.highest)));
  }
}

// Nobody can predict a hit: no branch may depend on it.
struct CategoricalHit {
  static constexpr unsigned kNeeds = kTrueIsArgmax | kTrueArgmax;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params&) {
    return static_cast<double>(row.true_is_argmax);
  }
};

// A label out of range, or one that is no integer, is never hit.
struct SparseCategoricalHit {
  static constexpr unsigned kNeeds = kTrueIsArgmax;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params&) {
    return static_cast<double>(row.true_is_argmax);
  }
};

// Fewer than k classes score above the true one: ties are hits, and a true
// class whose score is NaN is a miss.
struct TopKHit {
  static constexpr unsigned kNeeds = kRankOfTrue | kTrueArgmax;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params& params) {
    return static_cast<double>((row.rank < static_cast<double>(params.k)) & !row.true_is_nan);
  }
};

struct SparseTopKHit {
  static constexpr unsigned kNeeds = kRankOfTrue | kLabelInRange | kIntegerLabel;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params& params) {
    return TopKHit::value(row, params);
  }
};

// One more than the number of scores above the true class's: 1 is the best, ties
// are in its favour, and a NaN of the true class ranks last.
struct TrueRank {
  static constexpr unsigned kNeeds = kRankOfTrue | kTrueArgmax;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params&) {
    return row.true_is_nan ? row.rank : row.rank + 1.0;
  }
};

struct SparseTrueRank {
  static constexpr unsigned kNeeds = kRankOfTrue | kLabelInRange | kIntegerLabel;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params& params) {
    return TrueRank::value(row, params);
  }
};

// How sure the scores are: the largest of them or, of logits, of their softmax.
struct MaxProbability {
  static constexpr unsigned kNeeds = kMaxProbability;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params&) {
    return row.max_probability;
  }
};

// y_pred holds class ids, best first.
struct SortedIdsHit {
  static constexpr unsigned kNeeds = kFoundInFirstK;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params&) {
    return row.found ? 1.0 : 0.0;
  }
};

// Logits: log(sum(e^x)) - x[label], shifted by the row's maximum.
// Probabilities: -log(clip(p[label] / sum(p), lowest, highest)).
struct SparseCrossentropy {
  static constexpr unsigned kNeeds = kSparseLogLoss | kLabelInRange | kIntegerLabel;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params&) { return row.log_loss; }
};

// The same with a whole row of targets t (1 - s) + s / classes.
struct DenseCrossentropy {
  static constexpr unsigned kNeeds = kDenseLogLoss;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params&) { return row.log_loss; }
};

// alpha (1 - p)^gamma for each term (Lin et al., 2017); logits become
// probabilities first, which are clipped like probabilities.
struct FocalCrossentropy {
  static constexpr unsigned kNeeds = kFocalLoss;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params&) { return row.log_loss; }
};

// t.p / (|t| |p|); a row of zeros has similarity 0 to everything.
struct CosineSimilarity {
  static constexpr unsigned kNeeds = kDots;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params& params) {
    const double t = norm(row.true_square, params), p = norm(row.pred_square, params);
    return t == 0.0 || p == 0.0 ? 0.0 : row.product / t / p;
  }

 private:
  KT_HOST_DEVICE static double norm(double square, const Params& params) {
    const double out = root_of(square);
    return out < params.smallest_norm ? params.smallest_norm : out;
  }
};

// cov(t, p) / (sd(t) sd(p)): NaN for a row of equal values.
struct PearsonCorrelation {
  static constexpr unsigned kNeeds = kMoments;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params&) {
    return row.covariance / root_of(row.true_variance) / root_of(row.pred_variance);
  }
};

// 2 cov(t, p) / (var(t) + var(p) + (mean(t) - mean(p))^2 + epsilon)
struct ConcordanceCorrelation {
  static constexpr unsigned kNeeds = kMoments;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params& params) {
    const double spread = row.true_variance + row.pred_variance;
    const double apart = row.mean_difference * row.mean_difference;
    return 2.0 * row.covariance / (spread + apart + params.lowest);
  }
};

// max(max((1 - t) p) - sum(t p) + 1, 0): the true class should lead by 1.
struct CategoricalHinge {
  static constexpr unsigned kNeeds = kHingeTerms;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params&) {
    const double loss = row.outside - row.inside + 1.0;
    return loss < 0.0 ? 0.0 : loss;
  }
};

// Whether two definitions can look at the same statistics.
KT_HOST_DEVICE bool share_stats(unsigned needs, const Params& params, unsigned other_needs,
                                Params other) {
  constexpr unsigned kSummedLosses = kDenseLogLoss | kFocalLoss;
  if ((needs & kSummedLosses) != 0 && (other_needs & kSummedLosses) != 0 &&
      (needs & kSummedLosses) != (other_needs & kSummedLosses)) {
    return false;
  }
  if (((needs | other_needs) & kFoundInFirstK) == 0) other.k = params.k;
  return params == other;
}

}  // namespace kt::KT_LEVEL
