// What a kernel is given: plain data, written by the host, read by every thread. The
// pointers are into the memory of one device.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../defs/common.h"
#include "../defs/mean.h"
#include "../defs/results.h"
#include "../exec/expression.h"
#include "../exec/kept_state.h"
#include "../tensor/view.h"

namespace kt {

constexpr int kThreads = 256;  // of every block
constexpr int kWarp = 32;
constexpr int kMaxOps = 8;      // definitions in one launch
constexpr int kMaxTargets = 8;  // metrics that they are for

// Axes that several operands are walked along, neighbours merged where all allow it.
struct Axes {
  int rank = 0;
  std::int64_t sizes[kMaxRank];
};

// A tensor and its strides along the axes.
struct Operand {
  const char* data = nullptr;
  DType dtype = DType::Float32;
  bool quads = false;   // four consecutive elements may be read at once
  int plain_bytes = 0;  // of an element of a plain operand (plain.h), else 0
  std::int64_t strides[kMaxRank];
};

// Scratch memory of one stream. All but the partial sums is zero between launches:
// the last block of a launch leaves it so.
struct Workspace {
  unsigned* ticket = nullptr;  // counts blocks that are done
  unsigned* flags = nullptr;   // what some block has seen; behind it, what the last one found
  double* partials = nullptr;
  std::uint64_t* bins = nullptr;
};

// Where a sum goes: a metric that is a mean or a sum.
struct Target {
  int op = 0;
  MeanShape shape;
  const char* scale = nullptr;  // the scalar weight
  DType scale_dtype = DType::Float32;
  bool has_count = false;
  State::Variable total, count;
};

struct Targets {
  int count = 0;
  Target all[kMaxTargets];
};

// Where values that are not summed go.
struct Destination {
  void* data = nullptr;
  DType dtype = DType::Float32;
};

// A definition by its number among those of its loop.
struct Definition {
  int kernel;
  Params params;
  bool needs_label = false;  // of rows: it cannot do without a label that is a class
};

struct ElementwiseLaunch {
  std::int64_t n = 0;
  Axes axes;
  Operand y_true, y_pred, weight;
  bool weighted = false;
  bool integers = false;  // both of 64 bits, compared as such
  bool rounds_true = false, rounds_pred = false;
  DType round_true = DType::Float32, round_pred = DType::Float32;
  // Labels may be 0 and 1, which then stand for -1 and 1: the definitions come in
  // pairs, for one meaning and for the other.
  bool finds_zero_one = false;
  int op_count = 0;
  Definition ops[kMaxOps];
  Targets targets;
  // Or the values themselves: each the sum of `width` elements, scaled.
  std::int64_t width = 1;
  double scale = 1.0;
  int team = 1;  // threads for one of them
  Destination values;
  Workspace workspace;
};

// A tensor of rows: strides along the axes of rows, and along those of a row.
struct RowOperand {
  const char* data = nullptr;
  DType dtype = DType::Float32;
  bool quads = false;
  bool direct = false;  // the elements of a row are neighbours
  std::int64_t lead[kMaxRank];
  std::int64_t inner[kMaxRank];
};

// Definitions that look at the same statistics of a row.
struct RowGroup {
  unsigned needs = 0;
  int first = 0, count = 0;  // in `ops`
};

struct RowwiseLaunch {
  std::int64_t rows = 0, classes = 0, targets_size = 0;
  Axes lead, scores_axes, truth_axes;
  RowOperand scores, truth;  // labels are rows of one element
  Operand weight;
  bool weighted = false, dense = false, has_truth = true;
  bool integers = false;  // ids and labels of 64 bits, compared as such
  int team = kWarp;       // threads for a row: a power of 2, or all of a block
  int group_count = 0;
  RowGroup groups[kMaxOps];
  int op_count = 0;
  Definition ops[kMaxOps];
  Targets targets;
  Destination values;  // instead of sums, where there is a place for them
  Workspace workspace;
};

struct ColumnwiseLaunch {
  std::int64_t rows = 0, columns = 0;
  Axes axes;
  Operand y_true, y_pred, weight;
  bool weighted = false;
  bool rounds = false;
  DType precision = DType::Float32;
  int kernel = 0;
  Params params;
  std::int64_t tile = 1;   // rows that a block takes at once
  std::int64_t slots = 0;  // elements with sums of their own: a multiple of `columns`
  int team = 1;            // threads that look for a row's largest score
  bool folded = false;
  int first = 0;            // variable of the first sum; the one before it counts rows
  double* lanes = nullptr;  // each block's slots, then its number of rows that weigh something
  State state;
  Workspace workspace;
};

// Words of a sum that is exact for weights of float32, and of float64 (exact_sum.h).
constexpr int kNarrowWords = 1 + 9;  // flags and 277 bits
constexpr int kWideWords = 1 + 66;   // flags and 2098 bits

// A histogram of counts or, with weights, of exact sums (see exact_sum.h).
struct Bins {
  std::int64_t count = 0;
  int words = 1;      // of 64 bits for each bin
  int copies = 0;     // in shared memory; 0: straight into global memory
  bool wide = false;  // weights of float64
};

struct BinnedLaunch {
  std::int64_t n = 0;
  Axes axes;
  Operand y_true, y_pred, weights[2];
  int weight_count = 0;
  bool from_logits = false;
  std::int64_t top_k = 0, class_id = -1, classes = 0;
  RowOperand rows;  // the whole rows of scores, for top_k
  Axes rows_lead, rows_inner;
  // Thresholds, ascending; listed ones are padded to 2^k - 1 of them.
  std::int64_t thresholds = 0, padded = 0;
  const void* listed = nullptr;         // of the type that scores are compared in
  const std::int64_t* order = nullptr;  // null: they were given in ascending order
  double threshold = 0.5;               // the only one
  bool even = false, first_always_passed = false;
  std::int64_t labels = 1;
  Bins bins;
  int cells[kMaxState];  // TP, FP, FN, TN for each variable
  bool poison_on_nan = false;
  State state;
  Workspace workspace;
};

// Class ids: given, or the largest of a row of scores.
struct IdOperand {
  RowOperand rows;
  Axes lead, inner;
  std::int64_t classes = 1;
  bool dense = false;
  bool integers = false;  // of 64 bits
};

struct TabulatedLaunch {
  std::int64_t n = 0;
  IdOperand labels, predicted;
  Axes weight_axes;
  Operand weight;
  bool weighted = false, whole_weights = false;
  bool has_threshold = false;
  float threshold = 0.5f;
  std::int64_t classes = 0;
  bool by_class = false, whole = true;
  Ignored ignored;
  int team = 1;
  bool commits = true;  // else a launch of its own does it, see CommitLaunch
  Bins bins;
  State state;
  Workspace workspace;
};

// Adds a large table's bins to the state, and zeroes them.
struct CommitLaunch {
  Bins bins;
  State state;
  Workspace workspace;
};

struct ExpressionLaunch {
  std::int64_t n = 0;
  Axes axes;
  Operand y_true, y_pred, weight;
  bool weighted = false;
  Code code;
  MeanShape shape;
  const char* scale = nullptr;  // the scalar weight
  DType scale_dtype = DType::Float32;
  State state;
  Workspace workspace;
};

struct FinalizeLaunch {
  Code code;
  State state;
  void* out = nullptr;
  DType dtype = DType::Float32;
};

struct FinishLaunch {
  ResultSpec spec;
  State state;
  void* out = nullptr;
  DType dtype = DType::Float32;
};

// A state that somebody else keeps, and its numbers as kernels take them.
struct KeptLaunch {
  KeptVariable kept[kMaxState];
  bool adds = false;  // what is read, to what is there
  State state;
};

enum class CudaKernel : int {
#define KT_CUDA_KERNEL(name, ...) name,
#include "kernels.def"
  kCount,
};
constexpr int kCudaKernels = static_cast<int>(CudaKernel::kCount);

// The kernel of a row of results.def.
constexpr CudaKernel finish_kernel(Result result) {
  return static_cast<CudaKernel>(static_cast<int>(CudaKernel::finish_mean) +
                                 static_cast<int>(result));
}

// How many blocks one processor must have room for at once, which is what settles how
// many registers a thread may have.
constexpr int blocks_at_once(CudaKernel kernel) {
  switch (kernel) {
    case CudaKernel::plain_cells:
    case CudaKernel::plain_bins:
    case CudaKernel::plain_sums:
    case CudaKernel::plain_scores:
      return 4;
    case CudaKernel::logit_scores:
    case CudaKernel::logit_pairs:
      return 3;
    default:
      return 2;
  }
}

// What a kernel can be given at most.
constexpr std::size_t kLaunchBytes = 4096;
static_assert(sizeof(ElementwiseLaunch) <= kLaunchBytes);
static_assert(sizeof(RowwiseLaunch) <= kLaunchBytes);
static_assert(sizeof(ColumnwiseLaunch) <= kLaunchBytes);
static_assert(sizeof(BinnedLaunch) <= kLaunchBytes);
static_assert(sizeof(TabulatedLaunch) <= kLaunchBytes);
static_assert(sizeof(FinishLaunch) <= kLaunchBytes);
static_assert(sizeof(ExpressionLaunch) <= kLaunchBytes);
static_assert(sizeof(FinalizeLaunch) <= kLaunchBytes);
static_assert(sizeof(KeptLaunch) <= kLaunchBytes);

}  // namespace kt
