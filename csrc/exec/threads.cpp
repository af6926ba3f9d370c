#include "threads.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include "float_mode.h"

namespace kt {
namespace {

int available_cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

class Pool {
 public:
  explicit Pool(int workers) {
    for (int i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
  }

  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
      job_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  int workers() const { return static_cast<int>(threads_.size()); }

  void run(int count, void (*task)(void*, int), void* context) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      task_ = task;
      context_ = context;
      count_ = count;
      next_.store(0, std::memory_order_relaxed);
      busy_.store(workers(), std::memory_order_relaxed);
      job_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    drain();
    while (busy_.load(std::memory_order_acquire) != 0) pause();
  }

 private:
  void drain() {
    for (;;) {
      const int chunk = next_.fetch_add(1, std::memory_order_relaxed);
      if (chunk >= count_) return;
      task_(context_, chunk);
    }
  }

  void work() {
    const FloatMode mode;  // a new thread has the mode of the one that starts it
    std::uint64_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < 2000 && job_.load(std::memory_order_acquire) == seen; ++spin) {
        pause();
      }
      if (job_.load(std::memory_order_acquire) == seen) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return job_.load(std::memory_order_acquire) != seen; });
      }
      seen = job_.load(std::memory_order_acquire);
      if (stop_) return;
      drain();
      busy_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<std::uint64_t> job_{0};
  std::atomic<int> next_{0};
  std::atomic<int> busy_{0};
  void (*task_)(void*, int) = nullptr;
  void* context_ = nullptr;
  int count_ = 0;
  bool stop_ = false;
};

// The pool is reached through a pointer and never destroyed at exit: joining
// threads while the process tears down can hang.
struct Shared {
  std::mutex in_use;
  Pool* pool = nullptr;
};

// Memory bandwidth is spent long before every core of a large machine works.
std::atomic<int> default_threads = std::min(available_cores(), 8);
std::atomic<int> most_threads = std::numeric_limits<int>::max();
std::atomic<int> asked_threads = 0;

Shared* shared() {
  static Shared* instance = nullptr;
  static std::once_flag once;
  std::call_once(once, [] {
    instance = new Shared;
#if defined(__unix__) || defined(__APPLE__)
    // The parent's workers do not exist in a child, and its locks may be held.
    pthread_atfork(nullptr, nullptr, [] { instance = new Shared; });
#endif
  });
  return instance;
}

}  // namespace

int num_threads() {
  const int asked = asked_threads.load(std::memory_order_relaxed);
  return asked > 0 ? asked : std::min(default_threads.load(), most_threads.load());
}

void set_num_threads(int count) { asked_threads = count; }

void set_default_threads(int count) { default_threads = count; }

void limit_threads(int count) { most_threads = std::max(1, count); }

bool run_chunks(int count, bool parallel, void (*task)(void* context, int chunk), void* context) {
  const int threads = num_threads();
  if (parallel && threads > 1 && count > 1) {
    Shared* state = shared();
    // Another Python thread may be using the pool: then this one works alone.
    std::unique_lock<std::mutex> lock(state->in_use, std::try_to_lock);
    if (lock.owns_lock()) {
      if (state->pool == nullptr || state->pool->workers() != threads - 1) {
        delete state->pool;
        state->pool = nullptr;
        state->pool = new Pool(threads - 1);
      }
      state->pool->run(count, task, context);
      return true;
    }
  }
  for (int chunk = 0; chunk < count; ++chunk) task(context, chunk);
  return false;
}

}  // namespace kt
