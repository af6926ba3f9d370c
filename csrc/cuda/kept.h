// States that somebody else keeps: into the form that kernels add to, and back.
#pragma once

#include "launch.h"

namespace kt::KT_LEVEL {

// each(variable, start, step): a thread's numbers of a variable.
template <class Thread, class Each>
KT_HOST_DEVICE void for_variables(const Thread& thread, const State& state, Each&& each) {
  const std::int64_t start = std::int64_t{kThreads} * thread.block() + thread.index();
  for (int v = 0; v < state.count; ++v) each(v, start, std::int64_t{kThreads} * thread.blocks());
}

template <class Thread>
KT_HOST_DEVICE void read_kept_state(const Thread& thread, const KeptLaunch& launch) {
  for_variables(thread, launch.state, [&](int v, std::int64_t start, std::int64_t step) {
    read_kept(launch.kept[v], start, step, launch.adds, launch.state.variables[v]);
  });
}

template <class Thread>
KT_HOST_DEVICE void write_kept_state(const Thread& thread, const KeptLaunch& launch) {
  for_variables(thread, launch.state, [&](int v, std::int64_t start, std::int64_t step) {
    write_kept(launch.state.variables[v], start, step, launch.kept[v]);
  });
}

}  // namespace kt::KT_LEVEL
