// What a CUDA thread knows, see team.h.
#pragma once

#include <cstdint>

#include "launch.h"

namespace kt::KT_LEVEL {

struct CudaThread {
  __device__ __forceinline__ int index() const { return static_cast<int>(threadIdx.x); }
  __device__ __forceinline__ int block() const { return static_cast<int>(blockIdx.x); }
  __device__ __forceinline__ int blocks() const { return static_cast<int>(gridDim.x); }
  __device__ __forceinline__ void sync() const { __syncthreads(); }
  __device__ __forceinline__ void fence() const { __threadfence(); }
  // Asks for what will be read soon.
  __device__ __forceinline__ void prefetch(const void* at) const {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
  }
  __device__ __forceinline__ char* shared() const {
    extern __shared__ __align__(16) char memory[];
    return memory;
  }
  template <class X>
  __device__ __forceinline__ X shuffle_xor(X x, int mask) const {
    return __shfl_xor_sync(0xffffffffu, x, mask);
  }
  __device__ __forceinline__ void add(std::uint32_t* to, std::uint32_t x) const {
    atomicAdd(to, x);
  }
  __device__ __forceinline__ void add(std::uint64_t* to, std::uint64_t x) const {
    atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(x));
  }
  __device__ __forceinline__ void set(std::uint32_t* to, std::uint32_t bits) const {
    atomicOr(to, bits);
  }
  __device__ __forceinline__ void set(std::uint64_t* to, std::uint64_t bits) const {
    atomicOr(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(bits));
  }
  // Counts up, and from `last` back to 0.
  __device__ __forceinline__ unsigned take_ticket(unsigned* ticket, unsigned last) const {
    return atomicInc(ticket, last);
  }
};

}  // namespace kt::KT_LEVEL
