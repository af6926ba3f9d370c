// A row of the table of kernels (kernels.def).
#pragma once

#include "kernel_ids.h"

namespace kt {

enum class Executor { Elementwise, Rowwise, Columnwise, Binned, Tabulated, Expression };
enum class Operands { Unary, Binary };
enum class Shapes { Broadcast, Plain, Rows, Same };
enum class Labels { None, Sparse, Dense, Pair };

struct KernelRow {
  const char* name;
  Executor executor;
  int id;  // ElementwiseId, RowwiseId or ColumnwiseId
  Operands operands = Operands::Binary;
  Shapes shapes = Shapes::Broadcast;
  Labels labels = Labels::Sparse;

  bool operator==(const KernelRow&) const = default;
};

}  // namespace kt
