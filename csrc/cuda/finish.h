// The results, by one block.
#pragma once

#include "load.h"
#include "team.h"

namespace kt::KT_LEVEL {

// In shared memory: a number a warp.
template <Result kResult, class Thread>
KT_HOST_DEVICE void finish_results(const Thread& thread, const FinishLaunch& launch) {
  const Together<Thread> run(thread, reinterpret_cast<double*>(thread.shared()));
  finish_row<kResult>(run, launch.spec, launch.state,
                      [&](std::int64_t i, double x) { store_one(launch.out, launch.dtype, i, x); });
}

}  // namespace kt::KT_LEVEL
