#include <algorithm>
#include <numeric>
#include <vector>

#include "walk.h"

namespace kt {
namespace {

template <class T>
class Columnwise {
 public:
  explicit Columnwise(const ColumnwiseJob& job)
      : job_(job),
        level_(active_level()),
        blocks_(level_.columnwise[static_cast<int>(job.op.kernel)]),
        walk_({&job.y_true, &job.y_pred, job.weight}, job.y_pred.shape, 2),
        rows_(job.y_pred.shape[0]),
        columns_(job.y_pred.shape[1]) {
    // Elements of a run have accumulators of their own: enough of them to fill
    // vectors, and to keep several additions in flight.
    run_ = columns_;
    if (columns_ < 64) {
      run_ = std::lcm<std::int64_t>(columns_, 8);
      while (run_ < 32) run_ *= 2;
    }
    stride_ = (run_ + 7) / 8 * 8;
  }

  bool run(Cells* sums) {
    const int kinds = blocks_.sums + blocks_.low;
    const std::int64_t size = kinds * columns_;
    sums->clear(size);
    if (size == 0 || rows_ == 0) return false;
    const int max_chunks =
        static_cast<int>(std::clamp<std::int64_t>((std::int64_t{1} << 21) / size, 1, kMaxChunks));
    const Chunks chunks =
        cut(rows_, std::max<std::int64_t>(1, kMinChunk / columns_), max_chunks, 1);
    if (chunks.count == 1) {
      run_chunk(0, rows_, sums->data());
      return false;
    }
    std::vector<double> partial(static_cast<std::size_t>(chunks.count * size));
    const bool parallel =
        for_chunks(chunks, rows_, rows_ * columns_ >= kParallelThreshold,
                   [&](std::int64_t begin, std::int64_t end, int chunk) {
                     run_chunk(begin, end, partial.data() + chunk * size);
                   });
    // Chunk by chunk, like elements of a run.
    blocks_.fold(by_kind(partial, chunks.count, size).data(), chunks.count * columns_,
                 chunks.count * columns_, columns_, sums->data());
    return parallel;
  }

 private:
  void run_chunk(std::int64_t begin, std::int64_t end, double* sums) const {
    constexpr std::int64_t kElements = 4096;
    const std::int64_t group = std::max<std::int64_t>(1, kElements / columns_);
    const std::int64_t most = std::min(group, end - begin) * columns_;
    Buffer<T, kElements> true_buffer(most), pred_buffer(most);
    Buffer<T, kElements> hit_buffer(blocks_.counts_hits ? most : 0);
    Buffer<double, kElements> weight_buffer(job_.weight == nullptr ? 0 : most);
    Buffer<double, 2048> lanes;
    lanes.clear((blocks_.sums + blocks_.low) * stride_);
    for (std::int64_t row = begin; row < end; row += group) {
      const std::int64_t rows = std::min(group, end - row), n = rows * columns_;
      const std::int64_t start = row * columns_;
      const T* y_true = rounded(fetch(level_, walk_, 0, job_.y_true, start, n, true_buffer.data()),
                                n, true_buffer.data());
      const T* y_pred = rounded(fetch(level_, walk_, 1, job_.y_pred, start, n, pred_buffer.data()),
                                n, pred_buffer.data());
      const double* weight = job_.weight == nullptr ? nullptr
                                                    : fetch(level_, walk_, 2, *job_.weight, start,
                                                            n, weight_buffer.data());
      if (blocks_.counts_hits) {
        hits(y_pred, rows, hit_buffer.data());
        y_pred = hit_buffer.data();
      }
      add(y_true, y_pred, weight, n, lanes.data());
    }
    blocks_.fold(lanes.data(), run_, stride_, columns_, sums);
  }

  // From [chunk][kind][column] to [kind][chunk][column].
  std::vector<double> by_kind(const std::vector<double>& partial, int chunks,
                              std::int64_t size) const {
    std::vector<double> out(partial.size());
    for (int chunk = 0; chunk < chunks; ++chunk) {
      for (std::int64_t k = 0; k * columns_ < size; ++k) {
        std::copy_n(partial.begin() + chunk * size + k * columns_, columns_,
                    out.begin() + (k * chunks + chunk) * columns_);
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

  void add(const T* t, const T* p, const double* w, std::int64_t n, double* lanes) const {
    if constexpr (std::is_same_v<T, float>) {
      blocks_.float32(t, p, w, n, run_, stride_, lanes);
    } else {
      blocks_.float64(t, p, w, n, run_, stride_, lanes);
    }
  }

  const ColumnwiseJob& job_;
  const Level& level_;
  const ColumnsBlocks& blocks_;
  const Walk<3> walk_;
  const std::int64_t rows_, columns_;
  std::int64_t run_, stride_;
};

}  // namespace

bool run_columnwise(const ColumnwiseJob& job, Cells* sums) {
  // Float32 pairs are read where they lie; where float32 decides, everything is
  // brought to it; the rest meets in float64.
  const bool as_they_are = job.precision == nullptr && job.y_true.dtype == DType::Float32 &&
                           job.y_pred.dtype == DType::Float32;
  const bool compared = job.precision != nullptr && *job.precision == DType::Float32;
  if (as_they_are || compared) return Columnwise<float>(job).run(sums);
  return Columnwise<double>(job).run(sums);
}

}  // namespace kt
