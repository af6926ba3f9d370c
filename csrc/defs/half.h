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

template <class In>
KT_HOST_DEVICE In widen(In x) {
  return x;
}
KT_HOST_DEVICE float widen(BrainHalf x) {
  return float_from_bits(static_cast<std::uint32_t>(x.bits) << 16);
}
KT_HOST_DEVICE float widen(Half x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000u) << 16;
  const std::uint32_t rest = x.bits & 0x7fffu;
  // Scaling by 2^112 places the exponent and normalises subnormals.
  const float scaled = float_from_bits(rest << 13) * 5.192296858534828e+33f;
  const float special = float_from_bits((rest << 13) | 0x7f800000u);
  const float magnitude = rest >= 0x7c00u ? special : scaled;
  std::uint32_t bits;
  __builtin_memcpy(&bits, &magnitude, sizeof(bits));
  return float_from_bits(bits | sign);
}

// The other way, of numbers that Out can hold.
template <class Out>
KT_HOST_DEVICE Out narrow(double x) {
  return static_cast<Out>(x);
}
KT_HOST_DEVICE std::uint32_t bits_of_float(double x) {
  const float value = static_cast<float>(x);
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  return bits;
}
template <>
KT_HOST_DEVICE BrainHalf narrow<BrainHalf>(double x) {
  return {static_cast<std::uint16_t>(bits_of_float(x) >> 16)};
}
template <>
KT_HOST_DEVICE Half narrow<Half>(double x) {
  const std::uint32_t sign = (bits_of_float(x) >> 16) & 0x8000u;
  std::uint32_t rest = 0x7e00u;  // NaN
  if (x - x != 0.0) {
    rest = x == x ? 0x7c00u : rest;
  } else {
    // Scaling by 2^-112 places the exponent and makes subnormals of small numbers.
    rest = (bits_of_float(x * 1.925929944387236e-34) & 0x7fffffffu) >> 13;
  }
  return {static_cast<std::uint16_t>(sign | rest)};
}

}  // namespace kt::KT_LEVEL
