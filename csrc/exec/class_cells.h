// The tabulated loop: which cell of a table each pair of class ids goes to.
#pragma once

#include "../defs/confusion_matrix.h"
#include "level.h"
#include "vec.h"

namespace kt::KT_LEVEL {

inline void class_cells(const double* labels, const double* predicted, std::int64_t n,
                        const ClassPairs& pairs, std::int64_t* cells) {
  const std::int64_t classes = pairs.classes, none = pairs.size();
  // Truncation brings what lies above -1 to 0.
  const double lowest = pairs.whole ? -1.0 : 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t t = ClassIndex::value(labels[i], lowest, pairs.whole, classes);
    const std::int64_t p = ClassIndex::value(predicted[i], lowest, pairs.whole, classes);
    const double label = pairs.whole ? static_cast<double>(t) : labels[i];
    const bool ignored = pairs.has_ignore & (label == pairs.ignore);
    const bool counts = (t >= 0) & (p >= 0) & !ignored;
    if (pairs.by_class) {
      cells[i] = counts ? ClassCells::first(t, p, classes) : none;
      cells[n + i] = counts ? ClassCells::second(t, p, classes, none) : none;
    } else {
      cells[i] = counts ? MatrixCell::value(t, p, classes) : none;
    }
  }
}

}  // namespace kt::KT_LEVEL
