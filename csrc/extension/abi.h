// What the extension module of another package hands over: its kernels, compiled. Both
// sides see this header, each in its own version: what does not fit is refused when the
// package is imported.
#pragma once

#include <cstddef>

#include "../cuda/device.h"
#include "../exec/blocks.h"
#include "../exec/kernel_row.h"

namespace kt {

// Raised when what is exchanged means something else, though it may look the same.
constexpr int kAbi = 1;

// And what it looks like.
constexpr int kAbiLayout = static_cast<int>(
    sizeof(Params) + 3 * offsetof(Params, arguments) + 5 * sizeof(ElementwiseBlocks) +
    7 * kBlockLanes + 11 * sizeof(KernelRow) + 13 * sizeof(ElementwiseLaunch) +
    17 * offsetof(ElementwiseLaunch, workspace) + 19 * sizeof(Grid));

// One SIMD level of all kernels of a module, in their order.
struct KernelLevel {
  const char* name;  // as keras_tally calls it
  const ElementwiseBlocks* blocks;
};

// The elementwise kernels of CudaKernel, compiled with the module's definitions.
constexpr int kElementwiseCudaKernels = 4;

// As in DeviceApi; everything else is done by keras_tally's own.
struct DeviceKernels {
  const char* (*describe)(int device, int* blocks);
  const char* (*launch)(int device, void* stream, CudaKernel kernel, const Grid& grid,
                        const void* launch);
};

struct KernelModule {
  // The first three never move: they are read from modules of any version.
  int abi;
  int layout;
  const char* version;  // of keras_tally whose headers it was compiled with
  int kernel_count;
  const KernelRow* kernels;  // ids are places in this list
  int level_count;
  const KernelLevel* levels;    // worst first; the first one runs everywhere
  const DeviceKernels* device;  // null: compiled without CUDA
};

constexpr const char* kKernelModuleCapsule = "keras_tally.kernel_module";

}  // namespace kt
