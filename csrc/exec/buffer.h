// Scratch memory: on the stack up to kInline elements, on the heap beyond, so
// that a small batch allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace kt {

template <class T, std::size_t kInline>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::int64_t size) { resize(size); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  // Contents are unspecified afterwards.
  void resize(std::int64_t size) {
    size_ = static_cast<std::size_t>(size);
    if (size_ > kInline) heap_ = std::make_unique_for_overwrite<T[]>(size_);
  }
  void clear(std::int64_t size) {
    resize(size);
    T* all = data();
    for (std::size_t i = 0; i < size_; ++i) all[i] = T{};
  }

  T* data() { return size_ > kInline ? heap_.get() : inline_; }
  const T* data() const { return size_ > kInline ? heap_.get() : inline_; }
  T& operator[](std::int64_t i) { return data()[i]; }
  const T& operator[](std::int64_t i) const { return data()[i]; }
  T* begin() { return data(); }
  T* end() { return data() + size_; }

 private:
  std::size_t size_ = 0;
  std::unique_ptr<T[]> heap_;
  alignas(64) T inline_[kInline];
};

}  // namespace kt
