// A small pool of our own: workers spin briefly for the next job, then sleep.
// Work is cut into chunks whose number depends on the data alone, so the number
// of threads never changes a result. Safe across fork: a child starts afresh.
#pragma once

#include <cstdint>

namespace kt {

// Below this many elements waking a second thread costs more than it saves.
constexpr std::int64_t kParallelThreshold = 256 * 1024;

// What the user has set; or else the default, if the limit is not lower.
int num_threads();
void set_num_threads(int count);      // 0: nothing any more
void set_default_threads(int count);  // before that: the cores of this process, at most 8
void limit_threads(int count);        // what another library that is in use would take

// Runs task(context, 0) ... task(context, count - 1), on several threads when
// `parallel` and the pool is free. Returns whether it used more than one.
bool run_chunks(int count, bool parallel, void (*task)(void* context, int chunk), void* context);

}  // namespace kt
