// Before Python 3.14, CPython ends a thread that asks for the interpreter's lock while the
// interpreter shuts down: with pthread_exit, which unwinds the stack. Destructors of ours would
// then touch Python objects without the lock, and one that asks for the lock itself ends the
// process ("terminate called without an active exception").
#pragma once

#include <chrono>
#include <thread>

namespace kt {

// Calls a function of CPython's C interface that may wait for the lock: one that runs Python
// code, or takes the lock. A thread that would be unwound sleeps instead until the process has
// ended, as all do from Python 3.14 on. Such functions throw nothing: whoever leaves them
// without returning is unwound.
template <class Call>
auto safe_at_shutdown(Call&& call) {
  struct Guard {
    bool returned = false;
    ~Guard() {
      while (!returned) std::this_thread::sleep_for(std::chrono::hours(1));
    }
  } guard;
  auto result = call();
  guard.returned = true;
  return result;
}

}  // namespace kt
