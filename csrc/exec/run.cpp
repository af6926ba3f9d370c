#include "run.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "level.h"
#include "threads.h"

namespace kt {
namespace {

constexpr std::int64_t kBlock = 1024;
constexpr std::int64_t kMinChunk = 64 * 1024;
constexpr int kMaxChunks = 64;

template <class T>
constexpr DType kDType = std::is_same_v<T, float> ? DType::Float32 : DType::Float64;

// How work is cut: by the data's size alone, never by the number of threads.
struct Chunks {
  std::int64_t size;
  int count;
};

Chunks cut(std::int64_t n, std::int64_t min_chunk, int max_chunks, std::int64_t multiple) {
  std::int64_t size = std::max(min_chunk, (n + max_chunks - 1) / max_chunks);
  size = (size + multiple - 1) / multiple * multiple;
  return {size, static_cast<int>(std::max<std::int64_t>(1, (n + size - 1) / size))};
}

// Several views of one shape, with the axes merged that can be walked as one.
template <int kCount>
struct Walk {
  int rank = 0;
  std::int64_t shape[kMaxRank];
  std::int64_t strides[kCount][kMaxRank];

  Walk(const View* const (&views)[kCount], const std::int64_t* full_shape, int full_rank) {
    for (int d = 0; d < full_rank; ++d) {
      if (full_shape[d] == 1) continue;
      bool merge = rank > 0;
      for (int v = 0; merge && v < kCount; ++v) {
        if (views[v] == nullptr) continue;
        merge = strides[v][rank - 1] == views[v]->strides[d] * full_shape[d];
      }
      const int at = merge ? rank - 1 : rank++;
      shape[at] = merge ? shape[at] * full_shape[d] : full_shape[d];
      for (int v = 0; v < kCount; ++v) {
        strides[v][at] = views[v] == nullptr ? 0 : views[v]->strides[d];
      }
    }
  }

  // Calls run(offset in elements, stride, length, position) for each run of the
  // innermost axis that covers [start, start + n).
  template <class Run>
  void runs(int v, std::int64_t start, std::int64_t n, Run&& run) const {
    if (rank <= 1) {
      const std::int64_t stride = rank == 0 ? 0 : strides[v][0];
      run(start * stride, stride, n, std::int64_t{0});
      return;
    }
    std::int64_t index[kMaxRank], rest = start, offset = 0;
    for (int d = rank - 1; d >= 0; --d) {
      index[d] = rest % shape[d];
      rest /= shape[d];
      offset += index[d] * strides[v][d];
    }
    const int last = rank - 1;
    for (std::int64_t done = 0; done < n;) {
      const std::int64_t length = std::min(n - done, shape[last] - index[last]);
      run(offset, strides[v][last], length, done);
      done += length;
      index[last] += length;
      offset += length * strides[v][last];
      for (int d = last; d > 0 && index[d] == shape[d]; --d) {
        offset += strides[v][d - 1] - shape[d] * strides[v][d];
        index[d] = 0;
        ++index[d - 1];
      }
    }
  }

  bool direct(int v) const { return rank == 0 || (rank == 1 && strides[v][0] == 1); }
};

template <class T>
void convert(const Level& level, const char* data, DType dtype, std::int64_t stride, std::int64_t n,
             T* out) {
  if constexpr (std::is_same_v<T, float>) {
    level.to_float32(data, dtype, stride, n, out);
  } else {
    level.to_float64(data, dtype, stride, n, out);
  }
}

// n elements from `start` on as contiguous T: in place where they already are.
template <class T, int kCount>
const T* fetch(const Level& level, const Walk<kCount>& walk, int v, const View& view,
               std::int64_t start, std::int64_t n, T* buffer) {
  if (view.dtype == kDType<T> && walk.direct(v)) {
    return reinterpret_cast<const T*>(view.data) + start;
  }
  const std::int64_t item = item_size(view.dtype);
  walk.runs(v, start, n,
            [&](std::int64_t offset, std::int64_t stride, std::int64_t length, std::int64_t at) {
              convert(level, view.data + offset * item, view.dtype, stride, length, buffer + at);
            });
  return buffer;
}

template <class Function>
bool for_chunks(int count, bool parallel, Function& function) {
  return run_chunks(
      count, parallel, [](void* context, int chunk) { (*static_cast<Function*>(context))(chunk); },
      &function);
}

// The running sums of one chunk, lane by lane.
struct ChunkLanes {
  alignas(64) double all[2 * kBlockLanes] = {};

  Sums total() const { return {tree(all), tree(all + kBlockLanes)}; }

 private:
  static double tree(const double* lanes) {
    double half[kBlockLanes];
    std::copy(lanes, lanes + kBlockLanes, half);
    for (int width = kBlockLanes / 2; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) half[i] += half[i + width];
    }
    return half[0];
  }
};

// Partial sums of all chunks, added up in the chunks' order.
void combine(const std::vector<Sums>& partial, int chunks, int ops, Sums* sums) {
  for (int chunk = 0; chunk < chunks; ++chunk) {
    for (int op = 0; op < ops; ++op) {
      sums[op].value += partial[static_cast<std::size_t>(chunk * ops + op)].value;
      sums[op].weight += partial[static_cast<std::size_t>(chunk * ops + op)].weight;
    }
  }
}

bool wide_integer(DType dtype) { return dtype == DType::Int64 || dtype == DType::UInt64; }

// 64-bit integers do not fit a double: equal ones become 0 and 0, others 0 and 1.
template <int kCount>
void fetch_integer_difference(const Walk<kCount>& walk, const View& a, const View& b,
                              std::int64_t start, std::int64_t n, double* difference) {
  std::int64_t left[kBlock], right[kBlock];
  const View* views[2] = {&a, &b};
  std::int64_t* out[2] = {left, right};
  for (int v = 0; v < 2; ++v) {
    const std::int64_t* data = reinterpret_cast<const std::int64_t*>(views[v]->data);
    walk.runs(v, start, n,
              [&](std::int64_t offset, std::int64_t stride, std::int64_t length, std::int64_t at) {
                for (std::int64_t i = 0; i < length; ++i) {
                  out[v][at + i] = data[offset + i * stride];
                }
              });
  }
  for (std::int64_t i = 0; i < n; ++i) difference[i] = left[i] == right[i] ? 0.0 : 1.0;
}

template <class T>
void elementwise_chunk(const Level& level, const ElementwiseJob& job, const Walk<3>& walk,
                       std::int64_t begin, std::int64_t end, Sums* sums) {
  Buffer<ChunkLanes, 1> lanes(job.op_count);
  for (int op = 0; op < job.op_count; ++op) lanes[op] = ChunkLanes();
  alignas(64) T true_buffer[kBlock];
  alignas(64) T pred_buffer[kBlock];
  alignas(64) double weight_buffer[kBlock];
  for (std::int64_t start = begin; start < end; start += kBlock) {
    const std::int64_t n = std::min(kBlock, end - start);
    const T* y_true;
    const T* y_pred;
    const bool integers = job.round_true != nullptr && wide_integer(job.y_true.dtype) &&
                          wide_integer(job.y_pred.dtype);
    if constexpr (std::is_same_v<T, double>) {
      if (integers) {
        fetch_integer_difference(walk, job.y_true, job.y_pred, start, n, true_buffer);
        std::fill(pred_buffer, pred_buffer + n, 0.0);
        y_true = true_buffer;
        y_pred = pred_buffer;
      } else {
        y_true = fetch(level, walk, 0, job.y_true, start, n, true_buffer);
        y_pred = fetch(level, walk, 1, job.y_pred, start, n, pred_buffer);
        if (job.round_true != nullptr && job.y_true.dtype != *job.round_true) {
          if (y_true != true_buffer) std::copy(y_true, y_true + n, true_buffer);
          round_to(true_buffer, n, *job.round_true);
          y_true = true_buffer;
        }
        if (job.round_pred != nullptr && job.y_pred.dtype != *job.round_pred) {
          if (y_pred != pred_buffer) std::copy(y_pred, y_pred + n, pred_buffer);
          round_to(pred_buffer, n, *job.round_pred);
          y_pred = pred_buffer;
        }
      }
    } else {
      y_true = fetch(level, walk, 0, job.y_true, start, n, true_buffer);
      y_pred = fetch(level, walk, 1, job.y_pred, start, n, pred_buffer);
    }
    const double* weight = job.weight == nullptr
                               ? nullptr
                               : fetch(level, walk, 2, *job.weight, start, n, weight_buffer);
    for (int op = 0; op < job.op_count; ++op) {
      const ElementwiseBlocks& blocks = level.elementwise[static_cast<int>(job.ops[op].kernel)];
      const ElementwiseBlock block = std::is_same_v<T, float> ? blocks.float32 : blocks.float64;
      block(y_true, y_pred, weight, n, job.ops[op].params, lanes[op].all);
    }
  }
  for (int op = 0; op < job.op_count; ++op) sums[op] = lanes[op].total();
}

}  // namespace

bool run_elementwise(const ElementwiseJob& job, Sums* sums) {
  const Level& level = active_level();
  const View* const views[3] = {&job.y_true, &job.y_pred, job.weight};
  const Walk<3> walk(views, job.y_pred.shape, job.y_pred.rank);
  const std::int64_t n = job.y_pred.size();
  // Float32 pairs are read where they lie; everything else meets in float64.
  const bool single = job.y_true.dtype == DType::Float32 && job.y_pred.dtype == DType::Float32 &&
                      (job.round_pred == nullptr || *job.round_pred == DType::Float32);
  const Chunks chunks = cut(n, kMinChunk, kMaxChunks, kBlock);
  const auto run = [&](std::int64_t begin, std::int64_t end, Sums* into) {
    if (single) {
      elementwise_chunk<float>(level, job, walk, begin, end, into);
    } else {
      elementwise_chunk<double>(level, job, walk, begin, end, into);
    }
  };
  if (chunks.count == 1) {
    run(0, n, sums);
    return false;
  }
  std::vector<Sums> partial(static_cast<std::size_t>(chunks.count * job.op_count));
  auto task = [&](int chunk) {
    const std::int64_t begin = chunk * chunks.size;
    run(begin, std::min(n, begin + chunks.size),
        &partial[static_cast<std::size_t>(chunk * job.op_count)]);
  };
  const bool parallel = for_chunks(chunks.count, n >= kParallelThreshold, task);
  combine(partial, chunks.count, job.op_count, sums);
  return parallel;
}

namespace {

// Rows are evaluated in groups, whose values are then summed like elements.
constexpr std::int64_t kRowGroup = 256;

// The walk over rows: where the row of view v starts.
void row_offsets(const Walk<3>& walk, int v, std::int64_t start, std::int64_t n,
                 std::int64_t* offsets) {
  walk.runs(v, start, n,
            [&](std::int64_t offset, std::int64_t stride, std::int64_t length, std::int64_t at) {
              for (std::int64_t i = 0; i < length; ++i) offsets[at + i] = offset + i * stride;
            });
}

template <class T>
const T* fetch_row(const Level& level, const View& view, std::int64_t offset,
                   std::vector<T>& buffer) {
  const std::int64_t n = view.shape[view.rank - 1], stride = view.strides[view.rank - 1];
  const char* data = view.data + offset * item_size(view.dtype);
  if (view.dtype == kDType<T> && (stride == 1 || n <= 1)) return reinterpret_cast<const T*>(data);
  buffer.resize(static_cast<std::size_t>(n));
  convert(level, data, view.dtype, stride, n, buffer.data());
  return buffer.data();
}

// 64-bit ids do not fit a double: those equal to the label become 0, others 1,
// and the label itself 0.
const double* mark_equal(const View& ids, std::int64_t offset, std::int64_t label,
                         std::vector<double>& buffer) {
  const std::int64_t n = ids.shape[ids.rank - 1], stride = ids.strides[ids.rank - 1];
  const std::int64_t* data = reinterpret_cast<const std::int64_t*>(ids.data) + offset;
  buffer.resize(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    buffer[static_cast<std::size_t>(i)] = data[i * stride] == label ? 0.0 : 1.0;
  }
  return buffer.data();
}

template <class T>
void rowwise_chunk(const Level& level, const RowwiseJob& job, const Walk<3>& walk,
                   std::int64_t begin, std::int64_t end, Sums* sums, BadLabel* bad) {
  std::int64_t score_offsets[kRowGroup], truth_offsets[kRowGroup];
  alignas(64) double labels[kRowGroup];
  alignas(64) double weights[kRowGroup];
  alignas(64) double own_weights[kRowGroup];
  alignas(64) double values[kRowGroup];
  Buffer<ChunkLanes, 1> lanes(job.op_count);
  for (int op = 0; op < job.op_count; ++op) lanes[op] = ChunkLanes();
  std::vector<T> score_buffer;
  std::vector<double> target_buffer;
  const ElementwiseBlocks& identity = level.elementwise[static_cast<int>(ElementwiseId::identity)];
  Rows rows = {};
  rows.classes = job.scores.shape[job.scores.rank - 1];
  rows.targets_size = job.dense ? job.truth.shape[job.truth.rank - 1] : 0;
  const bool wide_ids =
      job.scores_are_ids && wide_integer(job.scores.dtype) && wide_integer(job.truth.dtype);
  // Evenly spaced rows of T can be walked where they lie, all in one call.
  const bool even_rows = !job.dense && !wide_ids && walk.rank <= 1 &&
                         job.scores.dtype == kDType<T> &&
                         (rows.classes == 1 || job.scores.strides[job.scores.rank - 1] == 1);
  const std::int64_t row_stride = walk.rank == 0 ? rows.classes : walk.strides[0][0];
  const std::int64_t all_rows = walk.rank == 0 ? 1 : walk.shape[0];
  for (std::int64_t start = begin; start < end; start += kRowGroup) {
    const std::int64_t n = std::min(kRowGroup, end - start);
    if (!even_rows) row_offsets(walk, 0, start, n, score_offsets);
    if (job.dense || wide_ids) row_offsets(walk, 1, start, n, truth_offsets);
    const double* group_labels =
        job.dense ? nullptr : fetch(level, walk, 1, job.truth, start, n, labels);
    const double* group_weights =
        job.weight == nullptr ? nullptr : fetch(level, walk, 2, *job.weight, start, n, weights);
    for (int op = 0; op < job.op_count; ++op) {
      const Params& params = job.ops[op].params;
      const RowsBlocks& blocks = level.rowwise[static_cast<int>(job.ops[op].kernel)];
      const RowsBlock block = std::is_same_v<T, float> ? blocks.float32 : blocks.float64;
      const auto note_bad = [&](std::int64_t row) {
        if (row >= 0 && bad->row < 0) {
          *bad = {start + row, group_labels == nullptr ? 0.0 : group_labels[row]};
        }
      };
      if (even_rows) {
        rows.scores = reinterpret_cast<const T*>(job.scores.data) + start * row_stride;
        rows.count = n;
        rows.stride = row_stride;
        rows.readable =
            row_stride >= 0 ? (all_rows - 1 - start) * row_stride + rows.classes : rows.classes;
        rows.labels = group_labels;
        note_bad(block(rows, params, values));
      } else {
        rows.count = 1;
        rows.readable = rows.classes;
        for (std::int64_t i = 0; i < n; ++i) {
          rows.targets =
              job.dense ? fetch_row(level, job.truth, truth_offsets[i], target_buffer) : nullptr;
          rows.labels = job.dense ? nullptr : group_labels + i;
          double zero = 0.0;
          if constexpr (std::is_same_v<T, double>) {
            if (wide_ids) {
              const auto* ids = reinterpret_cast<const std::int64_t*>(job.truth.data);
              rows.scores =
                  mark_equal(job.scores, score_offsets[i], ids[truth_offsets[i]], score_buffer);
              rows.labels = &zero;
            }
          }
          if (!wide_ids) {
            rows.scores = fetch_row(level, job.scores, score_offsets[i], score_buffer);
          }
          if (block(rows, params, values + i) >= 0) note_bad(i);
        }
      }
      const double* op_weights = group_weights;
      if (params.has_ignore_class && group_weights != nullptr) {
        for (std::int64_t i = 0; i < n; ++i) {
          const bool ignored = group_labels[i] == params.ignore_class;
          own_weights[i] = ignored ? 0.0 : group_weights[i];
        }
        op_weights = own_weights;
      }
      identity.float64(values, values, op_weights, n, params, lanes[op].all);
    }
  }
  for (int op = 0; op < job.op_count; ++op) sums[op] = lanes[op].total();
}

}  // namespace

bool run_rowwise(const RowwiseJob& job, Sums* sums, BadLabel* bad) {
  const Level& level = active_level();
  const int lead = job.scores.rank - 1;
  const View* const views[3] = {&job.scores, &job.truth, job.weight};
  const Walk<3> walk(views, job.scores.shape, lead);
  const std::int64_t classes = std::max<std::int64_t>(1, job.scores.shape[lead]);
  std::int64_t rows = 1;
  for (int d = 0; d < lead; ++d) rows *= job.scores.shape[d];
  const bool single = job.scores.dtype == DType::Float32;
  const auto run = [&](std::int64_t begin, std::int64_t end, Sums* into, BadLabel* bad_into) {
    if (single) {
      rowwise_chunk<float>(level, job, walk, begin, end, into, bad_into);
    } else {
      rowwise_chunk<double>(level, job, walk, begin, end, into, bad_into);
    }
  };
  const Chunks chunks = cut(rows, std::max<std::int64_t>(1, kMinChunk / classes), kMaxChunks, 1);
  if (chunks.count == 1) {
    run(0, rows, sums, bad);
    return false;
  }
  std::vector<Sums> partial(static_cast<std::size_t>(chunks.count * job.op_count));
  std::vector<BadLabel> bad_labels(static_cast<std::size_t>(chunks.count));
  auto task = [&](int chunk) {
    const std::int64_t begin = chunk * chunks.size;
    run(begin, std::min(rows, begin + chunks.size),
        &partial[static_cast<std::size_t>(chunk * job.op_count)],
        &bad_labels[static_cast<std::size_t>(chunk)]);
  };
  const bool parallel = for_chunks(chunks.count, rows * classes >= kParallelThreshold, task);
  for (const BadLabel& found : bad_labels) {
    if (found.row >= 0 && bad->row < 0) *bad = found;
  }
  combine(partial, chunks.count, job.op_count, sums);
  return parallel;
}

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
  const int lead = scores.rank - 1;
  const View* const views[3] = {&scores, nullptr, nullptr};
  const Walk<3> walk(views, scores.shape, lead);
  const std::int64_t classes = scores.shape[lead];
  std::int64_t rows = 1;
  for (int d = 0; d < lead; ++d) rows *= scores.shape[d];
  std::vector<TopK> best(static_cast<std::size_t>(classes == 0 ? 0 : rows));
  std::vector<std::int64_t> order;
  std::vector<T> buffer;
  for (std::size_t r = 0; r < best.size(); ++r) {
    std::int64_t offset = 0;
    row_offsets(walk, 0, static_cast<std::int64_t>(r), 1, &offset);
    best[r] = find_top_k(fetch_row(level, scores, offset, buffer), classes, job.top_k, order);
  }
  return best;
}

constexpr double kBelowAll = -1e10;

template <class T>
class Binned {
 public:
  Binned(const BinnedJob& job) : job_(job), level_(active_level()), walk_(make_walk(job)) {
    if (job.top_k > 0) top_k_ = all_top_k<T>(level_, job);
  }

  bool run(Cells* cells, bool* nan_seen) {
    const std::int64_t n = job_.y_pred.size();
    const std::int64_t count = static_cast<std::int64_t>(job_.thresholds->sorted.size());
    one_threshold_ = count == 1 && job_.labels == 1;
    size_ = one_threshold_ ? 4 : 2 * (count + 1) * job_.labels;
    // Many bins: fewer, larger chunks, so that partial histograms stay small.
    const int max_chunks =
        static_cast<int>(std::clamp<std::int64_t>((std::int64_t{1} << 21) / size_, 1, kMaxChunks));
    const Chunks chunks = cut(n, kMinChunk, max_chunks, kBlock);
    plain_counts_ = !one_threshold_ && job_.labels == 1 && job_.weights[0] == nullptr &&
                    job_.weights[1] == nullptr;
    if (plain_counts_ && chunks.count == 1 && job_.thresholds->in_order) {
      // A small batch stays in integers to the end.
      Buffer<std::uint32_t, 1024> counts;
      counts.clear(size_);
      *nan_seen = run_chunk(0, n, nullptr, counts.data());
      cells->resize(4 * count);
      level_.binned.cells_of_counts(counts.data(), count, cells->data());
      return false;
    }
    Buffer<double, 1024> partial;
    partial.clear(size_ * chunks.count);
    bool nans[kMaxChunks];
    auto task = [&](int chunk) {
      const std::int64_t begin = chunk * chunks.size;
      nans[chunk] = run_chunk(begin, std::min(n, begin + chunks.size),
                              partial.data() + chunk * size_, nullptr);
    };
    const bool parallel = for_chunks(chunks.count, n >= kParallelThreshold, task);
    for (int chunk = 1; chunk < chunks.count; ++chunk) {
      for (std::int64_t i = 0; i < size_; ++i) partial[i] += partial[chunk * size_ + i];
    }
    *nan_seen = std::find(nans, nans + chunks.count, true) != nans + chunks.count;
    finish(partial.data(), count, cells);
    return parallel;
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

  // Adds to `partial`, or counts into `total` where the caller wants integers.
  bool run_chunk(std::int64_t begin, std::int64_t end, double* partial, std::uint32_t* total) {
    alignas(64) T true_buffer[kBlock];
    alignas(64) T pred_buffer[kBlock];
    alignas(64) double weight_buffer[kBlock];
    alignas(64) double other_buffer[kBlock];
    alignas(64) std::int32_t bins[kBlock];
    const Thresholds& thresholds = *job_.thresholds;
    const std::int64_t count = static_cast<std::int64_t>(thresholds.sorted.size());
    const int tables = end - begin >= 4096 && size_ <= 1024 ? kCountTables : 1;
    Buffer<std::uint32_t, 4096> own_counts;
    std::uint32_t* counts = total;
    if (plain_counts_ && (total == nullptr || tables > 1)) {
      own_counts.clear(size_ * tables);
      counts = own_counts.data();
    }
    bool nan = false;
    for (std::int64_t start = begin; start < end; start += kBlock) {
      const std::int64_t n = std::min(kBlock, end - start);
      const T* y_true = fetch(level_, walk_, 0, job_.y_true, start, n, true_buffer);
      const T* y_pred = fetch(level_, walk_, 1, job_.y_pred, start, n, pred_buffer);
      if (job_.from_logits || job_.top_k > 0) {
        if (y_pred != pred_buffer) std::copy(y_pred, y_pred + n, pred_buffer);
        y_pred = pred_buffer;
        if (job_.from_logits) sigmoid(pred_buffer, n);
        if (job_.top_k > 0) keep_top_k(start, n, pred_buffer);
      }
      const double* weight = fetch_weight(start, n, weight_buffer, other_buffer);
      if (one_threshold_) {
        cells(y_true, y_pred, weight, n, thresholds.sorted[0], partial);
        continue;
      }
      if (plain_counts_ && tables == kCountTables && thresholds.even) {
        if constexpr (std::is_same_v<T, float>) {
          nan |= level_.binned.count_even_float32(y_true, y_pred, n, count,
                                                  thresholds.first_always_passed, counts, size_);
          continue;
        }
      }
      nan |= thresholds.even ? even(y_true, y_pred, weight, n, count, bins)
                             : listed(y_true, y_pred, weight, n, bins);
      if (plain_counts_) {
        add_counts(bins, n, tables, counts);
      } else {
        std::int64_t column = job_.labels == 1 ? 0 : start % job_.labels;
        for (std::int64_t i = 0; i < n; ++i) {
          partial[bins[i] * job_.labels + column] += weight == nullptr ? 1.0 : weight[i];
          column = column + 1 == job_.labels ? 0 : column + 1;
        }
      }
    }
    if (!plain_counts_ || counts == total) return nan;
    for (std::int64_t i = 0; i < size_; ++i) {
      std::uint32_t sum = 0;
      for (int t = 0; t < tables; ++t) sum += counts[t * size_ + i];
      if (total != nullptr) {
        total[i] = sum;
      } else {
        partial[i] = static_cast<double>(sum);
      }
    }
    return nan;
  }

  void add_counts(const std::int32_t* bins, std::int64_t n, int tables,
                  std::uint32_t* counts) const {
    std::int64_t i = 0;
    for (; tables == kCountTables && i + kCountTables <= n; i += kCountTables) {
      for (int t = 0; t < kCountTables; ++t) ++counts[t * size_ + bins[i + t]];
    }
    for (; i < n; ++i) ++counts[bins[i]];
  }

  // Running sums over the bins: from the highest down for what passes a
  // threshold, from the lowest up for what does not.
  void finish(const double* sums, std::int64_t count, Cells* cells) const {
    const std::int64_t labels = job_.labels, plane = count * labels;
    cells->resize(4 * plane);
    double* tp = cells->data();
    double* fp = tp + plane;
    double* fn = fp + plane;
    double* tn = fn + plane;
    if (one_threshold_) {
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
  const Level& level_;
  const Walk<4> walk_;
  std::vector<TopK> top_k_;
  std::int64_t size_ = 0;
  bool one_threshold_ = false;
  bool plain_counts_ = false;  // no weights, one column: integers
};

}  // namespace

bool run_binned(const BinnedJob& job, Cells* cells, bool* nan_seen) {
  if (job.thresholds->double_precision) return Binned<double>(job).run(cells, nan_seen);
  return Binned<float>(job).run(cells, nan_seen);
}

namespace {

// Nearest value with `digits` significant bits and exponents down to `lowest`,
// ties to even; beyond `largest` it is infinite.
double round_float(double x, int digits, int lowest, double largest) {
  if (!std::isfinite(x) || x == 0.0) return x;
  int exponent;
  std::frexp(x, &exponent);
  const int unit = std::max(exponent - digits, lowest);
  const double rounded = std::ldexp(std::nearbyint(std::ldexp(x, -unit)), unit);
  return std::fabs(rounded) > largest ? std::copysign(INFINITY, x) : rounded;
}

template <class I>
double round_integer(double x) {
  const bool fits = x > -9.2e18 && x < 9.2e18;
  return fits ? static_cast<double>(static_cast<I>(static_cast<std::int64_t>(x))) : 0.0;
}

double round_one(double x, DType dtype) {
  switch (dtype) {
    case DType::Bool:
      return x != 0.0 ? 1.0 : 0.0;
    case DType::UInt8:
      return round_integer<std::uint8_t>(x);
    case DType::UInt16:
      return round_integer<std::uint16_t>(x);
    case DType::UInt32:
      return round_integer<std::uint32_t>(x);
    case DType::UInt64:
      return round_integer<std::uint64_t>(x);
    case DType::Int8:
      return round_integer<std::int8_t>(x);
    case DType::Int16:
      return round_integer<std::int16_t>(x);
    case DType::Int32:
      return round_integer<std::int32_t>(x);
    case DType::Int64:
      return round_integer<std::int64_t>(x);
    case DType::Float16:
      return round_float(x, 11, -24, 65504.0);
    case DType::BFloat16:
      return round_float(x, 8, -133, 3.3895313892515355e38);
    case DType::Float32:
      return static_cast<double>(static_cast<float>(x));
    case DType::Float64:
      return x;
  }
  return x;
}

}  // namespace

void round_to(double* x, std::int64_t n, DType dtype) {
  for (std::int64_t i = 0; i < n; ++i) x[i] = round_one(x[i], dtype);
}

}  // namespace kt
