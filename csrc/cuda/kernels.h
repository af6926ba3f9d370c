// Every kernel by its number.
#pragma once

#include "binned.h"
#include "columnwise.h"
#include "elementwise.h"
#include "finish.h"
#include "rowwise.h"
#include "tabulated.h"

// KT_CUDA_KERNEL(name, launch, body)
#define KT_CUDA_KERNELS                                                       \
  KT_CUDA_KERNEL(elementwise_float32, ElementwiseLaunch, elementwise<float>)  \
  KT_CUDA_KERNEL(elementwise_float64, ElementwiseLaunch, elementwise<double>) \
  KT_CUDA_KERNEL(rowwise_float32, RowwiseLaunch, rowwise<float>)              \
  KT_CUDA_KERNEL(rowwise_float64, RowwiseLaunch, rowwise<double>)             \
  KT_CUDA_KERNEL(columnwise_float32, ColumnwiseLaunch, columnwise<float>)     \
  KT_CUDA_KERNEL(columnwise_float64, ColumnwiseLaunch, columnwise<double>)    \
  KT_CUDA_KERNEL(cells_float32, BinnedLaunch, cells<float>)                   \
  KT_CUDA_KERNEL(cells_float64, BinnedLaunch, cells<double>)                  \
  KT_CUDA_KERNEL(binned_float32, BinnedLaunch, binned<float>)                 \
  KT_CUDA_KERNEL(binned_float64, BinnedLaunch, binned<double>)                \
  KT_CUDA_KERNEL(tabulated, TabulatedLaunch, tabulated)                       \
  KT_CUDA_KERNEL(commit, CommitLaunch, commit)                                \
  KT_CUDA_KERNEL(finish, FinishLaunch, finish_results)
