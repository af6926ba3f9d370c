// What the host asks of a device: the only door between the extension, which decides
// what is launched, and whoever can launch it. `_cuda` offers it for NVIDIA's GPUs; the
// tests have one that runs the kernels on the CPU.
#pragma once

#include <cstddef>
#include <cstdint>

#include "launch.h"

namespace kt {

struct DeviceInfo {
  int processors = 1;              // streaming multiprocessors
  std::int64_t shared_memory = 0;  // bytes that the blocks of one have
  int blocks[kCudaKernels] = {};   // of a kernel on one, without dynamic shared memory
};

struct Grid {
  int blocks = 1;
  std::int64_t shared_bytes = 0;
};

// Functions that can fail return null, or what went wrong. None of them waits for a
// stream of somebody else's; all may be called while a stream is being captured.
struct DeviceApi {
  int layout = 0;  // kDeviceApiLayout of the build
  const char* (*count)(int* devices);
  const char* (*name)(int device, char* text, std::size_t size);
  // Loads the kernels; a device that nobody uses is never asked.
  const char* (*describe)(int device, DeviceInfo* info);
  const char* (*allocate)(int device, std::size_t bytes, void** memory);  // filled with zeros
  const char* (*upload)(int device, void* to, const void* from, std::size_t bytes);
  const char* (*clear)(int device, void* stream, void* memory, std::size_t bytes);
  const char* (*copy)(int device, void* stream, void* to, const void* from, std::size_t bytes);
  const char* (*launch)(int device, void* stream, CudaKernel kernel, const Grid& grid,
                        const void* launch);
  // The device that memory belongs to.
  const char* (*find)(const void* memory, int* device);
};

constexpr const char* kDeviceApiCapsule = "keras_tally.device_api";
// Both modules are built together: what they exchange has the same layout.
constexpr int kDeviceApiLayout = static_cast<int>(
    sizeof(ElementwiseLaunch) + 3 * sizeof(RowwiseLaunch) + 5 * sizeof(ColumnwiseLaunch) +
    7 * sizeof(BinnedLaunch) + 11 * sizeof(TabulatedLaunch) + 13 * sizeof(DeviceInfo) +
    17 * sizeof(ExpressionLaunch) + 19 * sizeof(KeptLaunch) + 23 * sizeof(DeviceApi));

}  // namespace kt
