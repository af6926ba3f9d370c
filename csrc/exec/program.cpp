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
#include "scratch.h"
#include "work.h"

namespace kt {

namespace {

KeptNumbers numbers_in(const StateArray* arrays, const Program::Variable& place) {
  const auto read = [](const StateArray& array, std::int64_t at) -> const void* {
    return static_cast<const char*>(array.from) + at * item_size(array.dtype);
  };
  const auto written = [](const StateArray& array, std::int64_t at) -> void* {
    if (array.to == nullptr) return nullptr;  // it is only read
    return static_cast<char*>(array.to) + at * item_size(array.dtype);
  };
  const StateArray& array = arrays[place.array];
  KeptNumbers kept;
  kept.dtype = array.dtype;
  kept.from = read(array, place.at);
  kept.to = written(array, place.at);
  if (place.rest_array >= 0) {
    kept.rest_from = read(arrays[place.rest_array], place.rest_at);
    kept.rest_to = written(arrays[place.rest_array], place.rest_at);
  }
  return kept;
}

}  // namespace

KeptVariable kept_in(const StateArray* arrays, const Program::Member& member, int variable) {
  const std::vector<Program::Variable>& places = member.variables;
  KeptVariable kept;
  kept.sum = numbers_in(arrays, places[static_cast<std::size_t>(variable)]);
  const std::vector<int>& low_of = member.metric.low_of;
  for (std::size_t l = 0; l < low_of.size(); ++l) {
    if (low_of[l] != variable) continue;
    kept.low = numbers_in(arrays, places[places.size() - low_of.size() + l]);
  }
  return kept;
}

StateArray one_of(const StateArray& added, std::int64_t size, std::int64_t which) {
  const auto* from = static_cast<const char*>(added.from);
  return {from + which * size * item_size(added.dtype), nullptr, added.dtype, size};
}

// A member's state as the kernels take it.
class WorkingState {
 public:
  WorkingState(const Program::Member& member, const StateArray* arrays, Arena& arena)
      : member_(member), arrays_(arrays) {
    state_ = working_state(member, arrays, [&](std::int64_t n) {
      return arena.allocate(static_cast<std::size_t>(n) * sizeof(double), 64);
    });
    read(arrays, false);
  }

  const State& state() const { return state_; }

  void store() const {
    for (int v = 0; v < state_.count; ++v) {
      shared::write_kept(state_.variables[v], 0, 1, kept_in(arrays_, member_, v));
    }
  }

  // Adds a state that is kept in other arrays.
  void add(const StateArray* arrays) { read(arrays, true); }

  // Nothing plausible is left of it.
  void poison() {
    for (int v = 0; v < state_.count; ++v) {
      State::Variable& variable = state_.variables[v];
      if (variable.whole != nullptr) throw std::logic_error("integers cannot be poisoned");
      std::fill_n(variable.sum, variable.size, std::numeric_limits<double>::quiet_NaN());
    }
  }

 private:
  void read(const StateArray* arrays, bool adds) {
    for (int v = 0; v < state_.count; ++v) {
      shared::read_kept(kept_in(arrays, member_, v), 0, 1, adds, state_.variables[v]);
    }
  }

  const Program::Member& member_;
  const StateArray* arrays_;
  State state_;
};

namespace {

bool is_unary(const Program::Member& member) {
  return member.metric.kernel.operands == Operands::Unary;
}

}  // namespace

Program::Program(std::vector<Member> members) : members_(std::move(members)) {
  if (members_.empty()) throw std::logic_error("a program without metrics");
  takes_values_ = is_unary(members_[0]);
  std::vector<const Metric*> metrics;
  for (const Member& member : members_) {
    if (is_unary(member) != takes_values_ || (takes_values_ && members_.size() > 1)) {
      throw std::logic_error("metrics of values have no group");
    }
    const std::size_t lows = member.metric.low_of.size();
    if (member.variables.size() <= lows || member.variables.size() - lows > kMaxState) {
      throw std::logic_error("a program's metric with too few or too many variables");
    }
    metrics.push_back(&member.metric);
    for (const Variable& variable : member.variables) {
      arrays_ = std::max({arrays_, variable.array + 1, variable.rest_array + 1});
    }
  }
  metrics_ = Metrics(std::move(metrics));
  on_devices_ = make_on_devices(members_.size());
}

void Program::check_arrays(const StateArray* arrays, int count) const {
  if (count != arrays_) throw std::logic_error("a program's state is made of other arrays");
  const auto fits = [&](int array, std::int64_t at, std::int64_t size) {
    return at >= 0 && size >= 0 && at + size <= arrays[array].size;
  };
  for (const Member& member : members_) {
    for (const Variable& v : member.variables) {
      const DType dtype = arrays[v.array].dtype;
      const bool rest_fits = v.rest_array < 0 || (fits(v.rest_array, v.rest_at, v.size) &&
                                                  arrays[v.rest_array].dtype == dtype);
      if (!fits(v.array, v.at, v.size) || !rest_fits || !can_keep(dtype)) {
        throw std::logic_error("a program's state has arrays of other sizes or dtypes");
      }
    }
  }
}

void Program::check_added(const StateArray* arrays, const StateArray* added, int count,
                          std::int64_t others) const {
  check_arrays(arrays, count);
  for (int i = 0; i < count; ++i) {
    if (added[i].dtype != arrays[i].dtype || added[i].size != others * arrays[i].size) {
      throw std::logic_error("the states to add are of another kind");
    }
  }
}

void Program::check_result(const ResultArray& result, int member) const {
  if (result.size != std::abs(result_size(member)) || !can_keep(result.dtype)) {
    throw std::logic_error("a result of another size or dtype");
  }
}

void Program::check_inputs(const Batch& batch) const {
  if (batch.has_true == takes_values_) throw std::logic_error("a program's input is missing");
}

void Program::check(const Batch& batch) const {
  check_inputs(batch);
  ScratchArena arena;
  for (const Member& member : members_) {
    make_work(member.metric, batch, *arena);
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

void Program::update(const Batch& batch, const StateArray* arrays, int count,
                     BadLabels bad_labels) const {
  check_inputs(batch);
  check_arrays(arrays, count);
  ScratchArena scratch;
  Arena& arena = *scratch;
  BatchWork work(metrics_, batch, arena);
  work.run();
  std::pmr::vector<WorkingState> states(&arena);
  states.reserve(members_.size());
  for (std::size_t i = 0; i < members_.size(); ++i) {
    WorkingState& working = states.emplace_back(members_[i], arrays, arena);
    const State& state = working.state();
    try {
      Addition addition;
      work.collect(i, &addition);
      commit(addition, state);
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
  check_added(arrays, added, count, others);
  ScratchArena scratch;
  Arena& arena = *scratch;
  std::pmr::vector<WorkingState> states(&arena);
  states.reserve(members_.size());
  for (const Member& member : members_) states.emplace_back(member, arrays, arena);
  for (std::int64_t other = 0; other < others; ++other) {
    std::pmr::vector<StateArray> one(&arena);
    for (int i = 0; i < count; ++i) one.push_back(one_of(added[i], arrays[i].size, other));
    for (WorkingState& state : states) state.add(one.data());
  }
  store(arrays, count, states);
}

void Program::results(const StateArray* arrays, int count, const ResultArray* results) const {
  check_arrays(arrays, count);
  ScratchArena scratch;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const WorkingState working(members_[i], arrays, *scratch);
    check_result(results[i], static_cast<int>(i));
    std::pmr::vector<double> values(static_cast<std::size_t>(results[i].size), &*scratch);
    finish(members_[i].metric, working.state(), values.data());
    shared::with_kept_type(results[i].dtype, [&](auto zero) {
      using T = decltype(zero);
      T* to = static_cast<T*>(results[i].to);
      for (const double x : values) *to++ = shared::narrow_kept<T>(x);
    });
  }
}

std::int64_t Program::result_size(int member) const {
  const Member& own = members_[static_cast<std::size_t>(member)];
  State state;
  lay_out(own.metric, static_cast<int>(own.variables.size()), &state, [&](int v) {
    State::Variable variable;
    variable.size = own.variables[static_cast<std::size_t>(v)].size;
    return variable;
  });
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
