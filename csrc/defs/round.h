// What a dtype can hold of a number, as a cast to it would make it: floats are rounded
// to the nearest, ties to even, and become infinite beyond the largest; integers are
// truncated and wrap around; what no 64-bit integer holds becomes 0.
#pragma once

#include <cmath>
#include <cstdint>

#include "../tensor/view.h"
#include "math.h"

namespace kt::KT_LEVEL {

// Nearest value with `digits` significant bits and exponents down to `lowest`,
// ties to even; beyond `largest` it is infinite.
KT_HOST_DEVICE double round_float(double x, int digits, int lowest, double largest) {
  if (x - x != 0.0 || x == 0.0) return x;
  int exponent;
  ::frexp(x, &exponent);
  const int unit = exponent - digits > lowest ? exponent - digits : lowest;
  const double rounded = ::ldexp(::nearbyint(::ldexp(x, -unit)), unit);
  return ::fabs(rounded) > largest ? x < 0.0 ? -kInfinity : kInfinity : rounded;
}

template <class I>
KT_HOST_DEVICE double round_integer(double x) {
  return static_cast<double>(static_cast<I>(to_int64(x, 0)));
}

KT_HOST_DEVICE double round_one(double x, DType dtype) {
  switch (dtype) {
    case DType::Bool:
      return x != 0.0 ? 1.0 : 0.0;
    case DType::UInt8:
      return round_integer<std::uint8_t>(x);
    case DType::UInt16:
      return round_integer<std::uint16_t>(x);
    case DType::UInt32:
      return round_integer<std::uint32_t>(x);
    case DType::UInt64:
      return round_integer<std::uint64_t>(x);
    case DType::Int8:
      return round_integer<std::int8_t>(x);
    case DType::Int16:
      return round_integer<std::int16_t>(x);
    case DType::Int32:
      return round_integer<std::int32_t>(x);
    case DType::Int64:
      return round_integer<std::int64_t>(x);
    case DType::Float16:
      return round_float(x, 11, -24, 65504.0);
    case DType::BFloat16:
      return round_float(x, 8, -133, 3.3895313892515355e38);
    case DType::Float32:
      return static_cast<double>(static_cast<float>(x));
    case DType::Float64:
      return x;
  }
  return x;
}

}  // namespace kt::KT_LEVEL
