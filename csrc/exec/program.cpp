#include "program.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>

#include "../tensor/error.h"
#include "group.h"
#include "scratch.h"
#include "work.h"

namespace kt {
namespace {

// Calls body(T{}) with the type of a state's or result's numbers.
template <class Body>
void with_type(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::Float32:
      return body(float{});
    case DType::Float64:
      return body(double{});
    case DType::Int32:
      return body(std::int32_t{});
    case DType::Int64:
      return body(std::int64_t{});
    default:
      throw std::logic_error("a state or a result of this dtype");
  }
}

// Integers wrap around, as they do in the frameworks.
template <class T>
T narrow(double x) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(x);
  } else {
    constexpr double kLimit = 9.2e18;  // below 2^63
    return std::abs(x) < kLimit ? static_cast<T>(static_cast<std::int64_t>(x)) : T{0};
  }
}

}  // namespace

// A member's state as the kernels take it.
class WorkingState {
 public:
  WorkingState(const Program::Member& member, const StateArray* arrays, Arena& arena)
      : member_(member), arrays_(arrays) {
    state_.count = static_cast<int>(member.variables.size());
    for (int v = 0; v < state_.count; ++v) load(v, arena);
  }

  const State& state() const { return state_; }

  void store() const {
    for (int v = 0; v < state_.count; ++v) store(v);
  }

  void add(const State& other) {
    Addition addition;
    for (int v = 0; v < state_.count; ++v) {
      const State::Variable& variable = other.variables[v];
      if (variable.whole != nullptr) {
        for (std::int64_t i = 0; i < variable.size; ++i) {
          state_.variables[v].whole[i] += variable.whole[i];
        }
        continue;
      }
      addition.parts[v] = variable.high;
      addition.low_parts[v] = variable.low;
    }
    if (!state_.whole()) commit(addition, state_);
  }

  // Nothing plausible is left of it.
  void poison() {
    for (int v = 0; v < state_.count; ++v) {
      State::Variable& variable = state_.variables[v];
      if (variable.whole != nullptr) throw std::logic_error("integers cannot be poisoned");
      std::fill_n(variable.high, variable.size, std::numeric_limits<double>::quiet_NaN());
    }
  }

 private:
  template <class T>
  static T* allocate(Arena& arena, std::int64_t n) {
    return static_cast<T*>(arena.allocate(static_cast<std::size_t>(n) * sizeof(T), 64));
  }

  void load(int v, Arena& arena) {
    const Program::Variable& place = member_.variables[static_cast<std::size_t>(v)];
    State::Variable& variable = state_.variables[v];
    variable.size = place.size;
    const StateArray& array = arrays_[place.array];
    if (place.low_array < 0) {
      variable.whole = allocate<std::int64_t>(arena, place.size);
      with_type(array.dtype, [&](auto zero) {
        using T = decltype(zero);
        const T* from = static_cast<const T*>(array.from) + place.at;
        for (std::int64_t i = 0; i < place.size; ++i) {
          variable.whole[i] = static_cast<std::int64_t>(from[i]);
        }
      });
      return;
    }
    variable.high = allocate<double>(arena, place.size);
    variable.low = allocate<double>(arena, place.size);
    with_type(array.dtype, [&](auto zero) {
      using T = decltype(zero);
      const T* high = static_cast<const T*>(array.from) + place.at;
      const T* low = static_cast<const T*>(arrays_[place.low_array].from) + place.low_at;
      for (std::int64_t i = 0; i < place.size; ++i) {
        // A pair of doubles may hold what its halves do not hold apart.
        const auto h = static_cast<double>(high[i]), l = static_cast<double>(low[i]);
        variable.high[i] = h + l;
        variable.low[i] = std::isfinite(h + l) ? l - ((h + l) - h) : 0.0;
      }
    });
  }

  void store(int v) const {
    const Program::Variable& place = member_.variables[static_cast<std::size_t>(v)];
    const State::Variable& variable = state_.variables[v];
    const StateArray& array = arrays_[place.array];
    with_type(array.dtype, [&](auto zero) {
      using T = decltype(zero);
      T* to = static_cast<T*>(array.to) + place.at;
      if (variable.whole != nullptr) {
        for (std::int64_t i = 0; i < place.size; ++i) to[i] = static_cast<T>(variable.whole[i]);
        return;
      }
      T* low_to = static_cast<T*>(arrays_[place.low_array].to) + place.low_at;
      for (std::int64_t i = 0; i < place.size; ++i) {
        const double high = variable.high[i];
        to[i] = narrow<T>(high);
        const double rest = (high - static_cast<double>(to[i])) + variable.low[i];
        // What an infinite or overflown sum leaves is no number.
        low_to[i] = std::isfinite(static_cast<double>(to[i])) ? narrow<T>(rest) : T{0};
      }
    });
  }

  const Program::Member& member_;
  const StateArray* arrays_;
  State state_;
};

namespace {

std::vector<bool> masked_members(const std::vector<Program::Member>& members) {
  std::vector<bool> masked;
  for (const Program::Member& member : members) masked.push_back(member.masked);
  return masked;
}

bool is_unary(const Program::Member& member) {
  return member.metric.kernel.operands == Operands::Unary;
}

}  // namespace

Program::Program(std::vector<Member> members) : members_(std::move(members)) {
  if (members_.empty()) throw std::logic_error("a program without metrics");
  takes_values_ = is_unary(members_[0]);
  for (const Member& member : members_) {
    if (is_unary(member) != takes_values_ || (takes_values_ && members_.size() > 1)) {
      throw std::logic_error("metrics of values have no group");
    }
    if (member.variables.empty() || member.variables.size() > kMaxState) {
      throw std::logic_error("a program's metric with too few or too many variables");
    }
    metrics_.push_back(&member.metric);
    for (const Variable& variable : member.variables) {
      arrays_ = std::max({arrays_, variable.array + 1, variable.low_array + 1});
    }
  }
  leads_ = find_leads(metrics_, masked_members(members_));
}

void Program::check_arrays(const StateArray* arrays, int count) const {
  if (count != arrays_) throw std::logic_error("a program's state is made of other arrays");
  const auto fits = [&](int array, std::int64_t at, std::int64_t size) {
    return at >= 0 && size >= 0 && at + size <= arrays[array].size;
  };
  for (const Member& member : members_) {
    for (const Variable& v : member.variables) {
      const bool low_fits = v.low_array < 0 || (fits(v.low_array, v.low_at, v.size) &&
                                                arrays[v.array].dtype == arrays[v.low_array].dtype);
      if (!fits(v.array, v.at, v.size) || !low_fits) {
        throw std::logic_error("a program's state has arrays of other sizes or dtypes");
      }
    }
  }
}

void Program::check_inputs(const Batch& batch) const {
  if (batch.has_true == takes_values_) throw std::logic_error("a program's input is missing");
}

void Program::check(const Batch& batch, const Batch& masked) const {
  check_inputs(batch);
  ScratchArena arena;
  for (const Member& member : members_) {
    make_work(member.metric, member.masked ? masked : batch, *arena);
  }
}

bool Program::splits(const Batch& batch) const {
  const View &y_pred = batch.y_pred, &y_true = batch.y_true, &weight = batch.sample_weight;
  const auto is_cut = [&](const View& x) {
    return x.rank > 0 && x.rank <= y_pred.rank && x.shape[0] == y_pred.shape[0];
  };
  if (!is_cut(y_pred) || (batch.has_weight && !is_cut(weight)) ||
      (batch.has_true && !is_cut(y_true))) {
    return false;
  }
  // Where ranks differ, the first axis of one may be broadcast along the last of the other.
  const bool same_rank = !batch.has_true || y_true.rank == y_pred.rank;
  const auto is_last = [&](std::int64_t axis) { return axis == -1 || axis == y_pred.rank - 1; };
  const auto is_first = [&](std::int64_t axis) { return axis == 0 || axis == -y_pred.rank; };
  return std::all_of(members_.begin(), members_.end(), [&](const Member& member) {
    const Metric& metric = member.metric;
    switch (metric.kernel.executor) {
      case Executor::Elementwise:
        // One label decides for the whole batch what 0 and 1 mean; an only axis is what
        // the values are averaged over.
        return same_rank && !metric.find_zero_one_labels &&
               (metric.last_axis == LastAxis::Kept || y_pred.rank >= 2);
      case Executor::Expression:
        return same_rank;
      case Executor::Rowwise:
        return y_pred.rank >= 2 && !is_first(metric.axis) &&
               (same_rank ||
                (metric.kernel.labels == Labels::Sparse && y_true.rank == y_pred.rank - 1)) &&
               std::none_of(metric.axes.begin(), metric.axes.end(), is_first);
      case Executor::Columnwise:
        return same_rank && y_pred.rank >= 2;
      case Executor::Binned:
        return metric.top_k == 0 || (same_rank && y_pred.rank >= 2);
      case Executor::Tabulated:
        return !(metric.dense_labels || metric.dense_predicted) ||
               (y_pred.rank >= 2 && is_last(metric.axis));
    }
    return false;
  });
}

void Program::update(const Batch& batch, const Batch& masked, const StateArray* arrays, int count,
                     BadLabels bad_labels) const {
  check_inputs(batch);
  check_arrays(arrays, count);
  ScratchArena scratch;
  Arena& arena = *scratch;
  std::pmr::vector<const Batch*> batches(&arena);
  for (const Member& member : members_) batches.push_back(member.masked ? &masked : &batch);
  // What has no mates needs no plan of who goes with whom.
  AnyWork room;
  Work* alone = nullptr;
  InArena<GroupWork> group;
  if (members_.size() == 1) {
    alone = &make_work(members_[0].metric, *batches[0], &room);
    alone->run();
  } else {
    group = make_in<GroupWork>(arena, metrics_, leads_, batches.data(), arena);
    group->run();
  }
  std::pmr::vector<WorkingState> states(&arena);
  states.reserve(members_.size());
  for (std::size_t i = 0; i < members_.size(); ++i) {
    WorkingState& working = states.emplace_back(members_[i], arrays, arena);
    const State& state = working.state();
    try {
      Addition addition;
      if (alone != nullptr) {
        alone->collect(*metrics_[i], &addition);
      } else {
        group->collect(i, &addition);
      }
      if (!commit_high(addition, state)) commit(addition, state);
    } catch (const ValueMistake&) {
      if (bad_labels == BadLabels::Refuse) throw;
      working.poison();
    }
  }
  store(arrays, count, states);
}

void Program::store(const StateArray* arrays, int count,
                    const std::pmr::vector<WorkingState>& states) const {
  // Also what belongs to none of these metrics.
  for (int i = 0; i < count; ++i) {
    const StateArray& array = arrays[i];
    if (array.from == array.to) continue;
    std::memcpy(array.to, array.from,
                static_cast<std::size_t>(array.size * item_size(array.dtype)));
  }
  for (const WorkingState& working : states) working.store();
}

void Program::merge(const StateArray* arrays, const StateArray* added, int count,
                    std::int64_t others) const {
  check_arrays(arrays, count);
  ScratchArena scratch;
  Arena& arena = *scratch;
  std::pmr::vector<WorkingState> states(&arena);
  states.reserve(members_.size());
  for (const Member& member : members_) states.emplace_back(member, arrays, arena);
  for (std::int64_t other = 0; other < others; ++other) {
    std::pmr::vector<StateArray> one(&arena);
    for (int i = 0; i < count; ++i) {
      const StateArray& all = added[i];
      if (all.dtype != arrays[i].dtype || all.size != others * arrays[i].size) {
        throw std::logic_error("the states to add are of another kind");
      }
      const auto* from = static_cast<const char*>(all.from);
      one.push_back({from + other * arrays[i].size * item_size(all.dtype), nullptr, all.dtype,
                     arrays[i].size});
    }
    for (std::size_t m = 0; m < members_.size(); ++m) {
      const WorkingState addend(members_[m], one.data(), arena);
      states[m].add(addend.state());
    }
  }
  store(arrays, count, states);
}

void Program::results(const StateArray* arrays, int count, const ResultArray* results) const {
  check_arrays(arrays, count);
  ScratchArena scratch;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const WorkingState working(members_[i], arrays, *scratch);
    const std::int64_t size = std::abs(result_size(static_cast<int>(i)));
    if (results[i].size != size) throw std::logic_error("a result of another size");
    std::pmr::vector<double> values(static_cast<std::size_t>(size), &*scratch);
    finish(members_[i].metric, working.state(), values.data());
    with_type(results[i].dtype, [&](auto zero) {
      using T = decltype(zero);
      std::transform(values.begin(), values.end(), static_cast<T*>(results[i].to), narrow<T>);
    });
  }
}

std::int64_t Program::result_size(int member) const {
  const Member& own = members_[static_cast<std::size_t>(member)];
  State state;
  state.count = static_cast<int>(own.variables.size());
  for (int v = 0; v < state.count; ++v) {
    state.variables[v].size = own.variables[static_cast<std::size_t>(v)].size;
  }
  return scalar_result(own.metric, state) ? -1 : state.variables[state.count - 1].size;
}

namespace {

struct Programs {
  std::map<std::string, std::unique_ptr<const Program>, std::less<>> by_key;
  std::shared_mutex mutex;
};

Programs& programs() {
  static Programs all;
  return all;
}

}  // namespace

void define_program(const std::string& key, std::vector<Program::Member> members) {
  auto program = std::make_unique<const Program>(std::move(members));
  const std::unique_lock lock(programs().mutex);
  programs().by_key.try_emplace(key, std::move(program));
}

const Program& find_program(std::string_view key) {
  const std::shared_lock lock(programs().mutex);
  const auto found = programs().by_key.find(key);
  if (found == programs().by_key.end()) {
    throw ValueMistake(
        "the metric of this compiled program is not known in this process. Make a metric of the "
        "same configuration before you run it.");
  }
  return *found->second;
}

}  // namespace kt
