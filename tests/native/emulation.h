// Kernels run on the CPU, block after block, each block's threads as fibers that take
// turns. Memory that a block has not written holds NaN, a barrier that some thread never
// reaches is an error, and so is anything left over in the memory that a launch must
// leave zero.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#include "../../csrc/cuda/device.h"

namespace kt {
namespace {

constexpr std::size_t kStackBytes = 128 * 1024;
constexpr std::size_t kSharedBytes = 48 * 1024;

// A stack as AddressSanitizer knows it, which must hear of every change from one to another.
class Stack {
 public:
#if defined(__SANITIZE_ADDRESS__)
  void lies_at(const void* bottom, std::size_t size) {
    frames_ = nullptr;
    bottom_ = bottom;
    size_ = size;
  }
  // It was left in the middle of a function, for good.
  void abandon() { __asan_unpoison_memory_region(bottom_, size_); }
  void leave_for(const Stack& next) {
    __sanitizer_start_switch_fiber(&frames_, next.bottom_, next.size_);
  }
  void end_for(const Stack& next) {
    __sanitizer_start_switch_fiber(nullptr, next.bottom_, next.size_);
    frames_ = nullptr;
  }
  // From `last`, of which nobody else may know where it lies.
  void arrive_from(Stack& last) {
    __sanitizer_finish_switch_fiber(frames_, &last.bottom_, &last.size_);
  }

 private:
  void* frames_ = nullptr;
  const void* bottom_ = nullptr;
  std::size_t size_ = 0;
#else
  void lies_at(const void*, std::size_t) {}
  void abandon() {}
  void leave_for(const Stack&) {}
  void end_for(const Stack&) {}
  void arrive_from(Stack&) {}
#endif
};

// One block at a time: its threads run until they wait for others.
class Block {
 public:
  Block() : stacks_(kThreads * kStackBytes) {}

  template <class Body>
  void run(int block, int blocks, std::size_t shared_bytes, Body&& body) {
    block_ = block;
    blocks_ = blocks;
    shared_.assign(shared_bytes + 64, '\xff');
    alive_ = kThreads;
    arrived_ = generation_ = 0;
    failed_ = diverged_ = false;
    auto start = [&](int index) { body(index); };
    start_ = [](void* context, int index) { (*static_cast<decltype(start)*>(context))(index); };
    context_ = &start;
    for (int i = 0; i < kThreads; ++i) begin(i);
    while (alive_ > 0 && !failed_) {
      const long before = steps_;
      for (int i = 0; i < kThreads && !failed_; ++i) {
        if (!fibers_[i].done) resume(i);
      }
      // Everybody waits, and for somebody who has ended.
      if (steps_ == before && alive_ > 0) failed_ = true;
    }
    context_ = nullptr;
  }

  bool failed() const { return failed_; }
  bool diverged() const { return diverged_; }
  int block() const { return block_; }
  int blocks() const { return blocks_; }
  char* shared() { return align(shared_.data()); }

  void barrier(int index) {
    const long own = generation_;
    if (++arrived_ == kThreads) {
      arrived_ = 0;
      ++generation_;
      ++steps_;
    }
    while (generation_ == own) yield(index);
    ++steps_;
  }

  // Goes on when all threads of the warp have come; so nobody is two exchanges ahead
  // of one that has yet to read.
  // They must come from the same place, as a warp's threads must on a GPU.
  template <class X>
  __attribute__((noinline)) X exchange(int index, int mask, X x) {
    Fiber& fiber = fibers_[index];
    Fiber* const warp = fibers_ + index / kWarp * kWarp;
    static_assert(sizeof(X) <= sizeof(fiber.slots[0]));
    const int parity = fiber.exchanges++ & 1;
    std::memcpy(fiber.slots[parity], &x, sizeof(X));
    fiber.from[parity] = __builtin_return_address(0);
    for (int i = 0; i < kWarp; ++i) {
      while (warp[i].exchanges < fiber.exchanges) {
        if (warp[i].done) failed_ = true;
        yield(index);
      }
      if (warp[i].from[parity] != fiber.from[parity]) diverged_ = true;
    }
    ++steps_;
    X out;
    std::memcpy(&out, warp[(index % kWarp) ^ mask].slots[parity], sizeof(X));
    return out;
  }

 private:
  struct Fiber {
    jmp_buf at;
    Stack stack;
    bool started = false, done = false;
    long exchanges = 0;
    char slots[2][8];
    void* from[2];
  };

  static char* align(char* p) {
    return reinterpret_cast<char*>((reinterpret_cast<std::uintptr_t>(p) + 15) / 16 * 16);
  }

  void begin(int index) {
    Fiber& fiber = fibers_[index];
    if (fiber.started && !fiber.done) fiber.stack.abandon();
    fiber.started = fiber.done = false;
    fiber.exchanges = 0;
  }

  static void enter(unsigned high, unsigned low, int index) {
    auto* self = reinterpret_cast<Block*>((static_cast<std::uintptr_t>(high) << 32) | low);
    Fiber& fiber = self->fibers_[index];
    fiber.stack.arrive_from(self->home_stack_);
    self->start_(self->context_, index);
    fiber.done = true;
    --self->alive_;
    ++self->steps_;
    fiber.stack.end_for(self->home_stack_);
    _longjmp(self->home_, 1);
  }

  void resume(int index) {
    Fiber& fiber = fibers_[index];
    if (_setjmp(home_) != 0) {
      home_stack_.arrive_from(fiber.stack);
      return;
    }
    if (fiber.started) {
      home_stack_.leave_for(fiber.stack);
      _longjmp(fiber.at, 1);
    }
    fiber.started = true;
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = stacks_.data() + static_cast<std::size_t>(index) * kStackBytes;
    fiber.stack.lies_at(context.uc_stack.ss_sp, kStackBytes);
    context.uc_stack.ss_size = kStackBytes;
    context.uc_link = nullptr;
    const auto self = reinterpret_cast<std::uintptr_t>(this);
    makecontext(&context, reinterpret_cast<void (*)()>(&Block::enter), 3,
                static_cast<unsigned>(self >> 32), static_cast<unsigned>(self), index);
    home_stack_.leave_for(fiber.stack);
    setcontext(&context);
  }

  void yield(int index) {
    Fiber& fiber = fibers_[index];
    if (_setjmp(fiber.at) == 0) {
      fiber.stack.leave_for(home_stack_);
      _longjmp(home_, 1);
    }
    fiber.stack.arrive_from(home_stack_);
  }

  std::vector<char> stacks_, shared_;
  Fiber fibers_[kThreads];
  jmp_buf home_;
  Stack home_stack_;
  int block_ = 0, blocks_ = 1, alive_ = 0, arrived_ = 0;
  long generation_ = 0, steps_ = 0;
  bool failed_ = false, diverged_ = false;
  void (*start_)(void*, int) = nullptr;
  void* context_ = nullptr;
};

class FiberThread {
 public:
  FiberThread(Block& block, int index) : block_(block), index_(index) {}
  int index() const { return index_; }
  int block() const { return block_.block(); }
  int blocks() const { return block_.blocks(); }
  void sync() const { block_.barrier(index_); }
  void fence() const {}
  char* shared() const { return block_.shared(); }
  template <class X>
  X shuffle_xor(X x, int mask) const {
    return block_.exchange(index_, mask, x);
  }
  template <class X>
  void add(X* to, X x) const {
    *to += x;
  }
  void set(std::uint32_t* to, std::uint32_t bits) const { *to |= bits; }
  void set(std::uint64_t* to, std::uint64_t bits) const { *to |= bits; }
  // So that an address outside of what there is does not pass here.
  void prefetch(const void* at) const { (void)*static_cast<const volatile char*>(at); }
  unsigned take_ticket(unsigned* ticket, unsigned last) const {
    const unsigned before = *ticket;
    *ticket = before >= last ? 0 : before + 1;
    return before;
  }

 private:
  Block& block_;
  int index_;
};

bool backwards = false;  // the last block runs first

template <class Launch, class Body>
const char* run(const Grid& grid, const void* from, Body&& body) {
  static Block block;
  if (static_cast<std::size_t>(grid.shared_bytes) > kSharedBytes) {
    return "more shared memory than a block has";
  }
  const Launch launch = *static_cast<const Launch*>(from);
  for (int i = 0; i < grid.blocks; ++i) {
    const int b = backwards ? grid.blocks - 1 - i : i;
    block.run(b, grid.blocks, static_cast<std::size_t>(grid.shared_bytes),
              [&](int index) { body(FiberThread(block, index), launch); });
    if (block.diverged()) return "threads of a warp have diverged where they exchange data";
    if (block.failed()) return "threads of a block wait for threads that have ended";
  }
  if constexpr (requires { launch.workspace; }) {
    if (*launch.workspace.ticket != 0) return "a launch has left its ticket behind";
    if (*launch.workspace.flags != 0) return "a launch has left flags behind";
  }
  if constexpr (requires { launch.bins; }) {
    bool commits = true;
    if constexpr (requires { launch.commits; }) commits = launch.commits;
    for (std::int64_t i = 0; commits && i < launch.bins.count * launch.bins.words; ++i) {
      if (launch.workspace.bins[i] != 0) return "a launch has left bins behind";
    }
  }
  return nullptr;
}

#define KT_EMULATED_CASE(name, launch_type, ...)                                         \
  case CudaKernel::name:                                                                 \
    return run<launch_type>(grid, from, [](const FiberThread& t, const launch_type& l) { \
      using namespace emulated;                                                          \
      __VA_ARGS__(t, l);                                                                 \
    });

}  // namespace
}  // namespace kt
