// One SIMD level. CMake compiles this file once per level with KT_LEVEL set to
// the level's namespace and the matching -march.
#include "level.h"

#include "../defs/elementwise.h"
#include "accumulate.h"
#include "binned_block.h"
#include "class_cells.h"
#include "columns_block.h"
#include "convert.h"
#include "elementwise_block.h"
#include "expression_block.h"
#include "kernel_ids.h"
#include "row_value.h"

#define KT_STRING_OF(x) #x
#define KT_STRING(x) KT_STRING_OF(x)

namespace kt::KT_LEVEL {

namespace {

#define KT_ELEMENTWISE(name, definition, operands, shapes) blocks_of<definition>(),
const ElementwiseBlocks kElementwise[] = {
#include "../kernels.def"
};

#define KT_ROWWISE(name, definition, labels, shapes)              \
  {rows_block<definition, float>, rows_block<definition, double>, \
   (definition::kNeeds & kUsableLabel) != 0},
const RowsBlocks kRowwise[] = {
#include "../kernels.def"
};

#define KT_ROWWISE(name, definition, labels, shapes) {definition::kNeeds, definition::value},
const RowDefinition kRowDefinitions[] = {
#include "../kernels.def"
};

template <class T>
void rows_together(const Rows& rows, RowMember* members, int count) {
  rows_of_members<T>(rows, kRowDefinitions, members, count);
}

#define KT_COLUMNWISE(name, definition) \
  {columns_block<definition, float>,    \
   columns_block<definition, double>,   \
   fold_columns<definition>,            \
   definition::kSums,                   \
   definition::kLow,                    \
   definition::kLowOf,                  \
   definition::kCountsHits},
const ColumnsBlocks kColumnwise[] = {
#include "../kernels.def"
};

void sum(const double* values, std::int64_t n, double* lanes) {
  sum_as_double<Identity, double>(values, values, n, Params(), lanes);
}

void multiply(double* x, const double* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) x[i] *= y[i];
}

// In float64 and rounded once, whatever T is.
template <class T>
void sigmoid(T* x, std::int64_t n) {
  const auto some = [](T* at) { store_double(at, sigmoid_of(load_double(at))); };
  std::int64_t i = 0;
  for (; i + kLanes<double> <= n; i += kLanes<double>) some(x + i);
  if (i < n) {
    T buffer[kLanes<double>] = {};
    const std::size_t bytes = static_cast<std::size_t>(n - i) * sizeof(T);
    std::memcpy(buffer, x + i, bytes);
    some(buffer);
    std::memcpy(x + i, buffer, bytes);
  }
}

double read(const char* data, std::int64_t bytes) {
  constexpr int kSize = sizeof(I64);
  I64 acc[4] = {};
  std::int64_t i = 0;
  for (; i + 4 * kSize <= bytes; i += 4 * kSize) {
    for (int a = 0; a < 4; ++a) {
      I64 v;
      std::memcpy(&v, data + i + a * kSize, sizeof(v));
      acc[a] ^= v;
    }
  }
  const I64 all = (acc[0] ^ acc[1]) ^ (acc[2] ^ acc[3]);
  std::int64_t sum = 0;
  for (int lane = 0; lane < kLanes<double>; ++lane) sum ^= all[lane];
  for (; i < bytes; ++i) sum ^= data[i];
  return static_cast<double>(sum);
}

}  // namespace

extern const Level kLevel;
const Level kLevel = {
    KT_STRING(KT_LEVEL_NAME),
    kElementwise,
    kRowwise,
    kColumnwise,
    rows_together<float>,
    rows_together<double>,
    {threshold_cells<float>, threshold_cells<double>, even_bins<float>, even_bins<double>,
     count_even, cells_of_counts, listed_bins<float>, listed_bins<double>},
    expression_sums<float>,
    expression_sums<double>,
    expression_values,
    sum,
    weighted_sum,
    sum_each_row,
    zero_or_one<float>,
    zero_or_one<double>,
    hits<float>,
    hits<double>,
    count_cells<float>,
    count_cells<double>,
    argmax_block<float>,
    argmax_block<double>,
    class_cells<double>,
    class_cells<std::int32_t>,
    class_cells<std::int64_t>,
    convert<float>,
    convert<double>,
    multiply,
    sigmoid<float>,
    sigmoid<double>,
    add,
    accumulate,
    read,
};

}  // namespace kt::KT_LEVEL
