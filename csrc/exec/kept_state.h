// A state's numbers as somebody else keeps them (program.h), and as the kernels take
// them: plain code, for the CPU and for a GPU.
#pragma once

#include <cstdint>
#include <type_traits>

#include "../defs/state.h"
#include "../tensor/view.h"
#include "state.h"

namespace kt {

// Where the numbers of a variable are read and written: high halves and low ones, or
// integers, which have no low halves.
struct KeptVariable {
  const void* from = nullptr;
  const void* low_from = nullptr;
  void* to = nullptr;
  void* low_to = nullptr;
  DType dtype = DType::Float32;
};

constexpr bool can_keep(DType dtype) {
  return dtype == DType::Float32 || dtype == DType::Float64 || dtype == DType::Int32 ||
         dtype == DType::Int64;
}

namespace KT_LEVEL {

// Calls body(T{}) with the type of kept numbers.
template <class Body>
KT_HOST_DEVICE void with_kept_type(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::Float64:
      return body(double{});
    case DType::Int32:
      return body(std::int32_t{});
    case DType::Int64:
      return body(std::int64_t{});
    default:
      return body(float{});
  }
}

template <class T>
KT_HOST_DEVICE bool is_finite(T x) {
  return x - x == T{};
}

// Integers wrap around, as they do in the frameworks.
template <class T>
KT_HOST_DEVICE T narrow_kept(double x) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(x);
  } else {
    return static_cast<T>(to_int64(x, 0));
  }
}

// A pair of doubles that holds what a kept pair does.
template <class T>
KT_HOST_DEVICE void read_pair(T high, T low, double* to_high, double* to_low) {
  const auto h = static_cast<double>(high), l = static_cast<double>(low);
  // A pair of doubles may hold what its halves do not hold apart.
  *to_high = h + l;
  *to_low = is_finite(h + l) ? l - ((h + l) - h) : 0.0;
}

template <class T>
KT_HOST_DEVICE void write_pair(double high, double low, T* to_high, T* to_low) {
  const T head = narrow_kept<T>(high);
  const double rest = (high - static_cast<double>(head)) + low;
  *to_high = head;
  // What an infinite or overflown sum leaves is no number.
  *to_low = is_finite(static_cast<double>(head)) ? narrow_kept<T>(rest) : T{0};
}

// Every `step`th number of a variable, from where it is kept: in the place of what `to`
// holds, or added to it.
KT_HOST_DEVICE void read_kept(const KeptVariable& kept, std::int64_t start, std::int64_t step,
                              bool adds, const State::Variable& to) {
  with_kept_type(kept.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = static_cast<const T*>(kept.from);
    const T* low_from = static_cast<const T*>(kept.low_from);
    if (to.whole != nullptr) {
      for (std::int64_t i = start; i < to.size; i += step) {
        to.whole[i] = (adds ? to.whole[i] : 0) + static_cast<std::int64_t>(from[i]);
      }
      return;
    }
    for (std::int64_t i = start; i < to.size; i += step) {
      double high, low;
      read_pair(from[i], low_from[i], &high, &low);
      if (adds) {
        add_exactly(to.high[i], to.low[i], high);
        add_exactly(to.high[i], to.low[i], low);
      } else {
        to.high[i] = high;
        to.low[i] = low;
      }
    }
  });
}

KT_HOST_DEVICE void write_kept(const State::Variable& from, std::int64_t start, std::int64_t step,
                               const KeptVariable& kept) {
  with_kept_type(kept.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* to = static_cast<T*>(kept.to);
    T* low_to = static_cast<T*>(kept.low_to);
    if (from.whole != nullptr) {
      for (std::int64_t i = start; i < from.size; i += step) to[i] = static_cast<T>(from.whole[i]);
      return;
    }
    for (std::int64_t i = start; i < from.size; i += step) {
      write_pair(from.high[i], from.low[i], to + i, low_to + i);
    }
  });
}

}  // namespace KT_LEVEL
}  // namespace kt
