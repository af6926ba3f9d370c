// Which cells of a confusion matrix one sample adds its weight to: row = the
// true class, column = the predicted one. A sample whose class is out of range,
// NaN or to be ignored goes to no cell. Unweighted cells are exact counts.
#pragma once

#include "common.h"

namespace kt::KT_LEVEL {

// The row or column of a class id, or -1. Ids are truncated to integers, or must
// be at least 0 as they are.
struct ClassIndex {
  KT_HOST_DEVICE static std::int64_t value(double id, double lowest, bool truncated,
                                           std::int64_t classes) {
    const bool above = truncated ? id > lowest : id >= lowest;
    return above && id < static_cast<double>(classes) ? static_cast<std::int64_t>(id) : -1;
  }
};

// The whole matrix, row by row.
struct MatrixCell {
  KT_HOST_DEVICE static std::int64_t value(std::int64_t label, std::int64_t predicted,
                                           std::int64_t classes) {
    return label * classes + predicted;
  }
};

// Only what IoU needs: true positives, false positives and false negatives of
// each class, one after the other. A miss counts in two of them.
struct ClassCells {
  KT_HOST_DEVICE static std::int64_t first(std::int64_t label, std::int64_t predicted,
                                           std::int64_t classes) {
    return label == predicted ? label : classes + predicted;
  }
  KT_HOST_DEVICE static std::int64_t second(std::int64_t label, std::int64_t predicted,
                                            std::int64_t classes, std::int64_t none) {
    return label == predicted ? none : 2 * classes + label;
  }
};

}  // namespace kt::KT_LEVEL
