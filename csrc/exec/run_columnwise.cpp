#include <algorithm>
#include <numeric>
#include <vector>

#include "walk.h"

namespace kt {
namespace {

template <class T>
class ColumnwisePass final : public Pass {
 public:
  ColumnwisePass(const ColumnwiseJob& job, Cells* sums)
      : job_(job),
        sums_(sums),
        level_(active_level()),
        blocks_(level_.columnwise[static_cast<int>(job.op.kernel)]),
        walk_({&job.y_true, &job.y_pred, job.weight}, job.y_pred.shape, 2),
        rows_(job.y_pred.shape[0]),
        columns_(job.y_pred.shape[1]) {
    // Elements of a run have accumulators of their own: enough of them to fill
    // vectors, and to keep several additions in flight.
    run_ = columns_;
    if (columns_ > 0 && columns_ < 64) {
      run_ = std::lcm<std::int64_t>(columns_, 8);
      while (run_ < 32) run_ *= 2;
    }
    stride_ = (run_ + 7) / 8 * 8;
    kinds_ = blocks_.sums + blocks_.low;
    group_ = std::max<std::int64_t>(1, kElements / std::max<std::int64_t>(1, columns_));
    size_ = kinds_ * columns_;
    one_count_ = blocks_.counts_hits && columns_ == 1 && job.weight == nullptr &&
                 job.op.params.has_threshold;
    units = size_ == 0 ? 0 : rows_;
    width = columns_;
    step = group_;
    if (units > 0) {
      const int max_chunks = static_cast<int>(
          std::clamp<std::int64_t>((std::int64_t{1} << 21) / size_, 1, kMaxChunks));
      chunks = cut(units, std::max<std::int64_t>(1, kMinChunk / columns_), max_chunks, 1);
      lanes_.clear(chunks.count * kinds_ * stride_);
    }
    std::fill(counted_, counted_ + kMaxChunks, 0);
    worth_threads = rows_ * columns_ >= kParallelThreshold;
  }

  void run(int chunk, std::int64_t begin, std::int64_t end) override {
    if (begin == end) return;
    const std::int64_t most = std::min(group_, end - begin) * columns_;
    Buffer<T, kElements> true_buffer(most), pred_buffer(most);
    Buffer<T, kElements> hit_buffer(blocks_.counts_hits ? most : 0);
    Buffer<double, kElements> weight_buffer(job_.weight == nullptr ? 0 : most);
    for (std::int64_t row = begin; row < end; row += group_) {
      const std::int64_t rows = std::min(group_, end - row), n = rows * columns_;
      const std::int64_t start = row * columns_;
      const T* y_true = rounded(fetch(level_, walk_, 0, job_.y_true, start, n, true_buffer.data()),
                                n, true_buffer.data());
      const T* y_pred = rounded(fetch(level_, walk_, 1, job_.y_pred, start, n, pred_buffer.data()),
                                n, pred_buffer.data());
      const double* weight = job_.weight == nullptr ? nullptr
                                                    : fetch(level_, walk_, 2, *job_.weight, start,
                                                            n, weight_buffer.data());
      if (weight != nullptr) counted_[chunk] += count_rows(weight, rows);
      double* lanes = lanes_.data() + chunk * kinds_ * stride_;
      if (one_count_ && count_cells(y_true, y_pred, n, lanes)) continue;
      if (blocks_.counts_hits) {
        hits(y_pred, rows, hit_buffer.data());
        y_pred = hit_buffer.data();
      }
      add(y_true, y_pred, weight, n, lanes);
    }
  }

  void finish() override {
    sums_->clear(size_ + 1);
    const std::int64_t counted = std::accumulate(counted_, counted_ + kMaxChunks, std::int64_t{0});
    (*sums_)[size_] = static_cast<double>(job_.weight == nullptr ? rows_ : counted);
    if (units == 0) return;
    if (chunks.count == 1) {
      blocks_.fold(lanes_.data(), run_, stride_, columns_, sums_->data());
      return;
    }
    std::vector<double> partial(static_cast<std::size_t>(chunks.count * size_));
    for (int chunk = 0; chunk < chunks.count; ++chunk) {
      blocks_.fold(lanes_.data() + chunk * kinds_ * stride_, run_, stride_, columns_,
                   partial.data() + chunk * size_);
    }
    // Chunk by chunk, like elements of a run.
    blocks_.fold(by_kind(partial).data(), chunks.count * columns_, chunks.count * columns_,
                 columns_, sums_->data());
  }

 private:
  static constexpr std::int64_t kElements = 4096;

  // Those with a weight other than 0; nobody asks for those of counts.
  std::int64_t count_rows(const double* weight, std::int64_t rows) const {
    if (blocks_.counts_hits) return 0;
    std::int64_t counted = 0;
    for (std::int64_t row = 0; row < rows; ++row) {
      const double* own = weight + row * columns_;
      counted += std::any_of(own, own + columns_, [](double w) { return w != 0.0; }) ? 1 : 0;
    }
    return counted;
  }

  // From [chunk][kind][column] to [kind][chunk][column].
  std::vector<double> by_kind(const std::vector<double>& partial) const {
    std::vector<double> out(partial.size());
    for (int chunk = 0; chunk < chunks.count; ++chunk) {
      for (int k = 0; k < kinds_; ++k) {
        std::copy_n(partial.begin() + chunk * size_ + k * columns_, columns_,
                    out.begin() + (k * chunks.count + chunk) * columns_);
      }
    }
    return out;
  }

  const T* rounded(const T* x, std::int64_t n, T* buffer) const {
    if constexpr (std::is_same_v<T, double>) {
      if (job_.precision != nullptr && *job_.precision != DType::Float64) {
        if (x != buffer) std::copy(x, x + n, buffer);
        round_to(buffer, n, *job_.precision);
        return buffer;
      }
    }
    return x;
  }

  void hits(const T* scores, std::int64_t rows, T* out) const {
    if constexpr (std::is_same_v<T, float>) {
      level_.hits_float32(scores, rows, columns_, job_.op.params, out);
    } else {
      level_.hits_float64(scores, rows, columns_, job_.op.params, out);
    }
  }

  bool count_cells(const T* t, const T* p, std::int64_t n, double* lanes) const {
    if constexpr (std::is_same_v<T, float>) {
      return level_.count_cells_float32(t, p, n, job_.op.params, stride_, lanes);
    } else {
      return level_.count_cells_float64(t, p, n, job_.op.params, stride_, lanes);
    }
  }

  void add(const T* t, const T* p, const double* w, std::int64_t n, double* lanes) const {
    if constexpr (std::is_same_v<T, float>) {
      blocks_.float32(t, p, w, n, run_, stride_, lanes);
    } else {
      blocks_.float64(t, p, w, n, run_, stride_, lanes);
    }
  }

  const ColumnwiseJob& job_;
  Cells* const sums_;
  const Level& level_;
  const ColumnsBlocks& blocks_;
  const Walk<3> walk_;
  const std::int64_t rows_, columns_;
  std::int64_t run_, stride_, group_, size_;
  int kinds_;
  bool one_count_;
  Buffer<double, 256> lanes_;
  std::int64_t counted_[kMaxChunks];  // rows that weigh something
};

// Calls make(T{}) with the type that a job is computed in.
template <class Make>
auto as_its_type(const ColumnwiseJob& job, Make&& make) {
  return single_precision(job) ? make(float{}) : make(double{});
}

}  // namespace

// Float32 pairs are read where they lie; where float32 decides, everything is
// brought to it; the rest meets in float64.
bool single_precision(const ColumnwiseJob& job) {
  const bool as_they_are = job.precision == nullptr && job.y_true.dtype == DType::Float32 &&
                           job.y_pred.dtype == DType::Float32;
  const bool compared = job.precision != nullptr && *job.precision == DType::Float32;
  return as_they_are || compared;
}

bool run_columnwise(const ColumnwiseJob& job, Cells* sums) {
  return as_its_type(job, [&](auto type) {
    ColumnwisePass<decltype(type)> pass(job, sums);
    return run_alone(pass);
  });
}

InArena<Pass> make_pass(const ColumnwiseJob& job, Cells* sums, Arena& arena) {
  return as_its_type(job, [&](auto type) -> InArena<Pass> {
    return make_in<ColumnwisePass<decltype(type)>>(arena, job, sums);
  });
}

}  // namespace kt
