// A borrowed view of somebody else's tensor: no ownership, no copies.
#pragma once

#include <cstdint>

namespace kt {

enum class DType : std::uint8_t {
  Bool,
  UInt8,
  UInt16,
  UInt32,
  UInt64,
  Int8,
  Int16,
  Int32,
  Int64,
  Float16,
  BFloat16,
  Float32,
  Float64,
};

constexpr bool is_integer(DType dtype) { return dtype < DType::Float16; }

constexpr std::int64_t item_size(DType dtype) {
  switch (dtype) {
    case DType::Bool:
    case DType::UInt8:
    case DType::Int8:
      return 1;
    case DType::UInt16:
    case DType::Int16:
    case DType::Float16:
    case DType::BFloat16:
      return 2;
    case DType::UInt32:
    case DType::Int32:
    case DType::Float32:
      return 4;
    default:
      return 8;
  }
}

// Whether float32 holds every number of this dtype.
constexpr bool exact_in_float32(DType dtype) {
  return dtype != DType::Float64 && (!is_integer(dtype) || item_size(dtype) <= 2);
}

constexpr int kMaxRank = 16;

constexpr int kHost = -1;

struct View {
  const char* data = nullptr;
  int device = kHost;  // or the number of a GPU
  DType dtype = DType::Float32;
  int rank = 0;
  std::int64_t shape[kMaxRank];
  std::int64_t strides[kMaxRank];  // in elements, negative and 0 allowed

  std::int64_t size() const {
    std::int64_t n = 1;
    for (int d = 0; d < rank; ++d) n *= shape[d];
    return n;
  }

  bool contiguous() const {
    std::int64_t expected = 1;
    for (int d = rank - 1; d >= 0; --d) {
      if (shape[d] != 1 && strides[d] != expected) return false;
      expected *= shape[d];
    }
    return true;
  }
};

}  // namespace kt
