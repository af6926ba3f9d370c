// How executors walk data: cut into chunks by its size alone, read in blocks of
// the type they compute in, whatever dtype and strides it has.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "../tensor/view.h"
#include "level.h"
#include "pass.h"
#include "run.h"
#include "threads.h"

namespace kt {

inline constexpr std::int64_t kBlock = 1024;

template <class T>
constexpr DType kDType = std::is_same_v<T, float> ? DType::Float32 : DType::Float64;

// Several views of one shape, with the axes merged that can be walked as one.
template <int kCount>
struct Walk {
  int rank = 0;
  std::int64_t shape[kMaxRank];
  std::int64_t strides[kCount][kMaxRank];

  Walk() = default;
  Walk(const View* const (&views)[kCount], const std::int64_t* full_shape, int full_rank) {
    for (int d = 0; d < full_rank; ++d) {
      if (full_shape[d] == 1) continue;
      bool merge = rank > 0;
      for (int v = 0; merge && v < kCount; ++v) {
        if (views[v] == nullptr) continue;
        merge = strides[v][rank - 1] == views[v]->strides[d] * full_shape[d];
      }
      const int at = merge ? rank - 1 : rank++;
      shape[at] = merge ? shape[at] * full_shape[d] : full_shape[d];
      for (int v = 0; v < kCount; ++v) {
        strides[v][at] = views[v] == nullptr ? 0 : views[v]->strides[d];
      }
    }
  }

  // Calls run(offset in elements, stride, length, position) for each run of the
  // innermost axis that covers [start, start + n).
  template <class Run>
  void runs(int v, std::int64_t start, std::int64_t n, Run&& run) const {
    if (rank <= 1) {
      const std::int64_t stride = rank == 0 ? 0 : strides[v][0];
      run(start * stride, stride, n, std::int64_t{0});
      return;
    }
    std::int64_t index[kMaxRank], rest = start, offset = 0;
    for (int d = rank - 1; d >= 0; --d) {
      index[d] = rest % shape[d];
      rest /= shape[d];
      offset += index[d] * strides[v][d];
    }
    const int last = rank - 1;
    for (std::int64_t done = 0; done < n;) {
      const std::int64_t length = std::min(n - done, shape[last] - index[last]);
      run(offset, strides[v][last], length, done);
      done += length;
      index[last] += length;
      offset += length * strides[v][last];
      for (int d = last; d > 0 && index[d] == shape[d]; --d) {
        offset += strides[v][d - 1] - shape[d] * strides[v][d];
        index[d] = 0;
        ++index[d - 1];
      }
    }
  }

  bool direct(int v) const { return rank == 0 || (rank == 1 && strides[v][0] == 1); }
};

template <class T>
void convert(const Level& level, const char* data, DType dtype, std::int64_t stride, std::int64_t n,
             T* out) {
  if constexpr (std::is_same_v<T, float>) {
    level.to_float32(data, dtype, stride, n, out);
  } else {
    level.to_float64(data, dtype, stride, n, out);
  }
}

// n elements from `start` on as contiguous T: in place where they already are.
template <class T, int kCount>
const T* fetch(const Level& level, const Walk<kCount>& walk, int v, const View& view,
               std::int64_t start, std::int64_t n, T* buffer) {
  if (view.dtype == kDType<T> && walk.direct(v)) {
    return reinterpret_cast<const T*>(view.data) + start;
  }
  const std::int64_t item = item_size(view.dtype);
  walk.runs(v, start, n,
            [&](std::int64_t offset, std::int64_t stride, std::int64_t length, std::int64_t at) {
              convert(level, view.data + offset * item, view.dtype, stride, length, buffer + at);
            });
  return buffer;
}

// Calls function(begin, end, chunk) for each chunk of n things; returns whether
// several threads did.
template <class Function>
bool for_chunks(const Chunks& chunks, std::int64_t n, bool parallel, Function&& function) {
  auto task = [&](int chunk) {
    const std::int64_t begin = chunk * chunks.size;
    function(begin, std::min(n, begin + chunks.size), chunk);
  };
  return run_chunks(
      chunks.count, parallel,
      [](void* context, int chunk) { (*static_cast<decltype(task)*>(context))(chunk); }, &task);
}

// n 64-bit integers of view v from `start` on, as they are.
template <int kCount>
void read_int64(const Walk<kCount>& walk, int v, const View& view, std::int64_t start,
                std::int64_t n, std::int64_t* out) {
  const auto* data = reinterpret_cast<const std::int64_t*>(view.data);
  walk.runs(v, start, n,
            [&](std::int64_t offset, std::int64_t stride, std::int64_t length, std::int64_t at) {
              for (std::int64_t i = 0; i < length; ++i) out[at + i] = data[offset + i * stride];
            });
}

// The running sums of one chunk, lane by lane.
struct ChunkLanes {
  alignas(64) double all[2 * kBlockLanes] = {};

  Sums total() const { return {tree(all), tree(all + kBlockLanes)}; }

 private:
  static double tree(const double* lanes) {
    double half[kBlockLanes];
    std::copy(lanes, lanes + kBlockLanes, half);
    for (int width = kBlockLanes / 2; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) half[i] += half[i + width];
    }
    return half[0];
  }
};

// The sums of all chunks, added up in the chunks' order.
inline void total(const ChunkLanes* lanes, int chunks, int ops, Sums* sums) {
  for (int op = 0; op < ops; ++op) sums[op] = lanes[op].total();
  for (int chunk = 1; chunk < chunks; ++chunk) {
    for (int op = 0; op < ops; ++op) {
      const Sums part = lanes[chunk * ops + op].total();
      sums[op].value += part.value;
      sums[op].weight += part.weight;
    }
  }
}

// A pass that has the data to itself.
inline bool run_alone(Pass& pass) {
  Pass* const passes[] = {&pass};
  return run_passes(passes, 1);
}

inline bool wide_integer(DType dtype) { return dtype == DType::Int64 || dtype == DType::UInt64; }

}  // namespace kt
