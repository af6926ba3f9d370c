// A definition of the elementwise loop, compiled for one SIMD level: plain functions
// over contiguous blocks.
#pragma once

#include <cstdint>

#include "../defs/common.h"

namespace kt {

// A sum is kept in this many lanes; their number is part of its definition.
constexpr int kBlockLanes = 32;

// sum: adds the values over a block to kBlockLanes lanes. values: writes them.
template <class T>
struct ElementwiseBlock {
  void (*sum)(const T* y_true, const T* y_pred, std::int64_t n, const Params& params,
              double* lanes);
  void (*values)(const T* y_true, const T* y_pred, std::int64_t n, const Params& params,
                 double* values);
};

struct ElementwiseBlocks {
  ElementwiseBlock<float> float32;
  ElementwiseBlock<double> float64;
  bool counts;  // values are 0 and 1
};

}  // namespace kt
