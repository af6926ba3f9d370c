// What one row of class scores contributes. The executor computes the row
// statistics that a list of definitions names in kNeeds, each once; a
// definition combines them into one number. Statistics are computed in the
// scores' own dtype where that is exact (argmax, rank) and in float64 where it
// is not (sums, logarithms).
#pragma once

#include "common.h"

namespace kt::KT_LEVEL {

enum RowNeeds : unsigned {
  kTrueIsArgmax = 1u << 0,   // the label is the first index of the largest score (NaN largest)
  kRankOfTrue = 1u << 1,     // scores above the true class's (NaN counts as above)
  kTrueArgmax = 1u << 2,     // argmax of the row of y_true becomes the label
  kFoundInFirstK = 1u << 3,  // the label is among the first k scores
  kSparseLogLoss = 1u << 4,  // -log(probability of the true class)
  kDenseLogLoss = 1u << 5,   // -sum(y_true * log(probability))
  kLabelInRange = 1u << 6,   // a label outside [0, classes) is the user's error
  kIntegerLabel = 1u << 7,   // labels are truncated to integers first
};

struct RowStats {
  double label = 0;  // as given, or the argmax of y_true's row
  bool true_is_argmax = false;
  double rank = 0;
  double log_loss = 0;
  bool true_is_nan = false;
  bool found = false;
};

struct CategoricalHit {
  static constexpr unsigned kNeeds = kTrueIsArgmax | kTrueArgmax;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params&) {
    return row.true_is_argmax ? 1.0 : 0.0;
  }
};

// A label out of range, or one that is no integer, is never hit.
struct SparseCategoricalHit {
  static constexpr unsigned kNeeds = kTrueIsArgmax;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params&) {
    return row.true_is_argmax ? 1.0 : 0.0;
  }
};

// Fewer than k classes score above the true one: ties are hits, and a true
// class whose score is NaN is a miss.
struct TopKHit {
  static constexpr unsigned kNeeds = kRankOfTrue | kTrueArgmax;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params& params) {
    return row.rank < static_cast<double>(params.k) && !row.true_is_nan ? 1.0 : 0.0;
  }
};

struct SparseTopKHit {
  static constexpr unsigned kNeeds = kRankOfTrue | kLabelInRange | kIntegerLabel;
  KT_HOST_DEVICE static double value(const RowStats& row, const Params& params) {
    return TopKHit::value(row, params);
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

}  // namespace kt::KT_LEVEL
