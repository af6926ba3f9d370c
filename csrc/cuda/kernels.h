// Every kernel by its number.
#pragma once

#include "binned.h"
#include "columnwise.h"
#include "elementwise.h"
#include "expression.h"
#include "finish.h"
#include "kept.h"
#include "plain.h"
#include "rowwise.h"
#include "tabulated.h"

// For whoever defines KT_CUDA_KERNEL(name, launch, body): what a body names is in the
// namespace of the definitions.
#define KT_CUDA_KERNELS                                                                 \
  KT_CUDA_KERNEL(elementwise_float32, ElementwiseLaunch, elementwise<float>)            \
  KT_CUDA_KERNEL(elementwise_float64, ElementwiseLaunch, elementwise<double>)           \
  KT_CUDA_KERNEL(values_float32, ElementwiseLaunch, elementwise_values<float>)          \
  KT_CUDA_KERNEL(values_float64, ElementwiseLaunch, elementwise_values<double>)         \
  KT_CUDA_KERNEL(scores_float32, RowwiseLaunch, rowwise<kOfScores, float>)              \
  KT_CUDA_KERNEL(scores_float64, RowwiseLaunch, rowwise<kOfScores, double>)             \
  KT_CUDA_KERNEL(pairs_float32, RowwiseLaunch, rowwise<kOfPairs, float>)                \
  KT_CUDA_KERNEL(pairs_float64, RowwiseLaunch, rowwise<kOfPairs, double>)               \
  KT_CUDA_KERNEL(columnwise_float32, ColumnwiseLaunch, columnwise<float>)               \
  KT_CUDA_KERNEL(columnwise_float64, ColumnwiseLaunch, columnwise<double>)              \
  KT_CUDA_KERNEL(cells_float32, BinnedLaunch, cells<float>)                             \
  KT_CUDA_KERNEL(cells_float64, BinnedLaunch, cells<double>)                            \
  KT_CUDA_KERNEL(binned_float32, BinnedLaunch, binned<float>)                           \
  KT_CUDA_KERNEL(binned_float64, BinnedLaunch, binned<double>)                          \
  KT_CUDA_KERNEL(tabulated, TabulatedLaunch, tabulated)                                 \
  KT_CUDA_KERNEL(commit, CommitLaunch, commit)                                          \
  KT_CUDA_KERNEL(finish, FinishLaunch, finish_results)                                  \
  KT_CUDA_KERNEL(expression, ExpressionLaunch, expression_sums)                         \
  KT_CUDA_KERNEL(finalize, FinalizeLaunch, finalize_result)                             \
  KT_CUDA_KERNEL(read_kept, KeptLaunch, read_kept_state)                                \
  KT_CUDA_KERNEL(write_kept, KeptLaunch, write_kept_state)                              \
  KT_CUDA_KERNEL(plain_sums, ElementwiseLaunch, plain_elementwise)                      \
  KT_CUDA_KERNEL(plain_cells, BinnedLaunch, plain_cells_of)                             \
  KT_CUDA_KERNEL(plain_bins, BinnedLaunch, plain_binned)                                \
  KT_CUDA_KERNEL(plain_scores, RowwiseLaunch, rowwise<kPlainScores, float, true>)       \
  KT_CUDA_KERNEL(plain_pairs, RowwiseLaunch, rowwise<kPlainPairs, float, true>)         \
  KT_CUDA_KERNEL(logit_scores, RowwiseLaunch, rowwise<kLogitScores, float, true, true>) \
  KT_CUDA_KERNEL(logit_pairs, RowwiseLaunch, rowwise<kLogitPairs, float, true, true>)
