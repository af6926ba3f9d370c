#include <algorithm>
#include <atomic>
#include <vector>

#include "walk.h"

namespace kt {

// Float32 pairs are read where they lie; everything else meets in float64.
bool single_precision(const ElementwiseJob& job) {
  return job.y_true.dtype == DType::Float32 && job.y_pred.dtype == DType::Float32 &&
         (job.round_pred == nullptr || *job.round_pred == DType::Float32);
}

bool compares_integers(const ElementwiseJob& job) {
  return job.round_true != nullptr && wide_integer(job.y_true.dtype) &&
         wide_integer(job.y_pred.dtype);
}

namespace {

// 64-bit integers do not fit a double: equal ones become 0 and 0, others 0 and 1.
template <int kCount>
void fetch_integer_difference(const Walk<kCount>& walk, const View& a, const View& b,
                              std::int64_t start, std::int64_t n, double* difference) {
  std::int64_t left[kBlock], right[kBlock];
  read_int64(walk, 0, a, start, n, left);
  read_int64(walk, 1, b, start, n, right);
  for (std::int64_t i = 0; i < n; ++i) difference[i] = left[i] == right[i] ? 0.0 : 1.0;
}

// Reads blocks of both operands as T, rounded first where the job says so.
template <class T>
class PairReader {
 public:
  PairReader(const Level& level, const ElementwiseJob& job, const Walk<3>& walk)
      : level_(level), job_(job), walk_(walk) {
    integers_ = compares_integers(job);
  }

  void read(std::int64_t start, std::int64_t n) {
    if constexpr (std::is_same_v<T, double>) {
      if (integers_) {
        fetch_integer_difference(walk_, job_.y_true, job_.y_pred, start, n, true_buffer_);
        std::fill(pred_buffer_, pred_buffer_ + n, 0.0);
        y_true = true_buffer_;
        y_pred = pred_buffer_;
        return;
      }
    }
    y_true = fetch(level_, walk_, 0, job_.y_true, start, n, true_buffer_);
    y_pred = fetch(level_, walk_, 1, job_.y_pred, start, n, pred_buffer_);
    if constexpr (std::is_same_v<T, double>) {
      y_true = rounded(y_true, n, job_.y_true.dtype, job_.round_true, true_buffer_);
      y_pred = rounded(y_pred, n, job_.y_pred.dtype, job_.round_pred, pred_buffer_);
    }
  }

  const T* y_true;
  const T* y_pred;

 private:
  static const double* rounded(const double* x, std::int64_t n, DType from, const DType* to,
                               double* buffer) {
    if (to == nullptr || from == *to) return x;
    if (x != buffer) std::copy(x, x + n, buffer);
    round_to(buffer, n, *to);
    return buffer;
  }

  const Level& level_;
  const ElementwiseJob& job_;
  const Walk<3>& walk_;
  bool integers_;
  alignas(64) T true_buffer_[kBlock];
  alignas(64) T pred_buffer_[kBlock];
};

Walk<3> walk_of(const ElementwiseJob& job) {
  const View* const views[3] = {&job.y_true, &job.y_pred, job.weight};
  return Walk<3>(views, job.y_pred.shape, job.y_pred.rank);
}

template <class T>
const ElementwiseBlock<T>& block_of(const Level& level, const Op<ElementwiseId>& op) {
  const ElementwiseBlocks& blocks = level.elementwise[static_cast<int>(op.kernel)];
  if constexpr (std::is_same_v<T, float>) {
    return blocks.float32;
  } else {
    return blocks.float64;
  }
}

class ElementwisePass final : public Pass {
 public:
  ElementwisePass(const ElementwiseJob& job, Sums* sums)
      : job_(job), sums_(sums), level_(active_level()), walk_(walk_of(job)) {
    single_ = single_precision(job);
    units = job.y_pred.size();
    step = kBlock;
    chunks = cut(units, kMinChunk, kMaxChunks, kBlock);
    worth_threads = units >= kParallelThreshold;
    lanes_.clear(chunks.count * job.op_count);
  }

  void run(int chunk, std::int64_t begin, std::int64_t end) override {
    ChunkLanes* lanes = lanes_.data() + chunk * job_.op_count;
    if (single_) {
      run_as<float>(begin, end, lanes);
    } else {
      run_as<double>(begin, end, lanes);
    }
  }

  void finish() override { total(lanes_.data(), chunks.count, job_.op_count, sums_); }

 private:
  template <class T>
  void run_as(std::int64_t begin, std::int64_t end, ChunkLanes* lanes) const {
    PairReader<T> pair(level_, job_, walk_);
    alignas(64) double weight_buffer[kBlock];
    alignas(64) double values[kBlock];
    for (std::int64_t start = begin; start < end; start += kBlock) {
      const std::int64_t n = std::min(kBlock, end - start);
      pair.read(start, n);
      const double* weight = job_.weight == nullptr
                                 ? nullptr
                                 : fetch(level_, walk_, 2, *job_.weight, start, n, weight_buffer);
      for (int op = 0; op < job_.op_count; ++op) {
        const ElementwiseBlock<T>& block = block_of<T>(level_, job_.ops[op]);
        const Params& params = job_.ops[op].params;
        if (weight == nullptr) {
          block.sum(pair.y_true, pair.y_pred, n, params, lanes[op].all);
        } else {
          block.values(pair.y_true, pair.y_pred, n, params, values);
          level_.weighted_sum(values, weight, n, lanes[op].all);
        }
      }
    }
  }

  const ElementwiseJob& job_;
  Sums* const sums_;
  const Level& level_;
  const Walk<3> walk_;
  bool single_;
  Buffer<ChunkLanes, 1> lanes_;
};

}  // namespace

bool run_elementwise(const ElementwiseJob& job, Sums* sums) {
  ElementwisePass pass(job, sums);
  return run_alone(pass);
}

InArena<Pass> make_pass(const ElementwiseJob& job, Sums* sums, Arena& arena) {
  return make_in<ElementwisePass>(arena, job, sums);
}

namespace {

// Rows of `width` values, each reduced to its sum times `scale`.
template <class T>
void reduce_chunk(const Level& level, const ElementwiseJob& job, const Walk<3>& walk,
                  std::int64_t begin, std::int64_t end, std::int64_t width, double scale,
                  const Output& output) {
  PairReader<T> pair(level, job, walk);
  const ElementwiseBlock<T>& block = block_of<T>(level, job.ops[0]);
  const Params& params = job.ops[0].params;
  alignas(64) double values[kBlock];
  alignas(64) double reduced[kBlock];
  const std::int64_t group = std::max<std::int64_t>(1, kBlock / width);
  for (std::int64_t row = begin; row < end; row += group) {
    const std::int64_t rows = std::min(group, end - row);
    if (width > kBlock) {
      ChunkLanes lanes;
      for (std::int64_t done = 0; done < width; done += kBlock) {
        const std::int64_t n = std::min(kBlock, width - done);
        pair.read(row * width + done, n);
        block.sum(pair.y_true, pair.y_pred, n, params, lanes.all);
      }
      reduced[0] = lanes.total().value * scale;
    } else {
      pair.read(row * width, rows * width);
      block.values(pair.y_true, pair.y_pred, rows * width, params, values);
      level.sum_each_row(values, rows, width, scale, reduced);
    }
    output.write(row, reduced, rows);
  }
}

}  // namespace

bool run_elementwise_values(const ElementwiseJob& job, std::int64_t width, double scale,
                            const Output& output) {
  const Level& level = active_level();
  const Walk<3> walk = walk_of(job);
  const std::int64_t rows = job.y_pred.size() / width;
  const bool single = single_precision(job);
  const Chunks chunks = cut(rows, std::max<std::int64_t>(1, kMinChunk / width), kMaxChunks, 1);
  const bool parallel = rows * width >= kParallelThreshold;
  return for_chunks(chunks, rows, parallel, [&](std::int64_t begin, std::int64_t end, int) {
    if (single) {
      reduce_chunk<float>(level, job, walk, begin, end, width, scale, output);
    } else {
      reduce_chunk<double>(level, job, walk, begin, end, width, scale, output);
    }
  });
}

bool all_zero_or_one(const View& view) {
  const Level& level = active_level();
  const Walk<1> walk({&view}, view.shape, view.rank);
  const std::int64_t n = view.size();
  const Chunks chunks = cut(n, kMinChunk, kMaxChunks, kBlock);
  std::atomic<bool> all{true};
  const auto look = [&](std::int64_t begin, std::int64_t end, auto type, auto holds) {
    using T = decltype(type);
    alignas(64) T buffer[kBlock];
    for (std::int64_t start = begin; start < end && all.load(std::memory_order_relaxed);
         start += kBlock) {
      const std::int64_t count = std::min(kBlock, end - start);
      const T* x = fetch(level, walk, 0, view, start, count, buffer);
      if (!holds(x, count)) all.store(false, std::memory_order_relaxed);
    }
  };
  for_chunks(chunks, n, n >= kParallelThreshold, [&](std::int64_t begin, std::int64_t end, int) {
    if (view.dtype == DType::Float32) {
      look(begin, end, float{}, level.zero_or_one_float32);
    } else {
      look(begin, end, double{}, level.zero_or_one_float64);
    }
  });
  return all.load();
}

}  // namespace kt
