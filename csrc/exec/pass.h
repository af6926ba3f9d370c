// One job on its way over the data. Passes over the same batch take turns, tile
// by tile, so that each tile is read from memory once, however many there are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <memory_resource>

namespace kt {

// Objects in an arena, which gives all memory back at once.
using Arena = std::pmr::memory_resource;
struct Destroy {
  template <class T>
  void operator()(T* object) const {
    object->~T();
  }
};
template <class T>
using InArena = std::unique_ptr<T, Destroy>;
template <class T, class... Arguments>
InArena<T> make_in(Arena& arena, Arguments&&... arguments) {
  void* place = arena.allocate(sizeof(T), alignof(T));
  return InArena<T>(new (place) T(std::forward<Arguments>(arguments)...));
}

inline constexpr std::int64_t kMinChunk = 64 * 1024;
inline constexpr int kMaxChunks = 64;

// How work is cut: by the data's size alone, never by the number of threads.
struct Chunks {
  std::int64_t size = 1;
  int count = 1;
};

inline Chunks cut(std::int64_t n, std::int64_t min_chunk, int max_chunks, std::int64_t multiple) {
  std::int64_t size = std::max(min_chunk, (n + max_chunks - 1) / max_chunks);
  size = (size + multiple - 1) / multiple * multiple;
  return {size, static_cast<int>(std::max<std::int64_t>(1, (n + size - 1) / size))};
}

class Pass {
 public:
  Pass() = default;
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;
  virtual ~Pass() = default;

  // Adds the units [begin, end) to the sums of their chunk. A chunk's units come
  // in order and from one thread; a part ends with the chunk or at a multiple of
  // `step` from its beginning: so parts change no result.
  virtual void run(int chunk, std::int64_t begin, std::int64_t end) = 0;
  // Puts the chunks together, in their order.
  virtual void finish() = 0;

  std::int64_t units = 0;  // elements, rows ...
  std::int64_t width = 1;  // elements of y_pred in one
  std::int64_t step = 1;
  Chunks chunks;
  bool worth_threads = false;
};

// Runs them all to the end; returns whether several threads worked.
bool run_passes(Pass* const* passes, int count);

}  // namespace kt
