// 16-bit floats as float: every value exactly, subnormals, infinities and NaN included.
#pragma once

#include <cstdint>

#include "common.h"

namespace kt::KT_LEVEL {

struct Half {
  std::uint16_t bits;
};
struct BrainHalf {
  std::uint16_t bits;
};

KT_HOST_DEVICE float float_from_bits(std::uint32_t bits) {
  float out;
  __builtin_memcpy(&out, &bits, sizeof(out));
  return out;
}
KT_HOST_DEVICE std::uint32_t bits_of_float(float x) {
  std::uint32_t out;
  __builtin_memcpy(&out, &x, sizeof(out));
  return out;
}

template <class In>
KT_HOST_DEVICE In widen(In x) {
  return x;
}
KT_HOST_DEVICE float widen(BrainHalf x) {
  return float_from_bits(static_cast<std::uint32_t>(x.bits) << 16);
}
// No float32 subnormals come in between: they take many times as long, and are zero where
// a processor flushes them.
KT_HOST_DEVICE float widen(Half x) {
#if defined(__CUDA_ARCH__)
  float out;
  asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(x.bits));
  return out;
#else
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000u) << 16;
  const std::int32_t magnitude = static_cast<std::int32_t>(x.bits & 0x7fffu) << 13;
  // The exponents differ by 112; those of infinity and NaN, the largest ones, by twice that.
  const std::int32_t special = magnitude >= 0x0f800000 ? 0x38000000 : 0;
  const float raised =
      float_from_bits(static_cast<std::uint32_t>(magnitude + 0x38000000 + special));
  // Of a subnormal m 2^-24 this has made 2^-15 + m 2^-25.
  const float below = raised - 6.103515625e-05f;  // 2^-14
  const float out = raised + (below < 0.0f ? below : 0.0f);
  return float_from_bits(bits_of_float(out) | sign);
#endif
}

// The other way, of numbers that Out can hold.
template <class Out>
KT_HOST_DEVICE Out narrow(double x) {
  return static_cast<Out>(x);
}
template <>
KT_HOST_DEVICE BrainHalf narrow<BrainHalf>(double x) {
  return {static_cast<std::uint16_t>(bits_of_float(static_cast<float>(x)) >> 16)};
}
template <>
KT_HOST_DEVICE Half narrow<Half>(double x) {
  const std::uint32_t bits = bits_of_float(static_cast<float>(x));
  const double magnitude = x < 0.0 ? -x : x;
  std::uint32_t rest = ((bits & 0x7fffffffu) - 0x38000000u) >> 13;
  if (!(magnitude <= 65504.0)) rest = x == x ? 0x7c00u : 0x7e00u;
  if (magnitude < 6.103515625e-05) {  // 2^-14: subnormals are multiples of 2^-24
    rest = static_cast<std::uint32_t>(magnitude * 16777216.0);
  }
  return {static_cast<std::uint16_t>(((bits >> 16) & 0x8000u) | rest)};
}

}  // namespace kt::KT_LEVEL
