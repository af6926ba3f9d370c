// The rows of the table as numbers, for each loop shape.
#pragma once

namespace kt {

#define KT_ROWWISE(name, definition, labels, shapes)
#define KT_COLUMNWISE(name, definition)
#define KT_BINNED(name)
#define KT_TABULATED(name)
#define KT_ELEMENTWISE(name, definition, operands, shapes) name,
enum class ElementwiseId : int {
#include "../kernels.def"
};
#undef KT_ELEMENTWISE
#undef KT_ROWWISE
#define KT_ELEMENTWISE(name, definition, operands, shapes)
#define KT_ROWWISE(name, definition, labels, shapes) name,
enum class RowwiseId : int {
#include "../kernels.def"
};
#undef KT_ROWWISE
#undef KT_COLUMNWISE
#define KT_ROWWISE(name, definition, labels, shapes)
#define KT_COLUMNWISE(name, definition) name,
enum class ColumnwiseId : int {
#include "../kernels.def"
};
#undef KT_ELEMENTWISE
#undef KT_ROWWISE
#undef KT_COLUMNWISE
#undef KT_BINNED
#undef KT_TABULATED

}  // namespace kt
