// How a launch is cut: the grid, and what a kernel must know of it. It depends on the
// batch's size and on the device alone, so that the same batch is always added up in
// the same order.
#pragma once

#include "device.h"

namespace kt {

// The sizes that a launch needs of its workspace.
struct Needed {
  std::int64_t partials = 0;  // doubles
  std::int64_t bins = 0;      // words of 64 bits
};

struct Configuration {
  Grid grid;
  Needed needed;
};

// Threads for one row: a power of two up to a warp, or all of a block.
int team_for(std::int64_t classes, std::int64_t rows, const DeviceInfo& info);

// These settle fields of the launch as well.
Configuration configure(CudaKernel kernel, ElementwiseLaunch* launch, const DeviceInfo& info);
Configuration configure(CudaKernel kernel, RowwiseLaunch* launch, const DeviceInfo& info);
Configuration configure(CudaKernel kernel, ColumnwiseLaunch* launch, int kinds, int sums,
                        const DeviceInfo& info);
Configuration configure(CudaKernel kernel, BinnedLaunch* launch, const DeviceInfo& info);
Configuration configure(CudaKernel kernel, TabulatedLaunch* launch, const DeviceInfo& info);
Configuration configure(CudaKernel kernel, const ExpressionLaunch& launch, const DeviceInfo& info);
Configuration configure(CudaKernel kernel, const CommitLaunch& launch, const DeviceInfo& info);
Configuration configure(CudaKernel kernel, const KeptLaunch& launch, const DeviceInfo& info);

}  // namespace kt
