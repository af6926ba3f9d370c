// The kernels on NVIDIA's GPUs, and how they are launched. See device.h for the
// promises: nothing here waits for a stream that is not our own.
#define KT_LEVEL cuda
#include "kernels.h"
#include "thread.h"

namespace kt {
namespace kernels {

#define KT_CUDA_KERNEL(name, launch_type, ...)                                          \
  __global__ void __launch_bounds__(kThreads, kt::blocks_at_once(kt::CudaKernel::name)) \
      name(const __grid_constant__ launch_type launch) {                                \
    using namespace kt::KT_LEVEL;                                                       \
    __VA_ARGS__(CudaThread(), launch);                                                  \
  }
#include "kernels.def"

}  // namespace kernels
}  // namespace kt

// The compiler that knows no host (tools/check_cuda12.py) ends here.
#if !defined(__CUDACC_RTC__)
#include <cstdio>

#include "device.h"
#include "module.h"
#include "runtime.h"

namespace kt {
namespace {

const void* const kKernels[] = {
#define KT_CUDA_KERNEL(name, launch_type, ...) reinterpret_cast<const void*>(&kernels::name),
#include "kernels.def"
};
static_assert(sizeof(kKernels) / sizeof(kKernels[0]) == kCudaKernels);

// Runs work(stream) on a stream of our own and waits for that one alone.
template <class Work>
cudaError_t on_own_stream(Work&& work) {
  const Uncaptured uncaptured;
  cudaStream_t stream;
  cudaError_t error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  if (error != cudaSuccess) return error;
  error = work(stream);
  if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
  cudaStreamDestroy(stream);
  return error;
}

const char* count(int* devices) {
  *devices = 0;
  return text_of(cudaGetDeviceCount(devices));
}

const char* name(int device, char* text, std::size_t size) {
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, device);
  if (error == cudaSuccess) std::snprintf(text, size, "%s", properties.name);
  return text_of(error);
}

const char* describe(int device, DeviceInfo* info) {
  const OnDevice on(device);
  if (on.error != cudaSuccess) return text_of(on.error);
  const Uncaptured uncaptured;
  const auto attribute = [&](cudaDeviceAttr which, int* value) {
    return cudaDeviceGetAttribute(value, which, device);
  };
  int shared = 0;
  cudaError_t error = attribute(cudaDevAttrMultiProcessorCount, &info->processors);
  if (error == cudaSuccess) {
    error = attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor, &shared);
  }
  info->shared_memory = shared;
  return error == cudaSuccess ? blocks_of(device, kKernels, kCudaKernels, info->blocks)
                              : text_of(error);
}

const char* allocate(int device, std::size_t bytes, void** memory) {
  const OnDevice on(device);
  if (on.error != cudaSuccess) return text_of(on.error);
  return text_of(on_own_stream([&](cudaStream_t stream) {
    const cudaError_t error = cudaMalloc(memory, bytes);
    return error == cudaSuccess ? cudaMemsetAsync(*memory, 0, bytes, stream) : error;
  }));
}

const char* upload(int device, void* to, const void* from, std::size_t bytes) {
  const OnDevice on(device);
  if (on.error != cudaSuccess) return text_of(on.error);
  return text_of(on_own_stream([&](cudaStream_t stream) {
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream);
  }));
}

const char* clear(int device, void* stream, void* memory, std::size_t bytes) {
  const OnDevice on(device);
  if (on.error != cudaSuccess) return text_of(on.error);
  return text_of(cudaMemsetAsync(memory, 0, bytes, static_cast<cudaStream_t>(stream)));
}

const char* copy(int device, void* stream, void* to, const void* from, std::size_t bytes) {
  const OnDevice on(device);
  if (on.error != cudaSuccess) return text_of(on.error);
  return text_of(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice,
                                 static_cast<cudaStream_t>(stream)));
}

const char* find(const void* memory, int* device) {
  const Uncaptured uncaptured;
  cudaPointerAttributes attributes;
  const cudaError_t error = cudaPointerGetAttributes(&attributes, memory);
  if (error != cudaSuccess) return text_of(error);
  if (attributes.type != cudaMemoryTypeDevice && attributes.type != cudaMemoryTypeManaged) {
    return "it is not in a device's memory";
  }
  *device = attributes.device;
  return nullptr;
}

const char* launch(int device, void* stream, CudaKernel kernel, const Grid& grid,
                   const void* launch) {
  return launch_kernel(device, stream, kKernels[static_cast<int>(kernel)], grid, launch);
}

}  // namespace

const DeviceApi& cuda_api() {
  static const DeviceApi api = {kDeviceApiLayout, count, name, describe, allocate,
                                upload,           clear, copy, launch,   find};
  return api;
}

}  // namespace kt
#endif
