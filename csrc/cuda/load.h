// Elements of any dtype as float or double, one or four at a time.
#pragma once

#include "../defs/half.h"
#include "../defs/round.h"
#include "launch.h"

namespace kt::KT_LEVEL {

// A byte that is not 0 is true, whatever its value.
struct Truth {
  std::uint8_t byte;
};
KT_HOST_DEVICE float widen(Truth x) { return x.byte != 0 ? 1.0f : 0.0f; }
template <>
KT_HOST_DEVICE Truth narrow<Truth>(double x) {
  return {static_cast<std::uint8_t>(x != 0.0 ? 1 : 0)};
}

// Calls use(a number of the type that `dtype` names).
template <class Use>
KT_HOST_DEVICE void with_type(DType dtype, Use&& use) {
  switch (dtype) {
    case DType::Bool:
      return use(Truth{});
    case DType::UInt8:
      return use(std::uint8_t{});
    case DType::UInt16:
      return use(std::uint16_t{});
    case DType::UInt32:
      return use(std::uint32_t{});
    case DType::UInt64:
      return use(std::uint64_t{});
    case DType::Int8:
      return use(std::int8_t{});
    case DType::Int16:
      return use(std::int16_t{});
    case DType::Int32:
      return use(std::int32_t{});
    case DType::Int64:
      return use(std::int64_t{});
    case DType::Float16:
      return use(Half{});
    case DType::BFloat16:
      return use(BrainHalf{});
    case DType::Float32:
      return use(float{});
    case DType::Float64:
      return use(double{});
  }
}

template <class T>
constexpr DType kDTypeOf = sizeof(T) == 4 ? DType::Float32 : DType::Float64;

template <class T>
struct alignas(sizeof(T) * 4 < 16 ? sizeof(T) * 4 : 16) Quad {
  T at[4];
};

template <class T>
KT_HOST_DEVICE T load_one(const char* data, DType dtype, std::int64_t at) {
  T out{};
  with_type(dtype, [&](auto type) {
    out = static_cast<T>(widen(reinterpret_cast<const decltype(type)*>(data)[at]));
  });
  return out;
}

// Four consecutive ones, whose address is a multiple of their size (or of 16 bytes).
template <class T>
KT_HOST_DEVICE void load_quad(const char* data, DType dtype, std::int64_t at, T* out) {
  with_type(dtype, [&](auto type) {
    using In = decltype(type);
    const Quad<In> quad =
        *reinterpret_cast<const Quad<In>*>(reinterpret_cast<const In*>(data) + at);
    for (int i = 0; i < 4; ++i) out[i] = static_cast<T>(widen(quad.at[i]));
  });
}

// How far element i lies from the first.
KT_HOST_DEVICE std::int64_t offset_of(const Axes& axes, const std::int64_t* strides,
                                      std::int64_t i) {
  if (axes.rank == 1) return i * strides[0];
  std::int64_t offset = 0;
  for (int d = axes.rank - 1; d >= 0; --d) {
    const std::int64_t rest = i / axes.sizes[d];
    offset += (i - rest * axes.sizes[d]) * strides[d];
    i = rest;
  }
  return offset;
}

template <class T>
KT_HOST_DEVICE T load_at(const Operand& from, const Axes& axes, std::int64_t i) {
  return load_one<T>(from.data, from.dtype, offset_of(axes, from.strides, i));
}

// Elements i to i + 3, of which `n` exist.
template <class T>
KT_HOST_DEVICE void load_four(const Operand& from, const Axes& axes, std::int64_t i, int n,
                              T* out) {
  if (n == 4 && from.quads) return load_quad(from.data, from.dtype, i, out);
  for (int j = 0; j < 4; ++j) out[j] = j < n ? load_at<T>(from, axes, i + j) : T{};
}

KT_HOST_DEVICE std::int64_t load_int64(const char* data, std::int64_t at) {
  return reinterpret_cast<const std::int64_t*>(data)[at];
}

// The row of an operand.
template <class T>
struct Row {
  const char* data;
  DType dtype;
  bool quads;
  const Axes* axes;
  const std::int64_t* strides;

  KT_HOST_DEVICE Row(const RowOperand& from, const Axes& lead, const Axes& inner, std::int64_t row)
      : dtype(from.dtype), quads(from.quads), axes(&inner), strides(from.inner) {
    data = from.data + offset_of(lead, from.lead, row) * item_size(from.dtype);
  }
  KT_HOST_DEVICE T at(std::int64_t i) const {
    return load_one<T>(data, dtype, offset_of(*axes, strides, i));
  }
  KT_HOST_DEVICE std::int64_t integer(std::int64_t i) const {
    return load_int64(data, offset_of(*axes, strides, i));
  }
  KT_HOST_DEVICE void four(std::int64_t i, int n, T* out) const {
    if (n == 4 && quads) return load_quad(data, dtype, i, out);
    for (int j = 0; j < 4; ++j) out[j] = j < n ? at(i + j) : T{};
  }
};

}  // namespace kt::KT_LEVEL
