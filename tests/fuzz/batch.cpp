#include <dlpack/dlpack.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "../../csrc/exec/level.h"
#include "../../csrc/exec/metric.h"
#include "../../csrc/exec/work.h"
#include "../../csrc/tensor/dlpack.h"
#include "../../csrc/tensor/error.h"
#include "targets.h"

namespace kt::fuzz {
namespace {

// What is larger is looked at, but not computed: a batch is to take microseconds.
constexpr std::int64_t kMostElements = 1 << 13;
constexpr std::int64_t kMostMemory = 1 << 18;

using Sizes = std::vector<std::int64_t>;

std::int64_t product(const Sizes& shape) {
  __int128 size = 1;
  for (const std::int64_t n : shape) {
    if (n < 0) return -1;
    size *= n;
    if (size > std::numeric_limits<std::int32_t>::max()) return -1;
  }
  return static_cast<std::int64_t>(size);
}

std::int64_t axis_size(Bytes& bytes) {
  static constexpr std::int64_t sizes[] = {1,  2,  3,  4,  5,  7,   8,    9,
                                           10, 16, 17, 33, 64, 100, 1025, 0};
  return bytes.rarely() ? bytes.number<std::int64_t>() : sizes[bytes.below(16)];
}

Sizes draw_shape(Bytes& bytes) {
  Sizes shape;
  const int rank = bytes.rarely() ? bytes.below(40) : bytes.below(4);
  for (int d = 0; d < rank; ++d) {
    shape.push_back(rank > 4 && bytes.flag() ? 1 : axis_size(bytes));
  }
  return shape;
}

// A shape that goes with another one, or does not.
Sizes related_shape(Bytes& bytes, const Sizes& other) {
  Sizes shape = other;
  switch (bytes.below(8)) {
    case 0:
      return draw_shape(bytes);
    case 1:  // labels of rows
      if (!shape.empty()) shape.pop_back();
      return shape;
    case 2:
      if (!shape.empty()) shape.back() = 1;
      return shape;
    case 3:
      if (!shape.empty()) shape[static_cast<std::size_t>(bytes.below(40)) % shape.size()] = 1;
      return shape;
    case 4:
      shape.insert(shape.begin() + bytes.below(40) % (static_cast<int>(shape.size()) + 1), 1);
      return shape;
    case 5:
      if (shape.size() > 1) shape.erase(shape.begin() + 1, shape.end());
      return shape;
    default:
      return shape;
  }
}

Sizes draw_strides(Bytes& bytes, const Sizes& shape) {
  Sizes strides(shape.size(), 0);
  const int kind = bytes.below(7);
  unsigned long long next = kind == 2 ? 3 : 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::size_t d = kind == 3 ? i : shape.size() - 1 - i;  // column-major
    strides[d] = static_cast<std::int64_t>(next);
    next *= static_cast<unsigned long long>(shape[d]);
    if (kind == 1)
      strides[d] = static_cast<std::int64_t>(0 - static_cast<unsigned long long>(strides[d]));
    if (kind == 4 && bytes.flag()) strides[d] = 0;
    if (kind == 5) strides[d] = bytes.integer();
  }
  return strides;
}

struct Numbers {
  std::uint64_t state;
  std::uint64_t next() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
  }
};

// Numbers that mean something to some metric: labels, probabilities, or anything.
void fill_memory(Bytes& bytes, char* memory, std::int64_t size, DType dtype) {
  const int kind = bytes.below(4);
  Numbers numbers{bytes.number<std::uint32_t>() | 1u};
  const std::int64_t item = item_size(dtype);
  for (std::int64_t at = 0; at + item <= size; at += item) {
    const std::uint64_t random = numbers.next();
    std::uint64_t bits = random;
    const double label = static_cast<double>(random % 12) - (random % 1000 < 900 ? 0.0 : 3.0);
    const double share = static_cast<double>(random % 1001) / 1000.0;
    const double x = kind == 0 ? label : kind == 1 ? share : kind == 2 ? label + share : 0.0;
    if (kind < 3) {
      if (dtype == DType::Float64) {
        std::memcpy(&bits, &x, 8);
      } else if (dtype == DType::Float32 || dtype == DType::BFloat16) {
        const float y = static_cast<float>(x);
        std::uint32_t word;
        std::memcpy(&word, &y, 4);
        bits = dtype == DType::Float32 ? word : word >> 16;
      } else if (dtype == DType::Float16) {
        bits = kind == 0 ? (random % 2 == 0 ? 0u : 0x3c00u) : random % 0x3c01u;  // to 1
      } else {
        bits = static_cast<std::uint64_t>(static_cast<std::int64_t>(x));
      }
    }
    std::memcpy(memory + at, &bits, static_cast<std::size_t>(item));  // little-endian
  }
}

// A tensor, with its memory where it has any: as much as it reaches, to the byte.
struct Given {
  DLTensor tensor = {};
  Sizes shape, strides;
  std::unique_ptr<char, decltype(&std::free)> memory{nullptr, std::free};
  std::int64_t skew = 0, taken = 0;
  bool real = false;

  Given() = default;
  Given(const Given&) = delete;
  Given& operator=(const Given&) = delete;

  void draw(Bytes& bytes, const Sizes& wanted) {
    static constexpr DLDataType dtypes[] = {
        {kDLBool, 8, 1},   {kDLUInt, 8, 1},   {kDLUInt, 16, 1},   {kDLUInt, 32, 1},
        {kDLUInt, 64, 1},  {kDLInt, 8, 1},    {kDLInt, 16, 1},    {kDLInt, 32, 1},
        {kDLInt, 64, 1},   {kDLFloat, 16, 1}, {kDLBfloat, 16, 1}, {kDLFloat, 32, 1},
        {kDLFloat, 64, 1}, {kDLFloat, 32, 1}, {kDLFloat, 64, 1},  {kDLInt, 32, 1}};
    shape = wanted;
    const int odd = bytes.number<std::uint8_t>();  // one thing at a time, mostly none
    tensor.device = {kDLCPU, 0};
    tensor.dtype = dtypes[bytes.below(16)];
    tensor.ndim = static_cast<std::int32_t>(shape.size());
    strides = draw_strides(bytes, shape);
    tensor.strides = bytes.flag() ? strides.data() : nullptr;
    if (odd == 0xff) tensor.device.device_type = static_cast<DLDeviceType>(bytes.below(20));
    if (odd == 0xfe) tensor.device.device_id = bytes.number<std::int32_t>();
    if (odd == 0xfd) tensor.dtype = bytes.number<DLDataType>();
    if (odd == 0xfc) tensor.dtype.lanes = bytes.number<std::uint16_t>();
    allocate(bytes, odd);
    tensor.shape = shape.data();
    if (odd == 0xfb) {
      tensor.shape = nullptr;
      real = false;
    }
    if (odd == 0xfa) {
      tensor.ndim = bytes.number<std::int32_t>();
      real = false;
      if (tensor.ndim >= 0 && tensor.ndim <= kMaxRank) tensor.ndim = -tensor.ndim - 1;
    }
  }

  void fill(Bytes& bytes, DType dtype) { fill_memory(bytes, memory.get() + skew, taken, dtype); }

  void allocate(Bytes& bytes, int odd) {
    static char elsewhere;
    tensor.data = &elsewhere;
    const std::int64_t item = std::max(1, tensor.dtype.bits / 8), size = product(shape);
    if (odd == 0xf9) tensor.byte_offset = bytes.number<std::uint64_t>() >> 16;
    if (odd == 0xf8) tensor.data = nullptr;
    if (odd >= 0xf8 || size < 0 || size > kMostElements) return;
    __int128 low = 0, high = 0, compact = 1;
    for (std::size_t i = 0; size > 0 && i < shape.size(); ++i) {
      const std::size_t d = shape.size() - 1 - i;
      const __int128 stride = tensor.strides == nullptr ? compact : __int128{strides[d]};
      compact *= shape[d];
      (stride < 0 ? low : high) += (shape[d] - 1) * stride;
    }
    if ((high - low + 1) * item > kMostMemory) return;
    skew = odd == 0xf7 ? bytes.below(8) : odd == 0xf6 ? item : 0;
    taken = size == 0 ? 0 : static_cast<std::int64_t>(high - low + 1) * item;
    memory.reset(static_cast<char*>(std::malloc(static_cast<std::size_t>(taken + skew))));
    tensor.data = memory.get();
    tensor.byte_offset = static_cast<std::uint64_t>(static_cast<std::int64_t>(-low) * item + skew);
    if (size == 0) tensor.byte_offset = static_cast<std::uint64_t>(skew);
    real = tensor.data != nullptr;
  }
};

void draw_thresholds(Bytes& bytes, Metric* metric) {
  Thresholds& thresholds = metric->thresholds;
  const int count = bytes.rarely() ? bytes.number<std::uint16_t>() % 1000 + 1 : 1 + bytes.below(20);
  std::vector<double> given;
  thresholds.even = count > 1 && bytes.flag();
  thresholds.first_always_passed = bytes.flag();
  thresholds.double_precision = bytes.flag();
  for (int i = 0; i < count; ++i) {
    const double even = static_cast<double>(i) / std::max(1, count - 1);
    given.push_back(thresholds.even ? even : bytes.number<std::uint8_t>() / 255.0);
  }
  set_thresholds(given, &thresholds);
}

// A metric as some class configures it, but for numbers that the class would refuse.
Metric draw_metric(Bytes& bytes, const Sizes& scores) {
  Metric metric;
  const std::vector<KernelRow>& table = kernel_table();
  metric.kernel = table[bytes.number<std::uint8_t>() % table.size()];
  const std::int64_t last = scores.empty() ? 1 : scores.back();
  Params& params = metric.params;
  params.threshold = bytes.real();
  params.has_threshold = bytes.flag();
  params.from_logits = bytes.flag();
  const bool dense =
      metric.kernel.executor == Executor::Rowwise && metric.kernel.labels != Labels::Sparse;
  params.ignored.count = !dense && bytes.flag() ? 1 : 0;
  params.ignored.ids[0] = static_cast<double>(bytes.integer());
  params.balance_classes = bytes.flag();
  params.label_smoothing = bytes.flag() ? 0.125 : 0.0;
  params.k = std::max<std::int64_t>(1, bytes.integer());
  metric.axis = bytes.flag() ? -1 : bytes.integer();
  metric.binary_labels = bytes.flag();
  metric.labels_in_scores_dtype = bytes.flag();
  metric.threshold_in_scores_dtype = bytes.flag();
  metric.find_zero_one_labels = metric.kernel.operands == Operands::Binary && bytes.flag();
  metric.vectors_are_samples = bytes.flag();
  metric.last_axis = static_cast<LastAxis>(bytes.below(3));
  switch (metric.kernel.executor) {
    case Executor::Elementwise:
      metric.result = Result::mean;
      if (bytes.rarely()) {
        metric.has_value_dtype = true;
        metric.value_dtype = static_cast<DType>(bytes.below(13));
      }
      break;
    case Executor::Rowwise:
      for (int i = 0, axes = 1 + bytes.below(3); i < axes; ++i) {
        metric.axes.push_back(bytes.flag() ? -1 - i : bytes.integer());
      }
      break;
    case Executor::Columnwise: {
      metric.folded = bytes.flag();
      metric.columns = std::clamp<std::int64_t>(bytes.rarely() ? bytes.integer() : last, 0, 2048);
      metric.aligns_ranks = bytes.flag();
      bytes.flag();
      metric.has_precision = bytes.flag();
      metric.precision = bytes.flag() ? DType::Float32 : static_cast<DType>(9 + bytes.below(4));
      const bool r2 = std::string(metric.kernel.name) == "squared_deviations";
      metric.counts_samples = r2;
      if (r2) metric.low_of = find_low_of(metric);
      metric.result = r2 ? Result::r2 : Result::f_score;
      metric.average = static_cast<Average>(bytes.below(4));
      break;
    }
    case Executor::Binned: {
      static const std::vector<Cell> cells[] = {
          {Cell::FalseNegatives},
          {Cell::TruePositives, Cell::FalsePositives},
          {Cell::TruePositives, Cell::FalsePositives, Cell::TrueNegatives, Cell::FalseNegatives}};
      static constexpr Result results[] = {Result::counts, Result::ratio, Result::auc};
      draw_thresholds(bytes, &metric);
      const int kind = bytes.below(3);
      metric.cells = cells[kind];
      metric.result = results[kind];
      metric.curve = static_cast<Curve>(bytes.below(3));
      metric.summation = static_cast<Summation>(bytes.below(4));
      if (kind == 2 && bytes.flag()) metric.result = Result::constrained;
      metric.poison_on_nan = bytes.flag();
      metric.multi_label = kind == 2 && bytes.flag();
      if (metric.multi_label) metric.labels = std::clamp<std::int64_t>(last, 1, 100);
      metric.top_k = bytes.flag() ? 0 : std::max<std::int64_t>(0, bytes.integer());
      metric.has_class_id = !metric.multi_label && bytes.flag();
      metric.class_id = bytes.integer();
      if (bytes.flag()) {
        metric.label_weights.assign(
            static_cast<std::size_t>(std::clamp<std::int64_t>(last, 1, 100)), 0.5);
      }
      break;
    }
    case Executor::Tabulated:
      metric.result = Result::iou;
      metric.pairs.classes = bytes.rarely() ? 40 : 1 + bytes.below(12);
      metric.pairs.by_class = bytes.flag();
      metric.pairs.whole = bytes.flag();
      metric.pairs.ignored = params.ignored;
      metric.dense_labels = bytes.flag();
      metric.dense_predicted = bytes.flag();
      for (int i = 0, targets = bytes.below(4); i < targets; ++i) {
        metric.target_class_ids.push_back(bytes.below(static_cast<int>(metric.pairs.classes)));
      }
      break;
    case Executor::Expression: {
      metric.expression = Expression::make(read_source(bytes, 2));
      metric.result = Result::mean;
      break;
    }
  }
  return metric;
}

// A metric's state, each variable in memory of its own.
struct Held {
  State state;
  std::vector<std::unique_ptr<double[]>> numbers;
  std::vector<std::unique_ptr<std::int64_t[]>> wholes;

  void add(std::int64_t size, bool whole) {
    State::Variable& variable = state.variables[state.count++];
    variable.size = size;
    if (whole) {
      wholes.push_back(std::make_unique<std::int64_t[]>(static_cast<std::size_t>(size)));
      variable.whole = wholes.back().get();
    } else {
      variable.sum = zeros(size);
    }
  }

  double* zeros(std::int64_t size) {
    numbers.push_back(std::make_unique<double[]>(static_cast<std::size_t>(size)));
    return numbers.back().get();
  }
};

Held held_by(const Metric& metric, bool whole) {
  Held held;
  switch (metric.kernel.executor) {
    case Executor::Elementwise:
    case Executor::Rowwise:
      held.add(1, false);
      held.add(1, false);
      break;
    case Executor::Columnwise: {
      const std::int64_t columns = metric.folded ? 1 : std::max<std::int64_t>(0, metric.columns);
      if (metric.counts_samples) held.add(1, false);
      const int sums = active_level().columnwise[metric.kernel.id].sums;
      for (int k = 0; k < sums; ++k) held.add(columns, false);
      for (const int v : metric.low_of) held.state.variables[v].low = held.zeros(columns);
      break;
    }
    case Executor::Binned: {
      const auto size = static_cast<std::int64_t>(metric.thresholds.sorted.size()) * metric.labels;
      for (std::size_t i = 0; i < metric.cells.size(); ++i) held.add(size, false);
      break;
    }
    case Executor::Tabulated: {
      const std::int64_t classes = metric.pairs.classes;
      if (!metric.pairs.by_class) held.add(classes * classes, whole);
      for (int i = 0; metric.pairs.by_class && i < 3; ++i) held.add(classes, whole);
      break;
    }
    case Executor::Expression:
      for (int i = 0; i <= metric.expression->outputs(); ++i) held.add(1, false);
      break;
  }
  return held;
}

// The state after two updates, and the results.
std::vector<double> updated(const Metric& metric, const Batch& batch, bool whole) {
  Held held = held_by(metric, whole);
  for (int i = 0; i < 2; ++i) {
    AnyWork room;
    Addition addition;
    Work& work = make_work(metric, batch, &room);
    work.run();
    work.collect(metric, &addition);
    commit(addition, held.state);
  }
  std::vector<double> out;
  for (int v = 0; v < held.state.count; ++v) {
    const State::Variable& variable = held.state.variables[v];
    for (std::int64_t i = 0; i < variable.size; ++i) {
      out.push_back(variable.whole != nullptr ? static_cast<double>(variable.whole[i])
                                              : variable.sum[i]);
      if (variable.low != nullptr) out.push_back(variable.low[i]);
    }
  }
  const std::int64_t size =
      scalar_result(metric, held.state) ? 1 : held.state.variables[held.state.count - 1].size;
  const auto results = std::make_unique<double[]>(static_cast<std::size_t>(size));
  finish(metric, held.state, results.get());
  out.insert(out.end(), results.get(), results.get() + size);
  return out;
}

std::vector<double> values_of(const Metric& metric, const Batch& batch) {
  const Executor executor = metric.kernel.executor;
  if (executor != Executor::Elementwise && executor != Executor::Rowwise) return {};
  const ValuesJob job(metric, batch);
  const std::int64_t size = job.shape().size();
  if (size > 64 * kMostElements) return {};
  const auto values = std::make_unique<double[]>(static_cast<std::size_t>(size));
  job.run({values.get(), DType::Float64});
  return {values.get(), values.get() + size};
}

void require_same(const std::vector<double>& a, const std::vector<double>& b, const Metric& metric,
                  const char* level) {
  if (std::equal(a.begin(), a.end(), b.begin(), b.end(), same)) return;
  throw std::logic_error(std::string(metric.kernel.name) + " differs at the level " + level);
}

struct AtLevel {
  explicit AtLevel(int level) { set_active_level(level); }
  ~AtLevel() { set_active_level(usable_levels().count - 1); }
};

}  // namespace

void batch(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  const Sizes scores = draw_shape(bytes);
  Given y_pred, y_true, sample_weight;
  Batch batch;
  try {
    const Metric metric = draw_metric(bytes, scores);
    y_pred.draw(bytes, scores);
    y_true.draw(bytes, related_shape(bytes, scores));
    batch.has_weight = bytes.flag();
    if (batch.has_weight) sample_weight.draw(bytes, related_shape(bytes, y_true.shape));
    batch.has_true = metric.kernel.operands != Operands::Unary;
    const bool whole = bytes.flag();
    bool real = true;
    for (const auto& [given, view, there] :
         {std::tuple{&y_pred, &batch.y_pred, true},
          std::tuple{&y_true, &batch.y_true, batch.has_true},
          std::tuple{&sample_weight, &batch.sample_weight, batch.has_weight}}) {
      if (!there) continue;
      if (!read_dlpack(given->tensor, "y", view)) return;
      if (given->real) given->fill(bytes, view->dtype);
      real &= given->real;
    }
    if (!real ||
        (batch.has_true && batch.y_pred.size() * batch.y_true.size() > 64 * kMostElements &&
         y_pred.shape != y_true.shape)) {
      // As where there is no data: shapes alone are settled.
      batch.y_pred.device = batch.y_true.device = batch.sample_weight.device = 0;
      AnyWork room;
      make_work(metric, batch, &room);
      return;
    }
    std::vector<double> first, first_values;
    for (int level = 0; level < usable_levels().count; ++level) {
      const AtLevel at(level);
      const std::vector<double> state = updated(metric, batch, whole);
      if (level == 0) first = state;
      require_same(first, state, metric, usable_levels().levels[level]->name);
    }
    for (int level = 0; level < usable_levels().count; ++level) {
      const AtLevel at(level);
      const std::vector<double> values = values_of(metric, batch);
      if (level == 0) first_values = values;
      require_same(first_values, values, metric, usable_levels().levels[level]->name);
    }
  } catch (const ValueMistake&) {
  } catch (const TypeMistake&) {
  }
}

}  // namespace kt::fuzz
