// Memory for the length of one call: a small batch allocates nothing.
#pragma once

#include <cstddef>
#include <memory_resource>

namespace kt {

// At most one at a time in a thread.
class ScratchArena {
 public:
  std::pmr::memory_resource& operator*() { return arena_; }

 private:
  static constexpr std::size_t kBytes = 128 * 1024;
  static std::byte* memory() {
    alignas(64) thread_local std::byte bytes[kBytes];
    return bytes;
  }
  std::pmr::monotonic_buffer_resource arena_{memory(), kBytes};
};

}  // namespace kt
