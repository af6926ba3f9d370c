#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "row_reader.h"

namespace kt {
namespace {

// What a row's best k scores are: everything above `value`, and of those equal
// to it the first ones, up to index `last`.
struct TopK {
  double value;
  std::int64_t last;
};

template <class T>
TopK find_top_k(const T* x, std::int64_t n, std::int64_t k, std::vector<std::int64_t>& order) {
  if (k >= n) return {-std::numeric_limits<double>::infinity(), n};
  order.resize(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) order[static_cast<std::size_t>(i)] = i;
  // NaN ranks above every number; among equals the lower index comes first.
  const auto better = [&](std::int64_t a, std::int64_t b) {
    const bool nan_a = x[a] != x[a], nan_b = x[b] != x[b];
    if (nan_a != nan_b) return nan_a;
    if (!nan_a && x[a] != x[b]) return x[a] > x[b];
    return a < b;
  };
  std::nth_element(order.begin(), order.begin() + (k - 1), order.end(), better);
  const std::int64_t last = order[static_cast<std::size_t>(k - 1)];
  return {static_cast<double>(x[last]), last};
}

template <class T>
std::vector<TopK> all_top_k(const Level& level, const BinnedJob& job) {
  const View& scores = job.top_k_scores;
  RowReader<T> reader(level, scores, 1);
  const std::int64_t classes = reader.width();
  std::int64_t rows = 1;
  for (int d = 0; d + 1 < scores.rank; ++d) rows *= scores.shape[d];
  std::vector<TopK> best(static_cast<std::size_t>(classes == 0 ? 0 : rows));
  std::vector<std::int64_t> order;
  for (std::size_t r = 0; r < best.size(); ++r) {
    const T* row = reader.read(static_cast<std::int64_t>(r), 1);
    best[r] = find_top_k(row, classes, job.top_k, order);
  }
  return best;
}

constexpr double kBelowAll = -1e10;

template <class T>
class BinnedPass final : public Pass {
 public:
  BinnedPass(const BinnedJob& job, Cells* cells, bool* nan_seen)
      : job_(job),
        cells_(cells),
        nan_seen_(nan_seen),
        level_(active_level()),
        walk_(make_walk(job)),
        count_(static_cast<std::int64_t>(job.thresholds->sorted.size())) {
    if (job.top_k > 0) top_k_ = all_top_k<T>(level_, job);
    size_ = job_.one_threshold ? 4 : 2 * (count_ + 1) * job.labels;
    units = job.y_pred.size();
    step = kBlock;
    worth_threads = units >= kParallelThreshold;
    // Many bins: fewer, larger chunks, so that partial histograms stay small; but no chunk
    // may hold more than a 32-bit count can tell.
    const std::int64_t fewest = std::min<std::int64_t>((units >> 31) + 1, kMaxChunks);
    const int max_chunks = static_cast<int>(
        std::clamp<std::int64_t>((std::int64_t{1} << 21) / size_, fewest, kMaxChunks));
    chunks = cut(units, kMinChunk, max_chunks, kBlock);
    plain_counts_ = !job_.one_threshold && job.labels == 1 && job.weights[0] == nullptr &&
                    job.weights[1] == nullptr;
    if (plain_counts_) {
      tables_ = units >= 4096 && size_ <= 1024 ? kCountTables : 1;
      counts_.clear(size_ * tables_ * chunks.count);
    } else {
      sums_.clear(size_ * chunks.count);
    }
    std::fill(nans_, nans_ + chunks.count, false);
  }

  void run(int chunk, std::int64_t begin, std::int64_t end) override {
    alignas(64) T true_buffer[kBlock];
    alignas(64) T pred_buffer[kBlock];
    alignas(64) double weight_buffer[kBlock];
    alignas(64) double other_buffer[kBlock];
    alignas(64) std::int32_t bins[kBlock];
    const Thresholds& thresholds = *job_.thresholds;
    double* sums = plain_counts_ ? nullptr : sums_.data() + chunk * size_;
    std::uint32_t* counts = plain_counts_ ? counts_.data() + chunk * size_ * tables_ : nullptr;
    bool nan = false;
    for (std::int64_t start = begin; start < end; start += kBlock) {
      const std::int64_t n = std::min(kBlock, end - start);
      const T* y_true = fetch(level_, walk_, 0, job_.y_true, start, n, true_buffer);
      const T* y_pred = fetch(level_, walk_, 1, job_.y_pred, start, n, pred_buffer);
      if (job_.from_logits || job_.top_k > 0) {
        if (y_pred != pred_buffer) std::copy(y_pred, y_pred + n, pred_buffer);
        y_pred = pred_buffer;
        // By the scores as they came: logits keep their order.
        if (job_.top_k > 0) keep_top_k(start, n, pred_buffer);
        if (job_.from_logits) sigmoid(pred_buffer, n);
      }
      const double* weight = fetch_weight(start, n, weight_buffer, other_buffer);
      if (job_.one_threshold) {
        cells(y_true, y_pred, weight, n, thresholds.sorted[0], sums);
        continue;
      }
      if (plain_counts_ && tables_ == kCountTables && thresholds.even) {
        if constexpr (std::is_same_v<T, float>) {
          nan |= level_.binned.count_even_float32(y_true, y_pred, n, count_,
                                                  thresholds.first_always_passed, counts, size_);
          continue;
        }
      }
      nan |= thresholds.even ? even(y_true, y_pred, weight, n, count_, bins)
                             : listed(y_true, y_pred, weight, n, bins);
      if (plain_counts_) {
        add_counts(bins, n, counts);
      } else {
        std::int64_t column = job_.labels == 1 ? 0 : start % job_.labels;
        for (std::int64_t i = 0; i < n; ++i) {
          sums[bins[i] * job_.labels + column] += weight == nullptr ? 1.0 : weight[i];
          column = column + 1 == job_.labels ? 0 : column + 1;
        }
      }
    }
    nans_[chunk] |= nan;
  }

  void finish() override {
    *nan_seen_ = std::find(nans_, nans_ + chunks.count, true) != nans_ + chunks.count;
    if (!plain_counts_) {
      for (int chunk = 1; chunk < chunks.count; ++chunk) {
        for (std::int64_t i = 0; i < size_; ++i) sums_[i] += sums_[chunk * size_ + i];
      }
      return run_up(sums_.data());
    }
    if (chunks.count == 1 && job_.thresholds->in_order) {
      // A small batch stays in integers to the end.
      for (int t = 1; t < tables_; ++t) {
        for (std::int64_t i = 0; i < size_; ++i) counts_[i] += counts_[t * size_ + i];
      }
      cells_->resize(4 * count_);
      level_.binned.cells_of_counts(counts_.data(), count_, cells_->data());
      return;
    }
    sums_.clear(size_);
    for (int table = 0; table < tables_ * chunks.count; ++table) {
      for (std::int64_t i = 0; i < size_; ++i) {
        sums_[i] += static_cast<double>(counts_[table * size_ + i]);
      }
    }
    run_up(sums_.data());
  }

 private:
  static Walk<4> make_walk(const BinnedJob& job) {
    const View* const views[4] = {&job.y_true, &job.y_pred, job.weights[0], job.weights[1]};
    return Walk<4>(views, job.y_pred.shape, job.y_pred.rank);
  }

  const double* fetch_weight(std::int64_t start, std::int64_t n, double* buffer, double* other) {
    const double* weight = nullptr;
    for (int w = 0; w < 2; ++w) {
      if (job_.weights[w] == nullptr) continue;
      const double* next = fetch(level_, walk_, 2 + w, *job_.weights[w], start, n,
                                 weight == nullptr ? buffer : other);
      if (weight == nullptr) {
        weight = next;
      } else {
        if (weight != buffer) std::copy(weight, weight + n, buffer);
        level_.multiply(buffer, next, n);
        weight = buffer;
      }
    }
    return weight;
  }

  void keep_top_k(std::int64_t start, std::int64_t n, T* scores) const {
    const std::int64_t classes = job_.top_k_scores.shape[job_.top_k_scores.rank - 1];
    const std::int64_t width = job_.class_id >= 0 ? 1 : classes;
    for (std::int64_t i = 0; i < n; ++i) {
      const TopK& best = top_k_[static_cast<std::size_t>((start + i) / width)];
      const std::int64_t column = job_.class_id >= 0 ? job_.class_id : (start + i) % width;
      const double score = static_cast<double>(scores[i]);
      const bool kept = score > best.value || (score == best.value && column <= best.last);
      scores[i] = kept ? scores[i] : static_cast<T>(kBelowAll);
    }
  }

  void add_counts(const std::int32_t* bins, std::int64_t n, std::uint32_t* counts) const {
    std::int64_t i = 0;
    for (; tables_ == kCountTables && i + kCountTables <= n; i += kCountTables) {
      for (int t = 0; t < kCountTables; ++t) ++counts[t * size_ + bins[i + t]];
    }
    for (; i < n; ++i) ++counts[bins[i]];
  }

  // Running sums over the bins: from the highest down for what passes a
  // threshold, from the lowest up for what does not.
  void run_up(const double* sums) {
    const std::int64_t count = count_;
    const std::int64_t labels = job_.labels, plane = count * labels;
    cells_->resize(4 * plane);
    double* tp = cells_->data();
    double* fp = tp + plane;
    double* fn = fp + plane;
    double* tn = fn + plane;
    if (job_.one_threshold) {
      std::copy(sums, sums + 4, tp);
      return;
    }
    Buffer<double, 1024> running(4 * count);
    double* above[2] = {running.data(), running.data() + count};
    double* below[2] = {running.data() + 2 * count, running.data() + 3 * count};
    for (std::int64_t column = 0; column < labels; ++column) {
      const double* no = sums + column;
      const double* yes = no + labels;
      double up[2] = {0, 0}, down[2] = {0, 0};
      for (std::int64_t t = 0; t < count; ++t) {
        const std::int64_t top = count - 1 - t;
        down[0] += no[t * 2 * labels];
        down[1] += yes[t * 2 * labels];
        up[0] += no[(top + 1) * 2 * labels];
        up[1] += yes[(top + 1) * 2 * labels];
        below[0][t] = down[0];
        below[1][t] = down[1];
        above[0][top] = up[0];
        above[1][top] = up[1];
      }
      for (std::int64_t t = 0; t < count; ++t) {
        const std::int64_t rank = job_.thresholds->order[static_cast<std::size_t>(t)];
        tp[t * labels + column] = above[1][rank];
        fp[t * labels + column] = above[0][rank];
        fn[t * labels + column] = below[1][rank];
        tn[t * labels + column] = below[0][rank];
      }
    }
  }

  // The level's functions for T.
  void sigmoid(T* x, std::int64_t n) const {
    if constexpr (std::is_same_v<T, float>) {
      level_.sigmoid_float32(x, n);
    } else {
      level_.sigmoid_float64(x, n);
    }
  }
  void cells(const T* t, const T* p, const double* w, std::int64_t n, double threshold,
             double* out) const {
    if constexpr (std::is_same_v<T, float>) {
      level_.binned.cells_float32(t, p, w, n, threshold, out);
    } else {
      level_.binned.cells_float64(t, p, w, n, threshold, out);
    }
  }
  bool even(const T* t, const T* p, const double* w, std::int64_t n, std::int64_t count,
            std::int32_t* bins) const {
    const bool first = job_.thresholds->first_always_passed;
    if constexpr (std::is_same_v<T, float>) {
      return level_.binned.even_float32(t, p, w, n, count, first, bins);
    } else {
      return level_.binned.even_float64(t, p, w, n, count, first, bins);
    }
  }
  bool listed(const T* t, const T* p, const double* w, std::int64_t n, std::int32_t* bins) const {
    if constexpr (std::is_same_v<T, float>) {
      const std::vector<float>& padded = job_.thresholds->padded_float32;
      return level_.binned.listed_float32(t, p, w, n, padded.data(),
                                          static_cast<std::int64_t>(padded.size()), bins);
    } else {
      const std::vector<double>& padded = job_.thresholds->padded_float64;
      return level_.binned.listed_float64(t, p, w, n, padded.data(),
                                          static_cast<std::int64_t>(padded.size()), bins);
    }
  }

  const BinnedJob& job_;
  Cells* const cells_;
  bool* const nan_seen_;
  const Level& level_;
  const Walk<4> walk_;
  const std::int64_t count_;  // of thresholds
  std::vector<TopK> top_k_;
  std::int64_t size_ = 0;  // of one chunk's sums, or of one of its tables of counts
  int tables_ = 1;
  Buffer<double, 4> sums_;
  Buffer<std::uint32_t, 1024> counts_;
  bool nans_[kMaxChunks];
  bool plain_counts_ = false;  // no weights, one column: integers
};

}  // namespace

void set_thresholds(std::vector<double> given, Thresholds* out) {
  if (!out->double_precision) {
    for (double& threshold : given) threshold = static_cast<double>(static_cast<float>(threshold));
  }
  std::vector<std::int64_t> by_value(given.size());
  std::iota(by_value.begin(), by_value.end(), 0);
  std::stable_sort(by_value.begin(), by_value.end(), [&](std::int64_t a, std::int64_t b) {
    return given[static_cast<std::size_t>(a)] < given[static_cast<std::size_t>(b)];
  });
  out->sorted.resize(given.size());
  out->order.resize(given.size());
  for (std::size_t rank = 0; rank < given.size(); ++rank) {
    const auto from = static_cast<std::size_t>(by_value[rank]);
    out->sorted[rank] = given[from];
    out->order[from] = static_cast<std::int64_t>(rank);
    out->in_order = out->in_order && from == rank;
  }
  std::size_t padded = 1;
  while (padded < given.size() + 1) padded *= 2;
  out->padded_float64 = out->sorted;
  out->padded_float64.resize(padded - 1, std::numeric_limits<double>::infinity());
  out->padded_float32.assign(out->padded_float64.begin(), out->padded_float64.end());
}

bool run_binned(const BinnedJob& job, Cells* cells, bool* nan_seen) {
  if (job.thresholds->double_precision) {
    BinnedPass<double> pass(job, cells, nan_seen);
    return run_alone(pass);
  }
  BinnedPass<float> pass(job, cells, nan_seen);
  return run_alone(pass);
}

InArena<Pass> make_pass(const BinnedJob& job, Cells* cells, bool* nan_seen, Arena& arena) {
  if (job.thresholds->double_precision) {
    return make_in<BinnedPass<double>>(arena, job, cells, nan_seen);
  }
  return make_in<BinnedPass<float>>(arena, job, cells, nan_seen);
}

}  // namespace kt
