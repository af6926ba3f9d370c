// Any dtype, any stride -> float or double, branch-free inside the loops.
#pragma once

#include <cstdint>
#include <cstring>

#include "../defs/half.h"
#include "../tensor/view.h"
#include "vec.h"

namespace kt::KT_LEVEL {

template <class In, class Out>
void convert_as(const char* data, std::int64_t stride, std::int64_t n, Out* out) {
  const In* in = reinterpret_cast<const In*>(data);
  if (stride == 1) {
    for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<Out>(widen(in[i]));
  } else {
    for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<Out>(widen(in[i * stride]));
  }
}

#if defined(__F16C__)
// The compiler would make several instructions of one.
template <class Out>
void convert_halves(const Half* in, std::int64_t n, Out* out) {
  std::int64_t i = 0;
  for (; i + kLanes<float> <= n; i += kLanes<float>) {
    const F32 x = load_half(in + i);
    if constexpr (sizeof(Out) == sizeof(float)) {
      store(out + i, x);
    } else {
      F32Half half[2];
      std::memcpy(half, &x, sizeof(half));
      store(out + i, to_double(half[0]));
      store(out + i + kLanes<double>, to_double(half[1]));
    }
  }
  for (; i < n; ++i) out[i] = static_cast<Out>(widen(in[i]));
}
#endif

template <class Out>
void convert(const char* data, DType dtype, std::int64_t stride, std::int64_t n, Out* out) {
  switch (dtype) {
    case DType::Bool:
      // A byte that is not 0 is true, whatever its value.
      for (std::int64_t i = 0; i < n; ++i) out[i] = data[i * stride] != 0 ? Out{1} : Out{0};
      return;
    case DType::UInt8:
      return convert_as<std::uint8_t>(data, stride, n, out);
    case DType::UInt16:
      return convert_as<std::uint16_t>(data, stride, n, out);
    case DType::UInt32:
      return convert_as<std::uint32_t>(data, stride, n, out);
    case DType::UInt64:
      return convert_as<std::uint64_t>(data, stride, n, out);
    case DType::Int8:
      return convert_as<std::int8_t>(data, stride, n, out);
    case DType::Int16:
      return convert_as<std::int16_t>(data, stride, n, out);
    case DType::Int32:
      return convert_as<std::int32_t>(data, stride, n, out);
    case DType::Int64:
      return convert_as<std::int64_t>(data, stride, n, out);
    case DType::Float16:
#if defined(__F16C__)
      if (stride == 1) return convert_halves(reinterpret_cast<const Half*>(data), n, out);
#endif
      return convert_as<Half>(data, stride, n, out);
    case DType::BFloat16:
      return convert_as<BrainHalf>(data, stride, n, out);
    case DType::Float32:
      return convert_as<float>(data, stride, n, out);
    case DType::Float64:
      return convert_as<double>(data, stride, n, out);
  }
}

}  // namespace kt::KT_LEVEL
