#include "plan.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "../exec/buffer.h"
#include "../exec/threads.h"
#include "../exec/work.h"
#include "../tensor/error.h"
#include "calls.h"
#include "errors.h"
#include "intake.h"

namespace py = pybind11;

namespace kt {
namespace {

// The state behind `count` tensors, and where it is; the last of them holds the low
// halves, which are seldom needed, unless the variables are integers.
bool borrow_variables(const Plan& plan, PyObject* const* tensors, int count, State* state,
                      Keep* keep, int* place) {
  if (!plan.sizes.empty()) {
    std::int64_t both = 0;
    double* high = borrow_numbers<double>(tensors[0], DType::Float64, &both, keep, place);
    if (high == nullptr) return false;
    lay_out(plan, high, both / 2, state);
    return true;
  }
  state->count = plan.whole ? count : count - 1;
  for (int i = 0; i < state->count; ++i) {
    State::Variable& variable = state->variables[i];
    int own = kHost;
    if (plan.whole) {
      variable.whole =
          borrow_numbers<std::int64_t>(tensors[i], DType::Int64, &variable.size, keep, &own);
      if (variable.whole == nullptr) return false;
    } else {
      variable.high =
          borrow_numbers<double>(tensors[i], DType::Float64, &variable.size, keep, &own);
      if (variable.high == nullptr) return false;
    }
    if (i > 0 && own != *place) return false;
    *place = own;
  }
  return true;
}

bool borrow_low(const Plan& plan, PyObject* const* tensors, State* state, Keep* keep, int place) {
  if (state->whole() || !plan.sizes.empty()) return true;
  std::int64_t size = 0, stride = 0;
  int own = kHost;
  double* low = borrow_numbers<double>(tensors[state->count], DType::Float64, &size, keep, &own);
  if (low == nullptr || own != place) return false;
  for (int v = 0; v < state->count; ++v) stride = std::max(stride, state->variables[v].size);
  if (size != stride * state->count) throw std::logic_error("compensation has another size");
  for (int v = 0; v < state->count; ++v) state->variables[v].low = low + v * stride;
  return true;
}

bool borrow_state(const Plan& plan, PyObject* const* tensors, int count, State* state, Keep* keep,
                  int* place) {
  return borrow_variables(plan, tensors, count, state, keep, place) &&
         borrow_low(plan, tensors, state, keep, *place);
}

// On a device: launches, and waits for nothing.
bool add_batch_on(int device, const Plan& plan, const Batch& batch, PyObject* const* tensors,
                  int count, Keep* keep) {
  State state;
  int place = kHost;
  if (!borrow_state(plan, tensors, count, &state, keep, &place)) return false;
  if (!same_place(device, place)) return false;
  AnyWork room;
  DeviceUpdate update(device, current_stream(tensors[0], device));
  update.add(plan.metric, make_work(plan.metric, batch, &room),
             plan.constants.on(device, plan.metric), state);
  update.run();
  return true;
}

// What a batch in host memory adds, which points into `room`; returns whether several
// threads worked.
bool compute(const Plan& plan, const Batch& batch, AnyWork* room, Addition* addition) {
  bool parallel = false;
  unlocked(batch, [&] {
    Work& work = make_work(plan.metric, batch, room);
    parallel = work.run();
    work.collect(plan.metric, addition);
  });
  return parallel;
}

// False, and nothing added, when the state cannot be borrowed or is elsewhere.
bool add_batch(const Plan& plan, const Batch& batch, PyObject* const* tensors, int count,
               Keep* keep) {
  const int batch_place = place_of(batch);
  if (batch_place == kSeveralPlaces) return false;
  if (batch_place != kHost) return add_batch_on(batch_place, plan, batch, tensors, count, keep);
  AnyWork room;
  Addition addition;
  const bool parallel = compute(plan, batch, &room, &addition);
  // With the interpreter's lock held: two threads cannot add to one state at once.
  State state;
  int place = kHost;
  if (!borrow_variables(plan, tensors, count, &state, keep, &place)) return false;
  if (!same_place(batch_place, place)) return false;
  if (!commit_high(addition, state)) {
    if (!borrow_low(plan, tensors, &state, keep, place)) return false;
    commit(addition, state);
  }
  road_counts.parallel += parallel ? 1 : 0;
  return true;
}

// update(plan, y_true, y_pred, sample_weight[, unmasked]) -> bool
// True: added in place. False: Python must take the general road. With `unmasked` it has
// done so: y_pred's mask is part of the weights.
PyObject* update(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 4 && count != 5) throw TypeMistake("update() takes 4 or 5 arguments");
    Plan* plan = plan_of(args[0]);
    if (plan == nullptr) return nullptr;
    PyObject* tracker = nullptr;
    if (in_stateless_scope(&tracker)) Py_RETURN_FALSE;
    if (count == 4 && has_mask(args[2], tracker)) Py_RETURN_FALSE;
    Keep keep;
    Batch batch;
    if (!borrow_batch(plan->inputs, args[1], args[2], args[3], &batch, &keep)) Py_RETURN_FALSE;
    const Values values(plan->fields);
    if (!values.complete() || !add_batch(*plan, batch, values.tensors(), values.count(), &keep)) {
      Py_RETURN_FALSE;
    }
    ++road_counts.in_place;
    Py_RETURN_TRUE;
  });
}

enum class Into { Added, NoInputs, NoState };  // the others: what cannot be borrowed

// Adds to given arrays, which stand for the plan's variables, or adds nothing.
Into add_into(const Plan& plan, PyObject* given, PyObject* const* inputs,
              const char** unread = nullptr) {
  Keep keep;
  Batch batch;
  const auto states = py::reinterpret_borrow<py::list>(given);
  PyObject* tensors[kMaxVariables];
  int found = 0;
  for (const py::handle item : states) {
    if (found == kMaxVariables) throw std::logic_error("too many state arrays");
    tensors[found++] = item.ptr();
  }
  if (!borrow_batch(plan.inputs, inputs[0], inputs[1], inputs[2], &batch, &keep, unread)) {
    return Into::NoInputs;
  }
  return add_batch(plan, batch, tensors, found, &keep) ? Into::Added : Into::NoState;
}

// update_into(plan, states, y_true, y_pred, sample_weight)
PyObject* update_into(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 5) throw TypeMistake("update_into() takes 5 arguments");
    Plan* plan = plan_of(args[0]);
    if (plan == nullptr) return nullptr;
    const char* unread = nullptr;
    switch (add_into(*plan, args[1], args + 2, &unread)) {
      case Into::NoInputs:
        refuse_unread(unread);
      case Into::NoState:
        throw std::logic_error(
            "the state is not made of contiguous arrays of its dtype where the inputs are");
      case Into::Added:
        break;
    }
    ++road_counts.pure;
    Py_RETURN_NONE;
  });
}

// accumulate(plan, states, y_true, y_pred, sample_weight) -> bool
// True: added. False: Python must take the general road.
PyObject* accumulate(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 5) throw TypeMistake("accumulate() takes 5 arguments");
    Plan* plan = plan_of(args[0]);
    if (plan == nullptr) return nullptr;
    if (add_into(*plan, args[1], args + 2) != Into::Added) Py_RETURN_FALSE;
    ++road_counts.in_place;
    Py_RETURN_TRUE;
  });
}

PyObject* result_of(const Plan& plan, PyObject* const* tensors, int count) {
  Keep keep;
  State state;
  int place = kHost;
  // The low halves count: where sums cancel, they may be all that is left.
  if (!borrow_state(plan, tensors, count, &state, &keep, &place)) Py_RETURN_NONE;
  if (place != kHost) return finished_on(place, plan, state, tensors[0]);
  const Finished results(plan, state);
  const DLPackExchangeAPI* api = exchange_api_of(Py_TYPE(tensors[0]));
  return results.as_tensor(api);
}

// result(plan) -> tensor, or None when Python must take the general road.
PyObject* result(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 1) throw TypeMistake("result() takes 1 argument");
    Plan* plan = plan_of(args[0]);
    if (plan == nullptr) return nullptr;
    PyObject* tracker = nullptr;
    if (in_stateless_scope(&tracker)) Py_RETURN_NONE;
    const Values values(plan->fields);
    if (!values.complete()) Py_RETURN_NONE;
    return result_of(*plan, values.tensors(), values.count());
  });
}

// result_from(plan, states) -> tensor of the given state arrays.
PyObject* result_from(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 2) throw TypeMistake("result_from() takes 2 arguments");
    Plan* plan = plan_of(args[0]);
    if (plan == nullptr) return nullptr;
    PyObject* tensors[kMaxVariables];
    int found = 0;
    for (const py::handle item : py::reinterpret_borrow<py::list>(args[1])) {
      if (found == kMaxVariables) throw std::logic_error("too many state arrays");
      tensors[found++] = item.ptr();
    }
    return result_of(*plan, tensors, found);
  });
}

// What an array of two rows, high halves and low ones, holds of a plan's state.
class Pairs {
 public:
  Pairs(PyObject* array, PyObject* column, Keep* keep) : at_(PyLong_AsSsize_t(column)) {
    const bool taken = borrow_state_value(array, &view_, keep);
    if (!taken || view_.rank != 2 || view_.shape[0] != 2 || !view_.contiguous() ||
        view_.dtype != DType::Float64 || at_ < 0) {
      throw std::logic_error("no array of pairs");
    }
  }

  bool fits(std::int64_t size) const { return at_ + size <= view_.shape[1]; }

  // The places of the next `size` numbers.
  State::Variable next(std::int64_t size) {
    State::Variable variable;
    variable.size = size;
    variable.high = reinterpret_cast<double*>(const_cast<char*>(view_.data)) + at_;
    variable.low = variable.high + view_.shape[1];
    at_ += size;
    return variable;
  }

 private:
  View view_;
  std::int64_t at_;
};

// The plan's state in host memory; false: Python must read it.
bool borrow_host_state(const Plan& plan, const Values& values, State* state, Keep* keep,
                       std::int64_t* size) {
  int place = kHost;
  if (!values.complete() ||
      !borrow_state(plan, values.tensors(), values.count(), state, keep, &place) ||
      place != kHost) {
    return false;
  }
  *size = 0;
  for (int v = 0; v < state->count; ++v) *size += state->variables[v].size;
  return true;
}

// read_pairs(plan, pairs, column) -> how many numbers the state has, as pairs of halves from
// this column on; where they do not fit, none is written. -1: Python must read them.
PyObject* read_pairs(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 3) throw TypeMistake("read_pairs() takes 3 arguments");
    Plan* plan = plan_of(args[0]);
    if (plan == nullptr) return nullptr;
    Keep keep;
    Pairs pairs(args[1], args[2], &keep);
    const Values values(plan->fields);
    State state;
    std::int64_t size = 0;
    if (!borrow_host_state(*plan, values, &state, &keep, &size)) return PyLong_FromLong(-1);
    constexpr std::int64_t kCoarse = std::int64_t{1} << 48;  // as defs/state.h has it
    const int copied = pairs.fits(size) ? state.count : 0;
    for (int v = 0; v < copied; ++v) {
      const State::Variable& from = state.variables[v];
      const State::Variable to = pairs.next(from.size);
      if (from.whole == nullptr) {
        std::copy_n(from.high, from.size, to.high);
        std::copy_n(from.low, from.size, to.low);
        continue;
      }
      for (std::int64_t i = 0; i < from.size; ++i) {
        const std::int64_t low = std::abs(from.whole[i]) < kCoarse ? 0 : from.whole[i] % 4096;
        to.high[i] = static_cast<double>(from.whole[i] - low);
        to.low[i] = static_cast<double>(low);
      }
    }
    return PyLong_FromLongLong(size);
  });
}

// result_of_pairs(plan, pairs, column) -> the result for another state; None: Python must
// compute it.
PyObject* result_of_pairs(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 3) throw TypeMistake("result_of_pairs() takes 3 arguments");
    Plan* plan = plan_of(args[0]);
    if (plan == nullptr) return nullptr;
    Keep keep;
    Pairs pairs(args[1], args[2], &keep);
    const Values values(plan->fields);
    State state;
    std::int64_t size = 0;
    if (!borrow_host_state(*plan, values, &state, &keep, &size) || state.whole()) Py_RETURN_NONE;
    if (!pairs.fits(size)) throw std::logic_error("too few pairs for this plan");
    for (int v = 0; v < state.count; ++v) {
      state.variables[v] = pairs.next(state.variables[v].size);
    }
    const Finished results(*plan, state);
    return results.as_tensor(exchange_api_of(Py_TYPE(values.tensors()[0])));
  });
}

void clear_state_on(int device, const State& state, void* stream) {
  for (int i = 0; i < state.count; ++i) {
    const State::Variable& v = state.variables[i];
    const auto bytes = static_cast<std::size_t>(v.size) * 8;
    if (v.whole != nullptr) {
      clear_on(device, stream, v.whole, bytes);
    } else {
      clear_on(device, stream, v.high, bytes);
      clear_on(device, stream, v.low, bytes);
    }
  }
}

// reset(plan) -> bool: zeroes the variables in place.
PyObject* reset(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 1) throw TypeMistake("reset() takes 1 argument");
    Plan* plan = plan_of(args[0]);
    if (plan == nullptr) return nullptr;
    PyObject* tracker = nullptr;
    if (in_stateless_scope(&tracker)) Py_RETURN_FALSE;
    const Values values(plan->fields);
    Keep keep;
    State state;
    int place = kHost;
    if (!values.complete() ||
        !borrow_state(*plan, values.tensors(), values.count(), &state, &keep, &place)) {
      Py_RETURN_FALSE;
    }
    if (place != kHost) {
      clear_state_on(place, state, current_stream(values.tensors()[0], place));
      Py_RETURN_TRUE;
    }
    for (int i = 0; i < state.count; ++i) {
      const State::Variable& variable = state.variables[i];
      if (variable.whole != nullptr) {
        std::fill_n(variable.whole, variable.size, 0);
      } else {
        std::fill_n(variable.high, variable.size, 0.0);
        std::fill_n(variable.low, variable.size, 0.0);
      }
    }
    Py_RETURN_TRUE;
  });
}

// values(plan, y_true, y_pred) -> tensor, or None when Python must take the
// general road: the plan's kernel on each element or row, nothing accumulated.
PyObject* values(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 3) throw TypeMistake("values() takes 3 arguments");
    Plan* plan = plan_of(args[0]);
    if (plan == nullptr) return nullptr;
    Keep keep;
    Batch batch;
    if (!borrow_batch(plan->inputs, args[1], args[2], Py_None, &batch, &keep)) Py_RETURN_NONE;
    const int place = place_of(batch);
    if (place == kSeveralPlaces) Py_RETURN_NONE;
    const ValuesJob job(plan->metric, batch);
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
  });
}

// add_exactly(high, low, value) -> bool: adds to two arrays of float64 on the host, whose
// sum it is. False: Python must do it.
PyObject* add_exactly(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 3) throw TypeMistake("add_exactly() takes 3 arguments");
    Keep keep;
    View value;
    std::int64_t size = 0, low_size = 0;
    int place = kHost, low_place = kHost;
    double* high = borrow_numbers<double>(args[0], DType::Float64, &size, &keep, &place);
    double* low = borrow_numbers<double>(args[1], DType::Float64, &low_size, &keep, &low_place);
    if (high == nullptr || low == nullptr || size != low_size || place != kHost ||
        low_place != kHost || !borrow(args[2], "value", &value, &keep)) {
      Py_RETURN_FALSE;
    }
    if (value.device != kHost || (value.rank > 0 && value.size() != size) || !value.contiguous()) {
      Py_RETURN_FALSE;
    }
    const Level& level = active_level();
    Buffer<double, 64> numbers(size);
    level.to_float64(value.data, value.dtype, value.rank > 0 ? 1 : 0, size, numbers.data());
    level.accumulate(high, low, numbers.data(), size);
    Py_RETURN_TRUE;
  });
}

// evaluate(plan, y_true, y_pred, sample_weight) -> tensor of y_pred's kind, or None when
// Python must take the general road: the result of this batch alone. The plan says how
// many numbers its state has; they are here, and gone afterwards.
PyObject* evaluate(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 4) throw TypeMistake("evaluate() takes 4 arguments");
    Plan* plan = plan_of(args[0]);
    if (plan == nullptr) return nullptr;
    const DLPackExchangeAPI* api = exchange_api_of(Py_TYPE(args[2]));
    if (api == nullptr && !py::isinstance<py::array>(args[2])) Py_RETURN_NONE;
    Keep keep;
    Batch batch;
    if (!borrow_batch(plan->inputs, args[1], args[2], args[3], &batch, &keep)) Py_RETURN_NONE;
    if (place_of(batch) != kHost) Py_RETURN_NONE;
    AnyWork room;
    Addition addition;
    const bool parallel = compute(*plan, batch, &room, &addition);
    const std::int64_t row = std::reduce(plan->sizes.begin(), plan->sizes.end());
    Buffer<double, 2048> numbers;
    numbers.clear(2 * row);
    State state;
    lay_out(*plan, numbers.data(), row, &state);
    if (!commit_high(addition, state)) commit(addition, state);
    ++road_counts.evaluated;
    road_counts.parallel += parallel ? 1 : 0;
    const bool wide = plan->result_dtype == DType::Float64 || batch.y_pred.dtype == DType::Float64;
    const DType dtype = wide ? DType::Float64 : DType::Float32;
    return Finished(*plan, state, dtype).as_tensor(api);
  });
}

PyMethodDef methods[] = {
    entry_point("update", update,
                "update(plan, y_true, y_pred, sample_weight[, unmasked]) -> bool"),
    entry_point("update_into", update_into,
                "update_into(plan, states, y_true, y_pred, sample_weight)"),
    entry_point("accumulate", accumulate,
                "accumulate(plan, states, y_true, y_pred, sample_weight) -> bool"),
    entry_point("result", result, "result(plan) -> tensor or None"),
    entry_point("result_from", result_from, "result_from(plan, states) -> tensor or None"),
    entry_point("evaluate", evaluate,
                "evaluate(plan, y_true, y_pred, sample_weight) -> tensor or None"),
    entry_point("values", values, "values(plan, y_true, y_pred) -> tensor or None"),
    entry_point("add_exactly", add_exactly, "add_exactly(high, low, value) -> bool"),
    entry_point("read_pairs", read_pairs, "read_pairs(plan, pairs, column) -> int"),
    entry_point("result_of_pairs", result_of_pairs,
                "result_of_pairs(plan, pairs, column) -> tensor or None"),
    entry_point("reset", reset, "reset(plan) -> bool"),
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyMethodDef* plan_methods() { return methods; }

}  // namespace kt
