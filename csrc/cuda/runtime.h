// CUDA's runtime, as kernels.cu launches by it.
#pragma once

#include <cuda_runtime.h>

#include "device.h"

namespace kt {

inline const char* text_of(cudaError_t error) {
  if (error == cudaSuccess) return nullptr;
  cudaGetLastError();  // it is ours to report, and nobody else's to find
  return cudaGetErrorString(error);
}

// Makes a device the current one, for as long as it lives.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    error = cudaGetDevice(&before_);
    if (error != cudaSuccess || before_ == device) return;
    error = cudaSetDevice(device);
    changed_ = error == cudaSuccess;
  }
  ~OnDevice() {
    if (changed_) cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  cudaError_t error;

 private:
  int before_ = 0;
  bool changed_ = false;
};

// Allocations and copies that belong to no capture that may be under way.
class Uncaptured {
 public:
  Uncaptured() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~Uncaptured() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  Uncaptured(const Uncaptured&) = delete;
  Uncaptured& operator=(const Uncaptured&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// How many blocks of each kernel one processor holds, without dynamic shared memory.
inline const char* blocks_of(int device, const void* const* kernels, int count, int* blocks) {
  const OnDevice on(device);
  if (on.error != cudaSuccess) return text_of(on.error);
  const Uncaptured uncaptured;
  cudaError_t error = cudaSuccess;
  for (int k = 0; k < count && error == cudaSuccess; ++k) {
    error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks[k], kernels[k], kThreads, 0);
  }
  return text_of(error);
}

inline const char* launch_kernel(int device, void* stream, const void* kernel, const Grid& grid,
                                 const void* launch) {
  const OnDevice on(device);
  if (on.error != cudaSuccess) return text_of(on.error);
  void* arguments[] = {const_cast<void*>(launch)};
  return text_of(cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(grid.blocks)), dim3(kThreads),
                                  arguments, static_cast<std::size_t>(grid.shared_bytes),
                                  static_cast<cudaStream_t>(stream)));
}

}  // namespace kt
