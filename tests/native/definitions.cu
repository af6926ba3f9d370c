// Compiled by test_cuda_headers.py: every definition as CUDA device code. It is
// not run.
#define KT_LEVEL cuda
#include "../../csrc/defs/accuracy.h"
#include "../../csrc/defs/columns.h"
#include "../../csrc/defs/confusion.h"
#include "../../csrc/defs/confusion_matrix.h"
#include "../../csrc/defs/crossentropy.h"
#include "../../csrc/defs/hinge.h"
#include "../../csrc/defs/regression.h"
#include "../../csrc/defs/rows.h"

using namespace kt;
using namespace kt::cuda;

template <class Def>
__global__ void elementwise(const double* y_true, const double* y_pred, double* out,
                            Params params) {
  const int i = static_cast<int>(threadIdx.x);
  out[i] = Def::template value<double>(y_true[i], y_pred[i], params);
}

template <class Def>
__global__ void rowwise(const RowStats* rows, double* out, Params params) {
  const int i = static_cast<int>(threadIdx.x);
  out[i] = Def::value(rows[i], params);
}

__global__ void binned(const float* y_pred, float* out) {
  const int i = static_cast<int>(threadIdx.x);
  out[i] =
      AboveThreshold::value<float>(y_pred[i], 0.5f) + EvenBin::scaled<float>(y_pred[i], 199.0f);
}

template <class Def>
__global__ void columnwise(const double* y_true, const double* y_pred, double* sums) {
  const int i = static_cast<int>(threadIdx.x);
  Def::template add<true>(y_true[i], y_pred[i], 1.0, sums + i * Def::kSums);
}

__global__ void tabulated(const double* labels, const double* predicted, std::int64_t* cells) {
  const int i = static_cast<int>(threadIdx.x);
  const std::int64_t t = ClassIndex::value(labels[i], -1.0, true, 21);
  const std::int64_t p = ClassIndex::value(predicted[i], 0.0, false, 21);
  cells[i] =
      MatrixCell::value(t, p, 21) + ClassCells::first(t, p, 21) + ClassCells::second(t, p, 21, 63);
}

#define KT_ELEMENTWISE(name, definition, operands, shapes) \
  template __global__ void elementwise<definition>(const double*, const double*, double*, Params);
#define KT_ROWWISE(name, definition, labels, shapes) \
  template __global__ void rowwise<definition>(const RowStats*, double*, Params);
#define KT_COLUMNWISE(name, definition) \
  template __global__ void columnwise<definition>(const double*, const double*, double*);
#include "../../csrc/kernels.def"
