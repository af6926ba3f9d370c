#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "row_reader.h"

namespace kt {
namespace {

// Class ids as doubles, block by block.
class IdReader {
 public:
  IdReader(const Level& level, const ClassIds& ids)
      : level_(level), ids_(ids), walk_({&ids.view}, ids.view.shape, ids.view.rank) {
    if (!ids.dense) return;
    if (ids.view.dtype == DType::Float32) {
      float_rows_.emplace(level, ids.view, 1);
    } else {
      double_rows_.emplace(level, ids.view, 1);
    }
  }

  const double* read(std::int64_t start, std::int64_t n, double* buffer) {
    if (float_rows_) return largest(*float_rows_, start, n, level_.argmax_float32, buffer);
    if (double_rows_) return largest(*double_rows_, start, n, level_.argmax_float64, buffer);
    return fetch(level_, walk_, 0, ids_.view, start, n, buffer);
  }

 private:
  template <class T>
  static const double* largest(RowReader<T>& reader, std::int64_t start, std::int64_t n,
                               void (*argmax)(const Rows&, double*), double* out) {
    const std::int64_t group = reader.group(n);
    for (std::int64_t done = 0; done < n; done += group) {
      Rows rows = {};
      rows.count = std::min(group, n - done);
      rows.classes = reader.width();
      rows.scores = reader.read(start + done, rows.count);
      rows.stride = reader.stride();
      rows.readable = reader.readable();
      argmax(rows, out + done);
    }
    return out;
  }

  const Level& level_;
  const ClassIds& ids_;
  const Walk<1> walk_;
  std::optional<RowReader<float>> float_rows_;
  std::optional<RowReader<double>> double_rows_;
};

class TabulatedPass final : public Pass {
 public:
  TabulatedPass(const TabulatedJob& job, Table* table)
      : job_(job), table_(table), level_(active_level()), size_(job.pairs.size()) {
    if (job.weight != nullptr)
      weight_walk_ = Walk<1>({job.weight}, job.weight->shape, job.weight->rank);
    constexpr std::int64_t kSmallTable = 1024;
    units = job.count;
    step = kBlock;
    for (const ClassIds* ids : {&job.labels, &job.predicted}) {
      if (ids->dense) width = std::max<std::int64_t>(1, ids->view.shape[ids->view.rank - 1]);
    }
    table->dense = size_ <= std::max(units, kSmallTable);
    if (!table->dense) {
      chunks = {std::max<std::int64_t>(1, units), 1};
      const auto n = static_cast<std::size_t>(units);
      table->indices.resize(job.pairs.by_class ? 2 * n : n);
      if (job.weight != nullptr) table->weights.resize(n);
      return;
    }
    cells_ = size_ + 1;  // the last for pairs that count nowhere
    const int max_chunks =
        static_cast<int>(std::clamp<std::int64_t>((std::int64_t{1} << 21) / cells_, 1, kMaxChunks));
    chunks = cut(units, kMinChunk, max_chunks, kBlock);
    const bool dense_input = job.labels.dense || job.predicted.dense;
    worth_threads = units >= kParallelThreshold / (dense_input ? 8 : 1);
    // Neighbours often share a cell: several tables keep their increments from
    // waiting for each other.
    tables_ = units >= 4096 && size_ < 1024 ? kCountTables : 1;
    if (job.weight != nullptr) {
      sums_.clear(cells_ * chunks.count);
    } else {
      counts_.clear(cells_ * tables_ * chunks.count);
    }
  }

  void run(int chunk, std::int64_t begin, std::int64_t end) override {
    if (!table_->dense) {
      list(begin, end);
    } else if (job_.weight != nullptr) {
      weigh(begin, end, sums_.data() + chunk * cells_);
    } else {
      count(begin, end, counts_.data() + chunk * cells_ * tables_);
    }
  }

  void finish() override {
    if (!table_->dense) return;
    table_->cells.clear(size_);
    for (int chunk = 0; chunk < chunks.count; ++chunk) {
      for (std::int64_t i = 0; i < size_; ++i) table_->cells[i] += sum_of(chunk, i);
    }
  }

 private:
  double sum_of(int chunk, std::int64_t cell) const {
    if (job_.weight != nullptr) return sums_[chunk * cells_ + cell];
    std::int64_t sum = 0;
    for (int t = 0; t < tables_; ++t) sum += counts_[(chunk * tables_ + t) * cells_ + cell];
    return static_cast<double>(sum);
  }

  // Calls each(start, n, cells, runs of n cells) block by block.
  template <class Each>
  void blocks(std::int64_t begin, std::int64_t end, Each&& each) const {
    std::int64_t cells[2 * kBlock];
    const int runs = job_.pairs.by_class ? 2 : 1;
    if (in_place(DType::Int64)) {
      integer_blocks(begin, end, level_.class_cells_int64, cells, runs, each);
      return;
    }
    if (in_place(DType::Int32)) {
      integer_blocks(begin, end, level_.class_cells_int32, cells, runs, each);
      return;
    }
    alignas(64) double label_buffer[kBlock];
    alignas(64) double predicted_buffer[kBlock];
    IdReader labels(level_, job_.labels), predicted(level_, job_.predicted);
    for (std::int64_t start = begin; start < end; start += kBlock) {
      const std::int64_t n = std::min(kBlock, end - start);
      const double* t = labels.read(start, n, label_buffer);
      const double* p = predicted.read(start, n, predicted_buffer);
      if (job_.has_threshold) {
        for (std::int64_t i = 0; i < n; ++i) {
          predicted_buffer[i] = static_cast<float>(p[i]) >= job_.threshold ? 1.0 : 0.0;
        }
        p = predicted_buffer;
      }
      level_.class_cells_float64(t, p, n, job_.pairs, cells);
      each(start, n, cells, runs);
    }
  }

  bool in_place(DType dtype) const {
    const auto fits = [&](const ClassIds& ids) {
      return !ids.dense && ids.view.dtype == dtype && ids.view.contiguous();
    };
    return !job_.has_threshold && fits(job_.labels) && fits(job_.predicted);
  }

  template <class T, class Each>
  void integer_blocks(std::int64_t begin, std::int64_t end,
                      void (*cells_of)(const T*, const T*, std::int64_t, const ClassPairs&,
                                       std::int64_t*),
                      std::int64_t* cells, int runs, Each&& each) const {
    const T* labels = reinterpret_cast<const T*>(job_.labels.view.data);
    const T* predicted = reinterpret_cast<const T*>(job_.predicted.view.data);
    for (std::int64_t start = begin; start < end; start += kBlock) {
      const std::int64_t n = std::min(kBlock, end - start);
      cells_of(labels + start, predicted + start, n, job_.pairs, cells);
      each(start, n, cells, runs);
    }
  }

  const double* weights(std::int64_t start, std::int64_t n, double* buffer) const {
    const double* weight = fetch(level_, weight_walk_, 0, *job_.weight, start, n, buffer);
    if (!job_.whole_weights || is_integer(job_.weight->dtype)) return weight;
    for (std::int64_t i = 0; i < n; ++i) buffer[i] = std::trunc(weight[i]);
    return buffer;
  }

  void count(std::int64_t begin, std::int64_t end, std::int64_t* counts) const {
    blocks(begin, end, [&](std::int64_t, std::int64_t n, const std::int64_t* at, int runs) {
      std::int64_t i = 0;
      if (tables_ == kCountTables) {
        for (; i + kCountTables <= runs * n; i += kCountTables) {
          for (int t = 0; t < kCountTables; ++t) ++counts[t * cells_ + at[i + t]];
        }
      }
      for (; i < runs * n; ++i) ++counts[at[i]];
    });
  }

  void weigh(std::int64_t begin, std::int64_t end, double* sums) const {
    alignas(64) double buffer[kBlock];
    blocks(begin, end, [&](std::int64_t start, std::int64_t n, const std::int64_t* at, int runs) {
      const double* weight = weights(start, n, buffer);
      for (int r = 0; r < runs; ++r) {
        for (std::int64_t i = 0; i < n; ++i) sums[at[r * n + i]] += weight[i];
      }
    });
  }

  // Few samples and a large table: the cells they go to, sample by sample.
  void list(std::int64_t begin, std::int64_t end) {
    blocks(begin, end, [&](std::int64_t start, std::int64_t n, const std::int64_t* at, int runs) {
      for (int r = 0; r < runs; ++r) {
        std::copy_n(at + r * n, n, table_->indices.begin() + r * units + start);
      }
      if (job_.weight == nullptr) return;
      double buffer[kBlock];
      const double* weight = weights(start, n, buffer);
      std::copy_n(weight, n, table_->weights.begin() + start);
    });
  }

  const TabulatedJob& job_;
  Table* const table_;
  const Level& level_;
  const std::int64_t size_;
  std::int64_t cells_ = 0;
  int tables_ = 1;
  Buffer<std::int64_t, 1025> counts_;
  Buffer<double, 1> sums_;
  Walk<1> weight_walk_;
};

}  // namespace

bool run_tabulated(const TabulatedJob& job, Table* table) {
  TabulatedPass pass(job, table);
  return run_alone(pass);
}

InArena<Pass> make_pass(const TabulatedJob& job, Table* table, Arena& arena) {
  return make_in<TabulatedPass>(arena, job, table);
}

}  // namespace kt
