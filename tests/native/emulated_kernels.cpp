// The device code of a package's own kernels (csrc/extension/kernels.cu), run on the CPU.
#define KT_LEVEL emulated
#define KT_SCALAR
#include "../../csrc/cuda/elementwise.h"
#include "../../csrc/extension/device.h"
#include "emulation.h"

namespace kt {
namespace {

const char* describe(int, int* blocks) {
  for (int k = 0; k < kElementwiseCudaKernels; ++k) blocks[k] = 2;
  return nullptr;
}

const char* launch(int, void*, CudaKernel kernel, const Grid& grid, const void* from) {
  switch (kernel) {
#define KT_CUDA_KERNEL KT_EMULATED_CASE
    KT_ELEMENTWISE_CUDA_KERNELS
#undef KT_CUDA_KERNEL
    default:
      return "no kernel of the elementwise loop";
  }
}

}  // namespace

const DeviceKernels kOwnDeviceKernels = {describe, launch};

}  // namespace kt
