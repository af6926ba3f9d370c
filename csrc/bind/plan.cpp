#include "plan.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <numeric>

#include "../exec/buffer.h"
#include "../exec/scratch.h"
#include "../exec/threads.h"
#include "../exec/work.h"
#include "../tensor/error.h"
#include "calls.h"
#include "errors.h"
#include "intake.h"

namespace py = pybind11;

namespace kt {
namespace {

constexpr const char* kCapsule = "keras_tally.plan";

// Where the numbers of a plan's state are.
class StateMemory {
 public:
  // False where they cannot be borrowed.
  bool borrow(const Plan& plan, PyObject* const* tensors, int count, Keep* keep) {
    for (count_ = 0; count_ < count; ++count_) {
      State::Variable& variable = variables_[count_];
      int own = kHost;
      if (plan.whole) {
        variable.whole =
            borrow_numbers<std::int64_t>(tensors[count_], DType::Int64, &variable.size, keep, &own);
      } else {
        variable.sum =
            borrow_numbers<double>(tensors[count_], DType::Float64, &variable.size, keep, &own);
      }
      if (variable.whole == nullptr && variable.sum == nullptr) return false;
      if (count_ > 0 && own != place_) return false;
      place_ = own;
    }
    return true;
  }

  int place() const { return place_; }

  State of(const Member& member) const {
    State state;
    if (member.sizes.empty()) {
      lay_out(member.metric, count_, &state, [&](int i) { return variables_[i]; });
      return state;
    }
    return part(member, variables_[0].sum + member.offset, variables_[0].sum + variables_[0].size);
  }

  // The state of a metric whose numbers lie one after the other.
  static State part(const Member& member, double* start, const double* end) {
    State state;
    lay_out(member.metric, static_cast<int>(member.sizes.size()), &state, [&](int i) {
      State::Variable variable;
      variable.size = member.sizes[static_cast<std::size_t>(i)];
      variable.sum = start;
      start += variable.size;
      return variable;
    });
    if (start > end) throw std::logic_error("the memory of a state is too small");
    return state;
  }

 private:
  State::Variable variables_[kMaxVariables];
  int count_ = 0;
  int place_ = kHost;
};

// On a device: as few launches as the metrics' inputs allow, and no waiting.
bool add_batch_on(int device, const Plan& plan, const Batch& batch, PyObject* const* tensors,
                  int count, Keep* keep, Arena& arena) {
  StateMemory memory;
  if (!memory.borrow(plan, tensors, count, keep) || !same_place(device, memory.place())) {
    return false;
  }
  DeviceUpdate update(device, current_stream(tensors[0], device));
  std::pmr::vector<InArena<Work>> works(&arena);
  for (const auto& member : plan.members) {
    works.push_back(make_work(member->metric, batch, arena));
    update.add(member->metric, *works.back(), member->constants.on(device, member->metric),
               memory.of(*member));
  }
  update.run();
  return true;
}

// Adds to the states of all metrics, or throws and adds to none. False, and nothing added,
// when the state cannot be borrowed or is elsewhere.
bool add_batch(const Plan& plan, const Batch& batch, PyObject* const* tensors, int count,
               Keep* keep) {
  const int place = place_of(batch);
  if (place == kSeveralPlaces) return false;
  ScratchArena scratch;
  Arena& arena = *scratch;
  if (place != kHost) return add_batch_on(place, plan, batch, tensors, count, keep, arena);
  const std::size_t size = plan.members.size();
  BatchWork work(plan.metrics, batch, arena);
  std::pmr::vector<Addition> additions(size, &arena);
  bool parallel = false;
  unlocked(batch, [&] {
    parallel = work.run();
    for (std::size_t i = 0; i < size; ++i) work.collect(i, &additions[i]);
  });
  // With the interpreter's lock held: two threads cannot add to one state at once.
  StateMemory memory;
  if (!memory.borrow(plan, tensors, count, keep) || !same_place(place, memory.place())) {
    return false;
  }
  for (std::size_t i = 0; i < size; ++i) commit(additions[i], memory.of(*plan.members[i]));
  road_counts.parallel += parallel ? 1 : 0;
  return true;
}

// update(plan, y_true, y_pred, sample_weight[, unmasked]) -> bool
// True: added in place. False: Python must take the general road. With `unmasked` it has
// done so: y_pred's mask is part of the weights.
PyObject* update(PyObject* const* args, Py_ssize_t count) {
  Plan& plan = plan_of(args[0]);
  PyObject* tracker = nullptr;
  if (in_stateless_scope(&tracker)) Py_RETURN_FALSE;
  if (count == 4 && has_mask(args[2], tracker)) Py_RETURN_FALSE;
  Keep keep;
  Batch batch;
  if (!borrow_batch(plan.inputs, args[1], args[2], args[3], &batch, &keep)) Py_RETURN_FALSE;
  const Values values(plan.fields);
  if (!values.complete() || !add_batch(plan, batch, values.tensors(), values.count(), &keep)) {
    Py_RETURN_FALSE;
  }
  ++road_counts.in_place;
  Py_RETURN_TRUE;
}

// The tensors of a list: those that stand for the plan's variables.
class Given {
 public:
  explicit Given(PyObject* list) {
    for (const py::handle item : py::reinterpret_borrow<py::list>(list)) {
      if (count_ == kMaxVariables) throw std::logic_error("too many state arrays");
      tensors_[count_++] = item.ptr();
    }
  }
  PyObject* const* tensors() const { return tensors_; }
  int count() const { return count_; }

 private:
  PyObject* tensors_[kMaxVariables];
  int count_ = 0;
};

// update_into(plan, states, y_true, y_pred, sample_weight): adds to the given tensors.
PyObject* update_into(PyObject* const* args, Py_ssize_t) {
  Plan& plan = plan_of(args[0]);
  const Given given(args[1]);
  Keep keep;
  Batch batch;
  const char* unread = nullptr;
  if (!borrow_batch(plan.inputs, args[2], args[3], args[4], &batch, &keep, &unread)) {
    refuse_unread(unread);
  }
  if (!add_batch(plan, batch, given.tensors(), given.count(), &keep)) {
    throw std::logic_error(
        "the state is not made of contiguous arrays of its dtype where the inputs are");
  }
  ++road_counts.pure;
  Py_RETURN_NONE;
}

// accumulate(plan, states, y_true, y_pred, sample_weight) -> bool
// True: added to the given tensors. False: Python must take the general road.
PyObject* accumulate(PyObject* const* args, Py_ssize_t) {
  Plan& plan = plan_of(args[0]);
  const Given given(args[1]);
  Keep keep;
  Batch batch;
  if (!borrow_batch(plan.inputs, args[2], args[3], args[4], &batch, &keep) ||
      !add_batch(plan, batch, given.tensors(), given.count(), &keep)) {
    Py_RETURN_FALSE;
  }
  ++road_counts.in_place;
  Py_RETURN_TRUE;
}

// One result, or a dict of them by name.
PyObject* results_of(const Plan& plan, PyObject* const* tensors, int count) {
  Keep keep;
  StateMemory memory;
  if (!memory.borrow(plan, tensors, count, &keep)) Py_RETURN_NONE;
  const DLPackExchangeAPI* api = exchange_api_of(Py_TYPE(tensors[0]));
  const auto result = [&](std::size_t i) {
    const Member& member = *plan.members[i];
    const State state = memory.of(member);
    return memory.place() == kHost ? Finished(member, state).as_tensor(api)
                                   : finished_on(memory.place(), member, state, tensors[0]);
  };
  if (plan.names.empty()) return result(0);
  py::dict results;
  for (std::size_t i = 0; i < plan.members.size(); ++i) {
    const auto value = py::reinterpret_steal<py::object>(result(i));
    if (!value) throw py::error_already_set();
    results[plan.names[i]] = value;
  }
  return results.release().ptr();
}

// result(plan) -> tensor or dict, or None when Python must take the general road.
PyObject* result(PyObject* const* args, Py_ssize_t) {
  Plan& plan = plan_of(args[0]);
  PyObject* tracker = nullptr;
  if (in_stateless_scope(&tracker)) Py_RETURN_NONE;
  const Values values(plan.fields);
  if (!values.complete()) Py_RETURN_NONE;
  return results_of(plan, values.tensors(), values.count());
}

// result_from(plan, states) -> tensor or dict, of the given state tensors.
PyObject* result_from(PyObject* const* args, Py_ssize_t) {
  const Given given(args[1]);
  return results_of(plan_of(args[0]), given.tensors(), given.count());
}

// A place in an array of float64, from which on the numbers of a plan's state lie.
class Numbers {
 public:
  Numbers(PyObject* array, PyObject* start, Keep* keep) : at_(PyLong_AsSsize_t(start)) {
    const bool taken = borrow_state_value(array, &view_, keep);
    if (!taken || view_.rank != 1 || !view_.contiguous() || view_.dtype != DType::Float64 ||
        at_ < 0) {
      throw std::logic_error("no array of a state's numbers");
    }
  }

  bool fits(std::int64_t size) const { return at_ + size <= view_.shape[0]; }

  // The places of the next `size` numbers.
  State::Variable next(std::int64_t size) {
    if (!fits(size)) throw std::logic_error("too few numbers for this plan");
    State::Variable variable;
    variable.size = size;
    variable.sum = reinterpret_cast<double*>(const_cast<char*>(view_.data)) + at_;
    at_ += size;
    return variable;
  }

 private:
  View view_;
  std::int64_t at_;
};

// The variables of a plan of one metric, in host memory: Keras's, then low halves.
struct HostVariables {
  State::Variable all[kMaxVariables];
  int count = 0;
  std::int64_t size = 0;

  void add(const State::Variable& variable) {
    all[count++] = variable;
    size += variable.size;
  }
};

// False: Python must read them.
bool borrow_on_host(const Plan& plan, const Values& values, Keep* keep, HostVariables* found) {
  StateMemory memory;
  if (!values.complete() || !memory.borrow(plan, values.tensors(), values.count(), keep) ||
      memory.place() != kHost) {
    return false;
  }
  const Member& member = *plan.members[0];
  const State state = memory.of(member);
  for (int v = 0; v < state.count; ++v) found->add(state.variables[v]);
  for (const int v : member.metric.low_of) {
    State::Variable low;
    low.sum = state.variables[v].low;
    low.size = state.variables[v].size;
    found->add(low);
  }
  return true;
}

// read_state(plan, numbers, start) -> how many numbers the state has, which are copied to an
// array, from `start` on; where they do not fit, none is written. -1: Python must read them.
PyObject* read_state(PyObject* const* args, Py_ssize_t) {
  Plan& plan = plan_of(args[0]);
  Keep keep;
  Numbers numbers(args[1], args[2], &keep);
  const Values values(plan.fields);
  HostVariables from;
  if (!borrow_on_host(plan, values, &keep, &from)) return PyLong_FromLong(-1);
  const int copied = numbers.fits(from.size) ? from.count : 0;
  for (int v = 0; v < copied; ++v) {
    const State::Variable& variable = from.all[v];
    double* to = numbers.next(variable.size).sum;
    if (variable.whole == nullptr) {
      std::copy_n(variable.sum, variable.size, to);
    } else {
      std::copy_n(variable.whole, variable.size, to);
    }
  }
  return PyLong_FromLongLong(from.size);
}

// result_of_numbers(plan, numbers, start) -> the result for another state, whose numbers are
// in an array; None: Python must compute it.
PyObject* result_of_numbers(PyObject* const* args, Py_ssize_t) {
  Plan& plan = plan_of(args[0]);
  Keep keep;
  Numbers numbers(args[1], args[2], &keep);
  const Values values(plan.fields);
  HostVariables like;
  if (plan.whole || !borrow_on_host(plan, values, &keep, &like)) Py_RETURN_NONE;
  const Member& member = *plan.members[0];
  State state;
  lay_out(member.metric, like.count, &state, [&](int v) { return numbers.next(like.all[v].size); });
  return Finished(member, state).as_tensor(exchange_api_of(Py_TYPE(values.tensors()[0])));
}

void clear_on_device(int device, const State::Variable& v, void* stream) {
  const auto bytes = static_cast<std::size_t>(v.size) * 8;
  for (void* numbers :
       {static_cast<void*>(v.whole), static_cast<void*>(v.sum), static_cast<void*>(v.low)}) {
    if (numbers != nullptr) clear_on(device, stream, numbers, bytes);
  }
}

void clear_on_host(const State::Variable& v) {
  if (v.whole != nullptr) std::fill_n(v.whole, v.size, 0);
  if (v.sum != nullptr) std::fill_n(v.sum, v.size, 0.0);
  if (v.low != nullptr) std::fill_n(v.low, v.size, 0.0);
}

// reset(plan) -> bool: zeroes the metrics' numbers in place.
PyObject* reset(PyObject* const* args, Py_ssize_t) {
  Plan& plan = plan_of(args[0]);
  PyObject* tracker = nullptr;
  if (in_stateless_scope(&tracker)) Py_RETURN_FALSE;
  const Values values(plan.fields);
  Keep keep;
  StateMemory memory;
  if (!values.complete() || !memory.borrow(plan, values.tensors(), values.count(), &keep)) {
    Py_RETURN_FALSE;
  }
  const int place = memory.place();
  void* stream = place == kHost ? nullptr : current_stream(values.tensors()[0], place);
  for (const auto& member : plan.members) {
    const State state = memory.of(*member);
    for (int v = 0; v < state.count; ++v) {
      if (place == kHost) {
        clear_on_host(state.variables[v]);
      } else {
        clear_on_device(place, state.variables[v], stream);
      }
    }
  }
  Py_RETURN_TRUE;
}

// values(plan, y_true, y_pred) -> tensor, or None when Python must take the
// general road: the plan's kernel on each element or row, nothing accumulated.
PyObject* values(PyObject* const* args, Py_ssize_t) {
  Plan& plan = plan_of(args[0]);
  Keep keep;
  Batch batch;
  if (!borrow_batch(plan.inputs, args[1], args[2], Py_None, &batch, &keep)) Py_RETURN_NONE;
  const int place = place_of(batch);
  if (place == kSeveralPlaces) Py_RETURN_NONE;
  const ValuesJob job(plan.members[0]->metric, batch);
  const DType dtype = batch.y_pred.dtype == DType::Float64 ? DType::Float64 : DType::Float32;
  const DLPackExchangeAPI* api = exchange_api_of(Py_TYPE(args[2]));
  void* data = nullptr;
  py::object out;
  if (api != nullptr) {
    PyObject* tensor = place == kHost ? new_tensor(api, job.shape(), dtype, &data)
                                      : new_tensor_on(place, api, job.shape(), dtype, &data);
    if (tensor == nullptr) return nullptr;
    out = py::reinterpret_steal<py::object>(tensor);
  } else {
    const std::vector<py::ssize_t> shape(job.shape().shape, job.shape().shape + job.shape().rank);
    py::array array(py::dtype(dtype == DType::Float64 ? "float64" : "float32"), shape);
    data = array.mutable_data();
    out = array;
  }
  if (place == kHost) {
    unlocked(batch, [&] { job.run({data, dtype}); });
  } else {
    values_on(place, current_stream(args[2], place), job, {data, dtype});
  }
  return out.release().ptr();
}

// evaluate(plan, y_true, y_pred, sample_weight) -> tensor of y_pred's kind, or None when
// Python must take the general road: the result of this batch alone. The plan says how
// many numbers its state has; they are here, and gone afterwards.
PyObject* evaluate(PyObject* const* args, Py_ssize_t) {
  Plan& plan = plan_of(args[0]);
  const DLPackExchangeAPI* api = exchange_api_of(Py_TYPE(args[2]));
  if (api == nullptr && !py::isinstance<py::array>(args[2])) Py_RETURN_NONE;
  Keep keep;
  Batch batch;
  if (!borrow_batch(plan.inputs, args[1], args[2], args[3], &batch, &keep)) Py_RETURN_NONE;
  if (place_of(batch) != kHost) Py_RETURN_NONE;
  const Member& member = *plan.members[0];
  ScratchArena scratch;
  BatchWork work(plan.metrics, batch, *scratch);
  Addition addition;
  bool parallel = false;
  unlocked(batch, [&] {
    parallel = work.run();
    work.collect(0, &addition);
  });
  const std::int64_t size = std::reduce(member.sizes.begin(), member.sizes.end());
  Buffer<double, 1024> numbers;
  numbers.clear(size);
  const State state = StateMemory::part(member, numbers.data(), numbers.end());
  commit(addition, state);
  ++road_counts.evaluated;
  road_counts.parallel += parallel ? 1 : 0;
  const bool wide = member.result_dtype == DType::Float64 || batch.y_pred.dtype == DType::Float64;
  return Finished(member, state, wide ? DType::Float64 : DType::Float32).as_tensor(api);
}

PyMethodDef methods[] = {
    entry_point<update, 4, 5>("update",
                              "update(plan, y_true, y_pred, sample_weight[, unmasked]) -> bool"),
    entry_point<update_into, 5>("update_into",
                                "update_into(plan, states, y_true, y_pred, sample_weight)"),
    entry_point<accumulate, 5>("accumulate",
                               "accumulate(plan, states, y_true, y_pred, sample_weight) -> bool"),
    entry_point<result, 1>("result", "result(plan) -> tensor, dict or None"),
    entry_point<result_from, 2>("result_from", "result_from(plan, states) -> tensor, dict or None"),
    entry_point<evaluate, 4>("evaluate",
                             "evaluate(plan, y_true, y_pred, sample_weight) -> tensor or None"),
    entry_point<values, 3>("values", "values(plan, y_true, y_pred) -> tensor or None"),
    entry_point<read_state, 3>("read_state", "read_state(plan, numbers, start) -> int"),
    entry_point<result_of_numbers, 3>("result_of_numbers",
                                      "result_of_numbers(plan, numbers, start) -> tensor or None"),
    entry_point<reset, 1>("reset", "reset(plan) -> bool"),
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyMethodDef* plan_methods() { return methods; }

Plan::Plan(std::vector<std::shared_ptr<const Member>> all) : members(std::move(all)) {
  std::vector<const Metric*> found;
  for (const auto& member : members) found.push_back(&member->metric);
  inputs = found[0]->kernel.operands == Operands::Unary ? 1 : 2;
  metrics = Metrics(std::move(found));
}

void Plan::bind(const py::sequence& to) {
  for (const py::handle variable : to) {
    variables.push_back(py::reinterpret_borrow<py::object>(variable));
    fields.push_back(variable.attr("__dict__"));
  }
  if (variables.size() > kMaxVariables) throw std::logic_error("too many variables");
}

py::capsule Plan::as_capsule() && {
  return py::capsule(new Plan(std::move(*this)), kCapsule, [](PyObject* capsule) {
    delete static_cast<Plan*>(PyCapsule_GetPointer(capsule, kCapsule));
  });
}

Plan& plan_of(PyObject* capsule) {
  void* plan = PyCapsule_GetPointer(capsule, kCapsule);
  if (plan == nullptr) throw py::error_already_set();
  return *static_cast<Plan*>(plan);
}

py::capsule make_group(const py::sequence& plans, const py::sequence& names,
                       const py::sequence& variables) {
  std::vector<std::shared_ptr<const Member>> members;
  for (const py::handle capsule : plans) {
    const Plan& plan = plan_of(capsule.ptr());
    members.push_back(plan.members.at(0));
    if (plan.inputs != 2 || members.back()->sizes.empty()) {
      throw std::logic_error("a plan that cannot be part of a group");
    }
  }
  Plan group(std::move(members));
  for (const py::handle name : names) {
    group.names.push_back(py::reinterpret_borrow<py::object>(name));
  }
  group.bind(variables);
  if (group.variables.size() != 1) throw std::logic_error("a group has one variable");
  return std::move(group).as_capsule();
}

}  // namespace kt
