// A state's numbers as somebody else keeps them (program.h), and as the kernels take
// them: plain code, for the CPU and for a GPU.
#pragma once

#include <cstdint>
#include <type_traits>

#include "../defs/state.h"
#include "../tensor/view.h"

namespace kt {

// Where the numbers of a variable are read and written. A number of pairs is the sum of
// two: one that is rounded, and what the rounding took away.
struct KeptNumbers {
  const void* from = nullptr;
  const void* rest_from = nullptr;  // null: not of pairs
  void* to = nullptr;
  void* rest_to = nullptr;
  DType dtype = DType::Float32;
};

// With the low halves of its sums, if the state has them.
struct KeptVariable {
  KeptNumbers sum;
  KeptNumbers low;
};

constexpr bool is_whole(DType dtype) { return dtype == DType::Int32 || dtype == DType::Int64; }

constexpr bool can_keep(DType dtype) {
  return dtype == DType::Float32 || dtype == DType::Float64 || is_whole(dtype);
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

template <class T>
KT_HOST_DEVICE double read_number(const KeptNumbers& kept, std::int64_t i) {
  const auto head = static_cast<double>(static_cast<const T*>(kept.from)[i]);
  if (kept.rest_from == nullptr) return head;
  return head + static_cast<double>(static_cast<const T*>(kept.rest_from)[i]);
}

// Returns what is not written.
template <class T>
KT_HOST_DEVICE double write_number(double x, const KeptNumbers& kept, std::int64_t i) {
  const T head = narrow_kept<T>(x);
  static_cast<T*>(kept.to)[i] = head;
  // What an infinite or overflown sum leaves is no number.
  const double rest = is_finite(static_cast<double>(head)) ? x - static_cast<double>(head) : 0.0;
  if (kept.rest_to == nullptr) return rest;
  const T tail = narrow_kept<T>(rest);
  static_cast<T*>(kept.rest_to)[i] = tail;
  return rest - static_cast<double>(tail);
}

// Every `step`th number of a variable, from where it is kept: in the place of what `to`
// holds, or added to it.
KT_HOST_DEVICE void read_kept(const KeptVariable& kept, std::int64_t start, std::int64_t step,
                              bool adds, const State::Variable& to) {
  with_kept_type(kept.sum.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (std::int64_t i = start; i < to.size; i += step) {
      if (to.whole != nullptr) {
        const auto x = static_cast<std::int64_t>(static_cast<const T*>(kept.sum.from)[i]);
        to.whole[i] = (adds ? to.whole[i] : 0) + x;
        continue;
      }
      const double x = read_number<T>(kept.sum, i);
      if (to.low == nullptr) {
        to.sum[i] = adds ? to.sum[i] + x : x;
        continue;
      }
      if (!adds) to.sum[i] = to.low[i] = 0.0;
      add_exactly(to.sum[i], to.low[i], x);
      add_exactly(to.sum[i], to.low[i], read_number<T>(kept.low, i));
    }
  });
}

KT_HOST_DEVICE void write_kept(const State::Variable& from, std::int64_t start, std::int64_t step,
                               const KeptVariable& kept) {
  with_kept_type(kept.sum.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (std::int64_t i = start; i < from.size; i += step) {
      if (from.whole != nullptr) {
        static_cast<T*>(kept.sum.to)[i] = static_cast<T>(from.whole[i]);
        continue;
      }
      const double rest = write_number<T>(from.sum[i], kept.sum, i);
      if (from.low != nullptr) write_number<T>(from.low[i] + rest, kept.low, i);
    }
  });
}

}  // namespace KT_LEVEL
}  // namespace kt
