// The results, by one block.
#pragma once

#include "load.h"
#include "team.h"

namespace kt::KT_LEVEL {

KT_HOST_DEVICE void store_one(void* out, DType dtype, std::int64_t i, double x) {
  x = round_one(x, dtype);
  with_type(dtype, [&](auto type) {
    using Out = decltype(type);
    static_cast<Out*>(out)[i] = narrow<Out>(x);
  });
}

// In shared memory: a number a warp.
template <class Thread>
KT_HOST_DEVICE void finish_results(const Thread& thread, const FinishLaunch& launch) {
  const Together<Thread> run(thread, reinterpret_cast<double*>(thread.shared()));
  finish(run, launch.spec, launch.state,
         [&](std::int64_t i, double x) { store_one(launch.out, launch.dtype, i, x); });
}

}  // namespace kt::KT_LEVEL
