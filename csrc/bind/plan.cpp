#include "plan.h"

#include <dlpack/dlpack.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "../exec/threads.h"
#include "../tensor/error.h"
#include "errors.h"
#include "intake.h"

namespace py = pybind11;

namespace kt {
namespace {

constexpr const char* kCapsule = "keras_tally.plan";

Plan* plan_of(PyObject* capsule) {
  return static_cast<Plan*>(PyCapsule_GetPointer(capsule, kCapsule));
}

PyObject* interned(const char* text) { return PyUnicode_InternFromString(text); }

// Keras keeps its scopes in a thread-local that `clear_session` replaces, so it
// is looked up in its module each time.
bool in_stateless_scope(PyObject** tracker_out) {
  static PyObject* names = PyModule_GetDict(
      py::module_::import("keras.src.backend.common.global_state").release().ptr());
  static PyObject* tracker_name = interned("GLOBAL_STATE_TRACKER");
  static PyObject* scope_name = interned("stateless_scope");
  PyObject* tracker = PyDict_GetItem(names, tracker_name);
  *tracker_out = tracker;
  PyObject* scope = PyObject_GetAttr(tracker, scope_name);
  if (scope == nullptr) {
    // An unset attribute costs an exception at every look; Keras reads None the
    // same as unset.
    PyErr_Clear();
    PyObject_SetAttr(tracker, scope_name, Py_None);
    return false;
  }
  Py_DECREF(scope);
  return scope != Py_None;
}

// Masks hang on the tensor itself or, where it takes no attributes (NumPy), in
// a table of Keras's.
bool has_mask(PyObject* tensor, PyObject* tracker) {
  static PyObject* mask_name = interned("_keras_mask");
  static PyObject* table_name = interned("_keras_mask_dict");
  // A look-up that makes no exception where the attribute is missing.
  PyObject* mask = nullptr;
#if PY_VERSION_HEX >= 0x030D0000
  if (PyObject_GetOptionalAttr(tensor, mask_name, &mask) < 0) PyErr_Clear();
#else
  if (_PyObject_LookupAttr(tensor, mask_name, &mask) < 0) PyErr_Clear();
#endif
  const bool own = mask != nullptr && mask != Py_None;
  Py_XDECREF(mask);
  if (own) return true;
  if (exchange_api_of(Py_TYPE(tensor)) != nullptr || !py::isinstance<py::array>(tensor)) {
    return false;
  }
  PyObject* table = PyObject_GetAttr(tracker, table_name);
  if (table == nullptr) {
    PyErr_Clear();
    PyObject_SetAttr(tracker, table_name, Py_None);
    return false;
  }
  bool found = false;
  if (table != Py_None) {
    PyObject* key = PyLong_FromVoidPtr(tensor);
    found = key != nullptr && PyDict_Check(table) && PyDict_Contains(table, key) == 1;
    Py_XDECREF(key);
  }
  Py_DECREF(table);
  return found;
}

double* borrow_doubles(PyObject* tensor, std::int64_t* size, Keep* keep) {
  View view;
  if (!borrow_state_value(tensor, &view, keep)) return nullptr;
  if (view.dtype != DType::Float64 || !view.contiguous()) return nullptr;
  *size = view.size();
  return reinterpret_cast<double*>(const_cast<char*>(view.data));
}

// The state behind `count` tensors, without the last, which holds the low
// halves and is seldom needed.
bool borrow_high(PyObject* const* tensors, int count, State* state, Keep* keep) {
  state->count = count - 1;
  for (int i = 0; i < state->count; ++i) {
    std::int64_t size = 0;
    state->high[i] = borrow_doubles(tensors[i], &size, keep);
    if (state->high[i] == nullptr) return false;
    if (i > 0 && size != state->size) throw std::logic_error("state variables differ in size");
    state->size = size;
  }
  return true;
}

bool borrow_low(PyObject* const* tensors, int count, State* state, Keep* keep) {
  std::int64_t size = 0;
  state->low = borrow_doubles(tensors[count - 1], &size, keep);
  if (state->low == nullptr) return false;
  if (size != state->size * state->count) throw std::logic_error("compensation has another size");
  return true;
}

bool borrow_state(PyObject* const* tensors, int count, State* state, Keep* keep) {
  return borrow_high(tensors, count, state, keep) && borrow_low(tensors, count, state, keep);
}

constexpr int kMaxVariables = 5;

// The values of the plan's variables, new references; false when one has none.
class Values {
 public:
  explicit Values(const Plan& plan) {
    static PyObject* value_name = interned("_value");
    for (const py::object& fields : plan.fields) {
      PyObject* value = PyDict_GetItemWithError(fields.ptr(), value_name);
      if (value == nullptr || value == Py_None) {
        complete_ = false;
        return;
      }
      Py_INCREF(value);
      tensors_[count_++] = value;
    }
  }
  ~Values() {
    for (int i = 0; i < count_; ++i) Py_DECREF(tensors_[i]);
  }
  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;

  bool complete() const { return complete_; }
  PyObject* const* tensors() const { return tensors_; }
  int count() const { return count_; }

 private:
  PyObject* tensors_[kMaxVariables];
  int count_ = 0;
  bool complete_ = true;
};

bool borrow_batch(const Plan& plan, PyObject* y_true, PyObject* y_pred, PyObject* sample_weight,
                  Batch* batch, Keep* keep) {
  if (plan.inputs == 2) {
    if (!borrow(y_true, "y_true", &batch->y_true, keep)) return false;
    if (!borrow(y_pred, "y_pred", &batch->y_pred, keep)) return false;
  } else {
    if (!borrow(y_pred, "values", &batch->y_pred, keep)) return false;
  }
  if (sample_weight == Py_None) return true;
  batch->has_weight = true;
  return borrow(sample_weight, "sample_weight", &batch->sample_weight, keep);
}

// False, and nothing added, when the state cannot be borrowed.
bool add_batch(const Plan& plan, const Batch& batch, PyObject* const* tensors, int count,
               Keep* keep) {
  Addition addition;
  if (batch.y_pred.size() >= kParallelThreshold) {
    py::gil_scoped_release release;
    compute(plan.metric, batch, &addition);
  } else {
    compute(plan.metric, batch, &addition);
  }
  // With the interpreter's lock held: two threads cannot add to one state at once.
  State state;
  if (!borrow_high(tensors, count, &state, keep)) return false;
  if (!commit_high(plan.metric, addition, state)) {
    if (!borrow_low(tensors, count, &state, keep)) return false;
    commit(plan.metric, addition, state);
  }
  road_counts.parallel += addition.parallel ? 1 : 0;
  return true;
}

// update(plan, y_true, y_pred, sample_weight) -> bool
// True: added in place. False: Python must take the general road.
PyObject* update(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 4) throw TypeMistake("update() takes 4 arguments");
    Plan* plan = plan_of(args[0]);
    if (plan == nullptr) return nullptr;
    PyObject* tracker = nullptr;
    if (in_stateless_scope(&tracker)) Py_RETURN_FALSE;
    if (plan->sees_mask && (!plan->mask_only_with_weight || args[3] != Py_None) &&
        has_mask(args[2], tracker)) {
      Py_RETURN_FALSE;
    }
    Keep keep;
    Batch batch;
    if (!borrow_batch(*plan, args[1], args[2], args[3], &batch, &keep)) Py_RETURN_FALSE;
    const Values values(*plan);
    if (!values.complete() || !add_batch(*plan, batch, values.tensors(), values.count(), &keep)) {
      Py_RETURN_FALSE;
    }
    ++road_counts.in_place;
    Py_RETURN_TRUE;
  });
}

// update_into(plan, states, y_true, y_pred, sample_weight): adds to the given
// arrays, which stand for the plan's variables.
PyObject* update_into(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 5) throw TypeMistake("update_into() takes 5 arguments");
    Plan* plan = plan_of(args[0]);
    if (plan == nullptr) return nullptr;
    Keep keep;
    Batch batch;
    const auto states = py::reinterpret_borrow<py::list>(args[1]);
    PyObject* tensors[kMaxVariables];
    int found = 0;
    for (const py::handle item : states) {
      if (found == kMaxVariables) throw std::logic_error("too many state arrays");
      tensors[found++] = item.ptr();
    }
    if (!borrow_batch(*plan, args[2], args[3], args[4], &batch, &keep)) {
      throw TypeMistake("the inputs must be tensors in host memory");
    }
    if (!add_batch(*plan, batch, tensors, found, &keep)) {
      throw std::logic_error("the state is not made of contiguous float64 arrays in host memory");
    }
    ++road_counts.pure;
    Py_RETURN_NONE;
  });
}

DLDataType dlpack_dtype(DType dtype) {
  const auto bits = static_cast<std::uint8_t>(8 * item_size(dtype));
  if (dtype == DType::BFloat16) return {kDLBfloat, bits, 1};
  if (dtype == DType::Bool) return {kDLBool, bits, 1};
  if (dtype >= DType::Float16) return {kDLFloat, bits, 1};
  return {static_cast<std::uint8_t>(dtype <= DType::UInt64 ? kDLUInt : kDLInt), bits, 1};
}

void set_error(void*, const char*, const char* message) {
  PyErr_SetString(PyExc_RuntimeError, message);
}

// A new float32 or float64 tensor of the type that `like` has.
PyObject* new_tensor(const DLPackExchangeAPI* api, const double* results, std::int64_t size,
                     bool scalar, DType dtype) {
  std::int64_t shape[1] = {size}, strides[1] = {1};
  DLTensor prototype = {};
  prototype.device = {kDLCPU, 0};
  prototype.ndim = scalar ? 0 : 1;
  prototype.dtype = dlpack_dtype(dtype);
  prototype.shape = shape;
  prototype.strides = strides;
  DLManagedTensorVersioned* managed = nullptr;
  if (api->managed_tensor_allocator(&prototype, &managed, nullptr, set_error) != 0) return nullptr;
  char* data = static_cast<char*>(managed->dl_tensor.data) + managed->dl_tensor.byte_offset;
  for (std::int64_t i = 0; i < size; ++i) {
    if (dtype == DType::Float32) {
      reinterpret_cast<float*>(data)[i] = static_cast<float>(results[i]);
    } else {
      reinterpret_cast<double*>(data)[i] = results[i];
    }
  }
  void* object = nullptr;
  if (api->managed_tensor_to_py_object_no_sync(managed, &object) != 0) return nullptr;
  return static_cast<PyObject*>(object);
}

PyObject* new_numpy(const Plan& plan, const double* results, std::int64_t size, bool scalar) {
  if (scalar && plan.numpy_results && plan.result_dtype == DType::Float32) {
    static PyObject* float32 =
        py::object(py::module_::import("numpy").attr("float32")).release().ptr();
    PyObject* number = PyFloat_FromDouble(results[0]);
    if (number == nullptr) return nullptr;
    PyObject* out = PyObject_CallOneArg(float32, number);
    Py_DECREF(number);
    return out;
  }
  std::vector<py::ssize_t> shape;
  if (!scalar) shape.push_back(size);
  py::array_t<double> array(shape);
  std::copy(results, results + size, array.mutable_data());
  // Python finishes: other dtypes, other frameworks.
  return plan.wrap_result(array).release().ptr();
}

PyObject* result_of(const Plan& plan, PyObject* const* tensors, int count) {
  Keep keep;
  State state;
  // The low halves count: where sums cancel, they may be all that is left.
  if (!borrow_state(tensors, count, &state, &keep)) Py_RETURN_NONE;
  const bool scalar = scalar_result(plan.metric, state);
  const std::int64_t size = scalar ? 1 : state.size;
  double few[8];
  std::vector<double> many(size > 8 ? static_cast<std::size_t>(size) : std::size_t{0});
  double* results = size > 8 ? many.data() : few;
  finish(plan.metric, state, results);
  const bool plain = plan.result_dtype == DType::Float32 || plan.result_dtype == DType::Float64;
  const DLPackExchangeAPI* api = exchange_api_of(Py_TYPE(tensors[0]));
  if (plain && api != nullptr) return new_tensor(api, results, size, scalar, plan.result_dtype);
  return new_numpy(plan, results, size, scalar);
}

// result(plan) -> tensor, or None when Python must take the general road.
PyObject* result(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 1) throw TypeMistake("result() takes 1 argument");
    Plan* plan = plan_of(args[0]);
    if (plan == nullptr) return nullptr;
    PyObject* tracker = nullptr;
    if (in_stateless_scope(&tracker)) Py_RETURN_NONE;
    const Values values(*plan);
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

// reset(plan) -> bool: zeroes the variables in place.
PyObject* reset(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 1) throw TypeMistake("reset() takes 1 argument");
    Plan* plan = plan_of(args[0]);
    if (plan == nullptr) return nullptr;
    PyObject* tracker = nullptr;
    if (in_stateless_scope(&tracker)) Py_RETURN_FALSE;
    const Values values(*plan);
    Keep keep;
    State state;
    if (!values.complete() || !borrow_state(values.tensors(), values.count(), &state, &keep)) {
      Py_RETURN_FALSE;
    }
    for (int i = 0; i < state.count; ++i) std::fill_n(state.high[i], state.size, 0.0);
    std::fill_n(state.low, state.size * state.count, 0.0);
    Py_RETURN_TRUE;
  });
}

template <class T>
bool read(const py::dict& options, const char* name, T* into) {
  if (!options.contains(name) || options[name].is_none()) return false;
  *into = py::cast<T>(options[name]);
  return true;
}

DType dtype_named(const std::string& name) {
  static const std::pair<const char*, DType> names[] = {
      {"bool", DType::Bool},       {"uint8", DType::UInt8},       {"uint16", DType::UInt16},
      {"uint32", DType::UInt32},   {"uint64", DType::UInt64},     {"int8", DType::Int8},
      {"int16", DType::Int16},     {"int32", DType::Int32},       {"int64", DType::Int64},
      {"float16", DType::Float16}, {"bfloat16", DType::BFloat16}, {"float32", DType::Float32},
      {"float64", DType::Float64},
  };
  for (const auto& [known, dtype] : names) {
    if (name == known) return dtype;
  }
  throw ValueMistake("`dtype` must be a bool, integer or float dtype. Received: dtype=" + name);
}

template <class E>
E one_of(const std::string& value, std::initializer_list<std::pair<const char*, E>> names) {
  for (const auto& [known, meaning] : names) {
    if (value == known) return meaning;
  }
  throw std::logic_error("unknown option value " + value);
}

void read_thresholds(const py::dict& options, Thresholds* out) {
  std::vector<double> given;
  if (!read(options, "thresholds", &given)) return;
  read(options, "even", &out->even);
  read(options, "first_always_passed", &out->first_always_passed);
  read(options, "double_precision", &out->double_precision);
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

PyMethodDef methods[] = {
    {"update", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(update)), METH_FASTCALL,
     "update(plan, y_true, y_pred, sample_weight) -> bool"},
    {"update_into", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(update_into)),
     METH_FASTCALL, "update_into(plan, states, y_true, y_pred, sample_weight)"},
    {"result", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(result)), METH_FASTCALL,
     "result(plan) -> tensor or None"},
    {"result_from", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(result_from)),
     METH_FASTCALL, "result_from(plan, states) -> tensor or None"},
    {"reset", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(reset)), METH_FASTCALL,
     "reset(plan) -> bool"},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyMethodDef* plan_methods() { return methods; }

py::capsule make_plan(const std::string& kernel, const std::string& result,
                      const py::sequence& variables, const py::dict& options) {
  auto plan = std::make_unique<Plan>();
  Metric& metric = plan->metric;
  metric.kernel = find_kernel(kernel);
  metric.result = one_of<Result>(result, {{"mean", Result::Mean},
                                          {"sum", Result::Sum},
                                          {"root_mean", Result::RootMean},
                                          {"counts", Result::Counts},
                                          {"ratio", Result::Ratio},
                                          {"auc", Result::Auc}});
  for (const py::handle variable : variables) {
    plan->variables.push_back(py::reinterpret_borrow<py::object>(variable));
    plan->fields.push_back(variable.attr("__dict__"));
  }
  if (plan->variables.size() < 2 || plan->variables.size() > kMaxVariables) {
    throw std::logic_error("a plan needs 1 to 4 variables and their compensation");
  }
  read(options, "sees_mask", &plan->sees_mask);
  read(options, "mask_only_with_weight", &plan->mask_only_with_weight);
  plan->inputs = metric.kernel.operands == Operands::Unary ? 1 : 2;
  std::string name;
  if (read(options, "result_dtype", &name)) plan->result_dtype = dtype_named(name);
  read(options, "numpy_results", &plan->numpy_results);
  plan->wrap_result = py::reinterpret_borrow<py::object>(options["wrap_result"]);

  Params& params = metric.params;
  read(options, "threshold", &params.threshold);
  read(options, "label_smoothing", &params.label_smoothing);
  read(options, "epsilon", &metric.epsilon);
  read(options, "from_logits", &params.from_logits);
  params.has_ignore_class = read(options, "ignore_class", &params.ignore_class);
  read(options, "k", &params.k);
  read(options, "mean_over_last_axis", &metric.mean_over_last_axis);
  read(options, "labels_in_scores_dtype", &metric.labels_in_scores_dtype);
  read(options, "threshold_in_scores_dtype", &metric.threshold_in_scores_dtype);
  if (read(options, "value_dtype", &name)) {
    metric.has_value_dtype = true;
    metric.value_dtype = dtype_named(name);
  }
  read(options, "axis", &metric.axis);
  read(options, "k_within_classes", &metric.k_within_classes);
  read_thresholds(options, &metric.thresholds);
  read(options, "labels", &metric.labels);
  read(options, "multi_label", &metric.multi_label);
  metric.has_class_id = read(options, "class_id", &metric.class_id);
  read(options, "top_k", &metric.top_k);
  read(options, "poison_on_nan", &metric.poison_on_nan);
  read(options, "label_weights", &metric.label_weights);
  std::vector<std::string> cells;
  read(options, "cells", &cells);
  for (const std::string& cell : cells) {
    metric.cells.push_back(one_of<Cell>(cell, {{"tp", Cell::TruePositives},
                                               {"fp", Cell::FalsePositives},
                                               {"fn", Cell::FalseNegatives},
                                               {"tn", Cell::TrueNegatives}}));
  }
  if (read(options, "curve", &name)) {
    metric.curve =
        one_of<Curve>(name, {{"ROC", Curve::Roc}, {"PR", Curve::Pr}, {"PRGAIN", Curve::PrGain}});
  }
  if (read(options, "summation_method", &name)) {
    metric.summation = one_of<Summation>(name, {{"interpolation", Summation::Interpolation},
                                                {"minoring", Summation::Minoring},
                                                {"majoring", Summation::Majoring}});
  }
  return py::capsule(plan.release(), kCapsule, [](PyObject* capsule) {
    delete static_cast<Plan*>(PyCapsule_GetPointer(capsule, kCapsule));
  });
}

}  // namespace kt
