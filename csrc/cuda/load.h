// Elements of any dtype as float or double, one or four at a time.
#pragma once

#include <type_traits>

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
KT_HOST_DEVICE T load_any(const char* data, DType dtype, std::int64_t at) {
  T out{};
  with_type(dtype, [&](auto type) {
    out = static_cast<T>(widen(reinterpret_cast<const decltype(type)*>(data)[at]));
  });
  return out;
}

template <class T>
KT_HOST_DEVICE T load_one(const char* data, DType dtype, std::int64_t at) {
  if (dtype == kDTypeOf<T>) return reinterpret_cast<const T*>(data)[at];
  return load_any<T>(data, dtype, at);
}

// out[i] = load(i) for i below n, and 0 behind. The seldom way: there is one copy of
// load(), and no index that is known only at run time, for which `out` would have to be
// in memory.
template <class T, class Load>
KT_HOST_DEVICE void one_by_one(int n, T* out, Load&& load) {
  KT_UNROLL
  for (int i = 0; i < 4; ++i) out[i] = T{};
  KT_NO_UNROLL
  for (int i = 0; i < n; ++i) {
    const T x = load(i);
    KT_UNROLL
    for (int j = 0; j < 4; ++j) out[j] = j == i ? x : out[j];
  }
}

// x[i] = make(i, x[i]) for i below n, in the same way.
template <class T, class Make>
KT_HOST_DEVICE void replace_one_by_one(int n, T* x, Make&& make) {
  KT_NO_UNROLL
  for (int i = 0; i < n; ++i) {
    T old = x[0];
    KT_UNROLL
    for (int j = 1; j < 4; ++j) old = j == i ? x[j] : old;
    const T made = make(i, old);
    KT_UNROLL
    for (int j = 0; j < 4; ++j) x[j] = j == i ? made : x[j];
  }
}

template <class In, class T>
KT_HOST_DEVICE void load_quad_as(const char* data, std::int64_t at, T* out) {
  const Quad<In> quad = *reinterpret_cast<const Quad<In>*>(reinterpret_cast<const In*>(data) + at);
  KT_UNROLL
  for (int i = 0; i < 4; ++i) out[i] = static_cast<T>(widen(quad.at[i]));
}

// Four consecutive ones, whose address is a multiple of their size (or of 16 bytes).
template <class T>
KT_HOST_DEVICE void load_quad(const char* data, DType dtype, std::int64_t at, T* out) {
  if (dtype == kDTypeOf<T>) return load_quad_as<T>(data, at, out);
  switch (dtype) {
    case DType::Bool:
      return load_quad_as<Truth>(data, at, out);
    case DType::UInt8:
      return load_quad_as<std::uint8_t>(data, at, out);
    case DType::Int32:
      return load_quad_as<std::int32_t>(data, at, out);
    case DType::Int64:
      return load_quad_as<std::int64_t>(data, at, out);
    case DType::Float16:
      return load_quad_as<Half>(data, at, out);
    case DType::BFloat16:
      return load_quad_as<BrainHalf>(data, at, out);
    case DType::Float32:
      return load_quad_as<float>(data, at, out);
    default:
      return one_by_one(4, out, [&](int i) { return load_any<T>(data, dtype, at + i); });
  }
}

// Four consecutive elements of a plain operand (launch.h), as they lie in memory.
struct RawQuad {
  std::uint32_t words[4];
};

template <class In>
KT_HOST_DEVICE In element_of(const RawQuad& raw, int i) {
  constexpr int kPerWord = 4 / static_cast<int>(sizeof(In));
  const std::uint32_t bits = raw.words[i / kPerWord] >> (32 / kPerWord * (i % kPerWord));
  In out;
  __builtin_memcpy(&out, &bits, sizeof(out));
  return out;
}

template <class In, class T>
KT_HOST_DEVICE void widen_as(const RawQuad& raw, T* out) {
  KT_UNROLL
  for (int i = 0; i < 4; ++i) out[i] = static_cast<T>(widen(element_of<In>(raw, i)));
}

template <class T>
KT_HOST_DEVICE void widen_raw(const RawQuad& raw, DType dtype, T* out) {
  switch (dtype) {
    case DType::Bool:
      return widen_as<Truth>(raw, out);
    case DType::UInt8:
      return widen_as<std::uint8_t>(raw, out);
    case DType::Int32:
      return widen_as<std::int32_t>(raw, out);
    case DType::Float16:
      return widen_as<Half>(raw, out);
    case DType::BFloat16:
      return widen_as<BrainHalf>(raw, out);
    default:
      return widen_as<float>(raw, out);
  }
}

// Several of them. All are read before one is looked at, so that a thread waits for the
// memory once and not once for each.
template <int kCount>
struct RawQuads {
  RawQuad quads[kCount];

  // From element `start` on, `step` apart, those below n, which is a multiple of four.
  KT_HOST_DEVICE void read(const Operand& from, std::int64_t start, std::int64_t step,
                           std::int64_t n) {
    if (from.plain_bytes == 4) return read_words<4>(from.data, start, step, n);
    if (from.plain_bytes == 2) return read_words<2>(from.data, start, step, n);
    return read_words<1>(from.data, start, step, n);
  }

 private:
  template <int kWords>
  struct alignas(4 * kWords) Words {
    std::uint32_t at[kWords];
  };
  template <int kWords>
  KT_HOST_DEVICE void read_words(const char* data, std::int64_t start, std::int64_t step,
                                 std::int64_t n) {
    const auto* from = reinterpret_cast<const Words<kWords>*>(data + start * kWords);
    KT_UNROLL
    for (int q = 0; q < kCount; ++q) {
      quads[q] = {};
      if (start + q * step >= n) continue;
      const Words<kWords> words = from[q * (step / 4)];
      KT_UNROLL
      for (int w = 0; w < kWords; ++w) quads[q].words[w] = words.at[w];
    }
  }
};

KT_HOST_DEVICE std::int64_t offset_along(const Axes& axes, const std::int64_t* strides,
                                         std::int64_t i) {
  std::int64_t offset = 0;
  for (int d = axes.rank - 1; d >= 0; --d) {
    const std::int64_t rest = i / axes.sizes[d];
    offset += (i - rest * axes.sizes[d]) * strides[d];
    i = rest;
  }
  return offset;
}

// How far element i lies from the first.
KT_HOST_DEVICE std::int64_t offset_of(const Axes& axes, const std::int64_t* strides,
                                      std::int64_t i) {
  if (axes.rank <= 1) return axes.rank == 0 ? 0 : i * strides[0];
  return offset_along(axes, strides, i);
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
  one_by_one(n, out, [&](int j) { return load_at<T>(from, axes, i + j); });
}

KT_HOST_DEVICE void store_one(void* out, DType dtype, std::int64_t i, double x) {
  x = round_one(x, dtype);
  with_type(dtype, [&](auto type) {
    using Out = decltype(type);
    static_cast<Out*>(out)[i] = narrow<Out>(x);
  });
}

KT_HOST_DEVICE std::int64_t load_int64(const char* data, std::int64_t at) {
  return reinterpret_cast<const std::int64_t*>(data)[at];
}

// The row of an operand. kPlain: its elements are neighbours, and of this type.
template <class T, bool kPlain = false>
struct Row {
  // What a row's elements are counted in.
  using Index = std::conditional_t<kPlain, int, std::int64_t>;
  // Whether neighbours that are not aligned are read so; of double it takes registers that
  // there are not.
  static constexpr bool kOneByOne = sizeof(T) == 4;

  const char* data;
  DType dtype;
  bool quads, direct;
  const Axes* axes;
  const std::int64_t* strides;

  KT_HOST_DEVICE Row(const RowOperand& from, const Axes& lead, const Axes& inner, std::int64_t row)
      : dtype(from.dtype),
        quads(from.quads),
        direct(from.direct),
        axes(&inner),
        strides(from.inner) {
    data = from.data + offset_of(lead, from.lead, row) * item_size(from.dtype);
  }
  KT_HOST_DEVICE T at(std::int64_t i) const {
    if constexpr (kPlain) return reinterpret_cast<const T*>(data)[i];
    return load_one<T>(data, dtype, offset_of(*axes, strides, i));
  }
  KT_HOST_DEVICE std::int64_t integer(std::int64_t i) const {
    return load_int64(data, offset_of(*axes, strides, i));
  }
  // Whether elements can be read without a look at what they are and where.
  KT_HOST_DEVICE bool fast() const {
    return kPlain || ((kOneByOne ? direct : quads) && dtype == kDTypeOf<T>);
  }
  KT_HOST_DEVICE void four_fast(std::int64_t i, std::int64_t n, T* out) const {
    if ((!kOneByOne || quads) && i + 4 <= n) return load_quad_as<T>(data, i, out);
    KT_UNROLL
    for (int j = 0; j < 4; ++j) {
      out[j] = i + j < n ? reinterpret_cast<const T*>(data)[i + j] : T{};
    }
  }
  KT_HOST_DEVICE void four(std::int64_t i, int n, T* out) const {
    if (n == 4 && quads) return load_quad(data, dtype, i, out);
    one_by_one(n, out, [&](int j) { return at(i + j); });
  }
};

}  // namespace kt::KT_LEVEL
