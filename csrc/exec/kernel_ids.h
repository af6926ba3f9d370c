// The rows of the table as numbers, for each loop shape.
#pragma once

namespace kt {

#define KT_ELEMENTWISE(name, definition, operands, shapes) name,
enum class ElementwiseId : int {
#include "../kernels.def"
};
#define KT_ELEMENTWISE(name, definition, operands, shapes) +1
constexpr int kElementwiseKernels = 0
#include "../kernels.def"
    ;
#define KT_ROWWISE(name, definition, labels, shapes) name,
enum class RowwiseId : int {
#include "../kernels.def"
};
#define KT_COLUMNWISE(name, definition) name,
enum class ColumnwiseId : int {
#include "../kernels.def"
};

}  // namespace kt
