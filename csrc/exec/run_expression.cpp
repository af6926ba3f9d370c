#include <algorithm>
#include <cstring>

#include "walk.h"

namespace kt {

bool single_precision(const ExpressionJob& job) {
  return job.y_true.dtype == DType::Float32 && job.y_pred.dtype == DType::Float32;
}

namespace {

template <class T>
ExpressionSums<T> sums_of(const Level& level) {
  if constexpr (std::is_same_v<T, float>) {
    return level.expression_sums_float32;
  } else {
    return level.expression_sums_float64;
  }
}

class ExpressionPass final : public Pass {
 public:
  ExpressionPass(const ExpressionJob& job, Sums* sums)
      : job_(job), sums_(sums), level_(active_level()) {
    const View* const views[3] = {&job.y_true, &job.y_pred, job.weight};
    walk_ = Walk<3>(views, job.y_pred.shape, job.y_pred.rank);
    single_ = single_precision(job);
    units = job.y_pred.size();
    step = kBlock;
    chunks = cut(units, kMinChunk, kMaxChunks, kBlock);
    worth_threads = units >= kParallelThreshold;
    lanes_.clear(chunks.count * job.expression->outputs());
  }

  void run(int chunk, std::int64_t begin, std::int64_t end) override {
    ChunkLanes* lanes = lanes_.data() + chunk * job_.expression->outputs();
    if (single_) {
      run_as<float>(begin, end, lanes);
    } else {
      run_as<double>(begin, end, lanes);
    }
  }

  void finish() override { total(lanes_.data(), chunks.count, job_.expression->outputs(), sums_); }

 private:
  template <class T>
  void run_as(std::int64_t begin, std::int64_t end, ChunkLanes* lanes) const {
    alignas(64) T buffers[2][kBlock];
    alignas(64) double weight_buffer[kBlock];
    const View* const views[2] = {&job_.y_true, &job_.y_pred};
    for (std::int64_t start = begin; start < end; start += kBlock) {
      const std::int64_t n = std::min(kBlock, end - start);
      const T* inputs[2];
      for (int i = 0; i < 2; ++i) {
        inputs[i] = fetch(level_, walk_, i, *views[i], start, n, buffers[i]);
        // Vectors are read as a whole, where the user's memory may have ended.
        const std::int64_t rest = (kExpressionStep - n % kExpressionStep) % kExpressionStep;
        if (rest == 0) continue;
        if (inputs[i] != buffers[i]) std::copy_n(inputs[i], n, buffers[i]);
        std::fill_n(buffers[i] + n, rest, T{});
        inputs[i] = buffers[i];
      }
      const double* weight = job_.weight == nullptr
                                 ? nullptr
                                 : fetch(level_, walk_, 2, *job_.weight, start, n, weight_buffer);
      sums_of<T>(level_)(*job_.expression, inputs, n, weight, lanes->all);
    }
  }

  const ExpressionJob& job_;
  Sums* const sums_;
  const Level& level_;
  Walk<3> walk_;
  bool single_;
  Buffer<ChunkLanes, 1> lanes_;
};

}  // namespace

bool run_expression(const ExpressionJob& job, Sums* sums) {
  ExpressionPass pass(job, sums);
  return run_alone(pass);
}

InArena<Pass> make_pass(const ExpressionJob& job, Sums* sums, Arena& arena) {
  return make_in<ExpressionPass>(arena, job, sums);
}

}  // namespace kt
