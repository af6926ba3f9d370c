// The floating-point mode that the kernels compute in: round to the nearest, keep
// subnormal numbers, trap nothing.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace kt {

// Puts the calling thread into that mode, and back. TensorFlow's and XLA's threads take
// subnormal numbers for zero, and so do all that torch.set_flush_denormal(True) is called
// on; results must not depend on whose thread it is. A thread in the usual mode pays for a
// look at it only.
class FloatMode {
 public:
  FloatMode() : found_(read()) {
    if (!usual(found_)) write(kUsual);
  }
  ~FloatMode() {
    if (!usual(found_)) write(found_);
  }
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

 private:
#if defined(__SSE2__)
  // MXCSR: the lowest bits are no mode, but tell what has happened.
  using Register = unsigned;
  static constexpr Register kUsual = 0x1f80, kModes = 0xffc0;
  static Register read() { return _mm_getcsr(); }
  static void write(Register mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
  using Register = std::uint64_t;
  static constexpr Register kUsual = 0, kModes = ~Register{0};  // FPCR
  static Register read() {
    Register mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }
  static void write(Register mode) { asm volatile("msr fpcr, %0" : : "r"(mode) : "memory"); }
#else
  using Register = int;
  static constexpr Register kUsual = 0, kModes = 0;
  static Register read() { return kUsual; }
  static void write(Register) {}
#endif
  static bool usual(Register mode) { return (mode & kModes) == kUsual; }

  Register found_;
};

}  // namespace kt
