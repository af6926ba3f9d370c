// Another package's kernels on NVIDIA's GPUs, see docs/cpp.md: the elementwise kernels
// of cuda/kernels.cu, with the package's definitions in the place of ours.
#define KT_LEVEL cuda
#include "../cuda/elementwise.h"
#include "../cuda/runtime.h"
#include "../cuda/thread.h"
#include "device.h"

namespace kt {
namespace {

#define KT_CUDA_KERNEL KT_DEFINE_CUDA_KERNEL
KT_ELEMENTWISE_CUDA_KERNELS
#undef KT_CUDA_KERNEL

const void* const kKernels[] = {
#define KT_CUDA_KERNEL(name, launch_type, ...) reinterpret_cast<const void*>(&name),
    KT_ELEMENTWISE_CUDA_KERNELS
#undef KT_CUDA_KERNEL
};
static_assert(sizeof(kKernels) / sizeof(kKernels[0]) == kElementwiseCudaKernels);

const char* describe(int device, int* blocks) {
  return blocks_of(device, kKernels, kElementwiseCudaKernels, blocks);
}

const char* launch(int device, void* stream, CudaKernel kernel, const Grid& grid,
                   const void* launch) {
  return launch_kernel(device, stream, kKernels[static_cast<int>(kernel)], grid, launch);
}

}  // namespace

const DeviceKernels kOwnDeviceKernels = {describe, launch};

}  // namespace kt
