#include "configure.h"

#include <algorithm>

namespace kt {
namespace {

// What every device has for a block without being asked.
constexpr std::int64_t kSharedBytes = 48 * 1024;
// So much of it leaves room for several blocks on a processor.
constexpr std::int64_t kHistogramBytes = 32 * 1024;
constexpr int kMostCopies = 8;
constexpr std::int64_t kPartialBytes = 32 * 1024 * 1024;
// Above it, one block would add the bins to the state for too long.
constexpr std::int64_t kCommittedByOne = 65536;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// As many blocks as there is work for, up to what the device holds at once.
Grid grid_for(CudaKernel kernel, std::int64_t wanted, std::int64_t shared_bytes,
              const DeviceInfo& info) {
  std::int64_t blocks = std::max(1, info.blocks[static_cast<int>(kernel)]);
  if (shared_bytes > 0) {
    blocks = std::min(blocks, std::max<std::int64_t>(1, info.shared_memory / shared_bytes));
  }
  Grid grid;
  grid.blocks = static_cast<int>(std::clamp<std::int64_t>(wanted, 1, blocks * info.processors));
  grid.shared_bytes = shared_bytes;
  return grid;
}

// Copies of a histogram in shared memory, beside `other` bytes.
void settle_copies(Bins* bins, std::int64_t other) {
  const std::int64_t size = bins->count * (bins->words == 1 ? 4 : 8 * bins->words);
  bins->copies = static_cast<int>(std::min<std::int64_t>(kMostCopies, kHistogramBytes / size));
  if (bins->copies == 0 && size + other <= kSharedBytes) bins->copies = 1;
}

std::int64_t shared_bytes_of(const Bins& bins) {
  return bins.copies * bins.count * (bins.words == 1 ? 4 : 8 * bins.words);
}

constexpr std::int64_t kColumnBytes = kThreads * 8;
constexpr std::int64_t kScratchBytes = kThreads / kWarp * 8;
constexpr std::int64_t kElementsOfBlock = 4 * kThreads;

}  // namespace

int team_for(std::int64_t classes, std::int64_t rows, const DeviceInfo& info) {
  const bool few = rows < std::int64_t{8} * info.processors;
  if (classes >= 8192 || (classes >= 2048 && few)) return kThreads;
  // Some 16 elements for a thread: what there is to do for a row, whatever its length, is
  // worth as much.
  int team = 1;
  while (team < kWarp && 16 * team < classes) team *= 2;
  return team;
}

Configuration configure(CudaKernel kernel, ElementwiseLaunch* launch, const DeviceInfo& info) {
  Configuration out;
  if (launch->values.data != nullptr) {
    launch->team = team_for(launch->width, launch->n, info);
    out.grid = grid_for(kernel, ceil_div(launch->n, kThreads / launch->team), kScratchBytes, info);
    return out;
  }
  const std::int64_t columns = launch->op_count + 2;
  out.grid = grid_for(kernel, ceil_div(launch->n, kElementsOfBlock), columns * kColumnBytes, info);
  out.needed.partials = out.grid.blocks * columns;
  return out;
}

Configuration configure(CudaKernel kernel, RowwiseLaunch* launch, const DeviceInfo& info) {
  launch->team = team_for(std::max(launch->classes, launch->dense ? launch->targets_size : 1),
                          launch->rows, info);
  const std::int64_t columns = 2 * launch->op_count;
  Configuration out;
  out.grid = grid_for(kernel, ceil_div(launch->rows, kThreads / launch->team),
                      columns * kColumnBytes + kScratchBytes, info);
  out.needed.partials = out.grid.blocks * columns;
  return out;
}

Configuration configure(CudaKernel kernel, ColumnwiseLaunch* launch, int kinds, int sums,
                        const DeviceInfo& info) {
  const std::int64_t columns = launch->columns;
  const std::int64_t rows_of_slots = std::max<std::int64_t>(1, kThreads / columns);
  launch->slots = columns * rows_of_slots;
  launch->tile = 8 * rows_of_slots;
  launch->team = std::min(kWarp, team_for(columns, launch->rows, info));
  const std::int64_t number = kernel == CudaKernel::columnwise_float32 ? 4 : 8;
  const std::int64_t slab = kinds * launch->slots;
  Configuration out;
  const std::int64_t most = std::max<std::int64_t>(1, kPartialBytes / (8 * slab));
  out.grid = grid_for(kernel, std::min(most, ceil_div(launch->rows, launch->tile)),
                      kScratchBytes + launch->tile * number, info);
  out.needed.partials = out.grid.blocks * (slab + 2 * sums * columns + 1);
  return out;
}

Configuration configure(CudaKernel kernel, BinnedLaunch* launch, const DeviceInfo& info) {
  const std::int64_t blocks = ceil_div(launch->n, kElementsOfBlock);
  Configuration out;
  if (kernel == CudaKernel::cells_float32 || kernel == CudaKernel::cells_float64 ||
      kernel == CudaKernel::plain_cells) {
    out.grid = grid_for(kernel, blocks, 4 * kColumnBytes, info);
    out.needed.partials = out.grid.blocks * 4;
    return out;
  }
  settle_copies(&launch->bins, kScratchBytes);
  out.grid = grid_for(kernel, blocks, kScratchBytes + shared_bytes_of(launch->bins), info);
  out.needed.partials = launch->bins.count;
  out.needed.bins = launch->bins.count * launch->bins.words;
  return out;
}

Configuration configure(CudaKernel kernel, TabulatedLaunch* launch, const DeviceInfo& info) {
  const std::int64_t classes = std::max(launch->labels.dense ? launch->labels.classes : 1,
                                        launch->predicted.dense ? launch->predicted.classes : 1);
  launch->team = team_for(classes, launch->n, info);
  launch->commits = launch->bins.count <= kCommittedByOne;
  settle_copies(&launch->bins, kScratchBytes);
  Configuration out;
  // Several samples a thread: a block's histogram costs as much as they do.
  const std::int64_t samples = kThreads / launch->team * (launch->bins.copies > 0 ? 8 : 1);
  out.grid = grid_for(kernel, ceil_div(launch->n, samples),
                      kScratchBytes + shared_bytes_of(launch->bins), info);
  out.needed.bins = launch->bins.count * launch->bins.words;
  return out;
}

Configuration configure(CudaKernel kernel, const ExpressionLaunch& launch, const DeviceInfo& info) {
  const std::int64_t sums = launch.code.output_count + 1;
  const std::int64_t places = launch.code.output_count + launch.code.slot_count;
  Configuration out;
  out.grid =
      grid_for(kernel, ceil_div(launch.n, kElementsOfBlock), (sums + places) * kColumnBytes, info);
  out.needed.partials = out.grid.blocks * sums;
  return out;
}

Configuration configure(CudaKernel kernel, const CommitLaunch& launch, const DeviceInfo& info) {
  Configuration out;
  out.grid = grid_for(kernel, ceil_div(launch.bins.count, 4 * kThreads), 0, info);
  out.needed.bins = launch.bins.count * launch.bins.words;
  return out;
}

Configuration configure(CudaKernel kernel, const KeptLaunch& launch, const DeviceInfo& info) {
  std::int64_t largest = 0;
  for (int v = 0; v < launch.state.count; ++v) {
    largest = std::max(largest, launch.state.variables[v].size);
  }
  Configuration out;
  out.grid = grid_for(kernel, ceil_div(largest, kThreads), 0, info);
  return out;
}

}  // namespace kt
