#include "../defs/round.h"

#include "run.h"

namespace kt {

void round_to(double* x, std::int64_t n, DType dtype) {
  for (std::int64_t i = 0; i < n; ++i) x[i] = shared::round_one(x[i], dtype);
}

}  // namespace kt
