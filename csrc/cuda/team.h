// Threads that work on one thing together, and how they put together what they have:
// always in the same order, so that the same launch gives the same bits.
//
// `Thread` is what a thread knows: index(), block(), blocks(), sync(), fence(),
// shared(), prefetch(address), shuffle_xor(x, mask), add(address, x),
// set(address, bits), take_ticket(address, last). On a GPU it is CudaThread (thread.h); tests have
// one that runs on the CPU. All threads of a warp reach every shuffle, all of a block every sync.
#pragma once

#include "../exec/finish.h"
#include "launch.h"

namespace kt::KT_LEVEL {

template <class Thread>
class Team {
 public:
  // `size` is a power of 2 up to a warp, or kThreads; then `scratch` holds a number for
  // each warp, in shared memory.
  KT_HOST_DEVICE Team(const Thread& thread, int size, double* scratch)
      : thread_(thread), size_(size), scratch_(scratch) {}

  KT_HOST_DEVICE int size() const { return size_; }
  KT_HOST_DEVICE int lane() const { return thread_.index() & (size_ - 1); }
  KT_HOST_DEVICE int number() const { return thread_.index() / size_; }
  KT_HOST_DEVICE int per_block() const { return kThreads / size_; }

  // The same result in every thread of the team; `combine` must be commutative.
  template <class X, class Combine>
  KT_HOST_DEVICE X all(X x, Combine&& combine) const {
    for (int mask = (size_ < kWarp ? size_ : kWarp) / 2; mask > 0; mask /= 2) {
      x = combine(x, thread_.shuffle_xor(x, mask));
    }
    if (size_ <= kWarp) return x;
    static_assert(sizeof(X) <= sizeof(double));
    X* scratch = reinterpret_cast<X*>(scratch_);
    thread_.sync();  // what was there has been read
    if (thread_.index() % kWarp == 0) scratch[thread_.index() / kWarp] = x;
    thread_.sync();
    x = scratch[0];
    for (int warp = 1; warp < kThreads / kWarp; ++warp) x = combine(x, scratch[warp]);
    return x;
  }

  KT_HOST_DEVICE double sum(double x) const {
    return all(x, [](double a, double b) { return a + b; });
  }
  template <class X>
  KT_HOST_DEVICE X largest(X x) const {
    return all(x, [](X a, X b) { return a > b ? a : b; });
  }
  template <class X>
  KT_HOST_DEVICE X smallest(X x) const {
    return all(x, [](X a, X b) { return a < b ? a : b; });
  }
  KT_HOST_DEVICE bool any(bool x) const {
    return all(x ? 1 : 0, [](int a, int b) { return a | b; }) != 0;
  }

 private:
  const Thread& thread_;
  int size_;
  double* scratch_;
};

// Sums over those before and behind a thread.
struct Around {
  double before = 0.0, behind = 0.0;
};

// Among `size` neighbours, a power of 2; all threads of the block take part. `scratch`: a
// number for each warp, in shared memory.
template <class Thread>
KT_HOST_DEVICE Around sums_around(const Thread& thread, double x, int size, double* scratch) {
  Around out;
  for (int mask = 1; mask < size && mask < kWarp; mask *= 2) {
    const double other = thread.shuffle_xor(x, mask);
    const bool is_before = (thread.index() & mask) != 0;
    out.before += is_before ? other : 0.0;
    out.behind += is_before ? 0.0 : other;
    x += other;
  }
  if (size <= kWarp) return out;
  const int warp = thread.index() / kWarp, warps = size / kWarp;
  thread.sync();  // what was there has been read
  if (thread.index() % kWarp == 0) scratch[warp] = x;
  thread.sync();
  for (int i = warp / warps * warps, end = i + warps; i < end; ++i) {
    out.before += i < warp ? scratch[i] : 0.0;
    out.behind += i > warp ? scratch[i] : 0.0;
  }
  return out;
}

// Sums of kThreads numbers each: `count` of them, one behind the other. out[i] is
// written by one thread.
template <class Thread, class Put>
KT_HOST_DEVICE void block_sums(const Thread& thread, const double* columns, int count, Put&& put) {
  thread.sync();
  const int warp = thread.index() / kWarp, lane = thread.index() % kWarp;
  const Team<Thread> team(thread, kWarp, nullptr);
  for (int i = warp; i < count; i += kThreads / kWarp) {
    double x = 0.0;
    KT_NO_UNROLL
    for (int j = lane; j < kThreads; j += kWarp) x += columns[i * kThreads + j];
    x = team.sum(x);
    if (lane == 0) put(i, x);
  }
}

// Sums over the blocks of what each left in `partials`, into shared memory.
template <class Thread>
KT_HOST_DEVICE void grid_sums(const Thread& thread, const double* partials, int count,
                              double* out) {
  const int warp = thread.index() / kWarp, lane = thread.index() % kWarp;
  const Team<Thread> team(thread, kWarp, nullptr);
  for (int i = warp; i < count; i += kThreads / kWarp) {
    double x = 0.0;
    KT_NO_UNROLL
    for (int b = lane; b < thread.blocks(); b += kWarp) x += partials[b * count + i];
    x = team.sum(x);
    if (lane == 0) out[i] = x;
  }
  thread.sync();
}

// Whether this block is the last one to come here; it then sees what all have written.
// `scratch`: a number in shared memory.
template <class Thread>
KT_HOST_DEVICE bool is_last_block(const Thread& thread, unsigned* ticket, double* scratch) {
  unsigned* last = reinterpret_cast<unsigned*>(scratch);
  thread.fence();
  thread.sync();
  if (thread.index() == 0) {
    const unsigned end = static_cast<unsigned>(thread.blocks()) - 1u;
    *last = thread.take_ticket(ticket, end) == end ? 1u : 0u;
  }
  thread.sync();
  const bool out = *last != 0;
  thread.sync();  // `scratch` may be used again
  thread.fence();
  return out;
}

// How finish() runs on the threads of one block.
template <class Thread>
class Together {
 public:
  KT_HOST_DEVICE Together(const Thread& thread, double* scratch)
      : thread_(thread), team_(thread, kThreads, scratch) {}

  template <int kCount, class F>
  KT_HOST_DEVICE void sum(std::int64_t n, double (&sums)[kCount], F&& f) const {
    for (std::int64_t i = thread_.index(); i < n; i += kThreads) f(i, sums);
    for (double& x : sums) x = team_.sum(x);
  }
  template <class Make, class Slice>
  KT_HOST_DEVICE double slices(std::int64_t n, Make&& make, Slice&& slice) const {
    double sum = 0.0;
    for (std::int64_t i = thread_.index() + 1; i < n; i += kThreads) {
      sum += slice(make(i - 1), make(i));
    }
    return team_.sum(sum);
  }
  template <class F>
  KT_HOST_DEVICE double largest(std::int64_t n, F&& f) const {
    double best = 0.0;
    for (std::int64_t i = thread_.index(); i < n; i += kThreads) {
      const double x = f(i);
      best = x > best ? x : best;
    }
    return team_.largest(best);
  }
  template <class F>
  KT_HOST_DEVICE void each(std::int64_t n, F&& f) const {
    for (std::int64_t i = thread_.index(); i < n; i += kThreads) f(i);
  }

 private:
  const Thread& thread_;
  Team<Thread> team_;
};

}  // namespace kt::KT_LEVEL
