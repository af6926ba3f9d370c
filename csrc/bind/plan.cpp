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

// The state behind `count` tensors; the last of them holds the low halves, which
// are seldom needed, unless the variables are integers.
bool borrow_variables(PyObject* const* tensors, int count, bool whole, State* state, Keep* keep) {
  state->count = whole ? count : count - 1;
  for (int i = 0; i < state->count; ++i) {
    View view;
    if (!borrow_state_value(tensors[i], &view, keep) || !view.contiguous()) return false;
    if (view.dtype != (whole ? DType::Int64 : DType::Float64)) return false;
    State::Variable& variable = state->variables[i];
    variable.size = view.size();
    void* data = const_cast<char*>(view.data);
    if (whole) {
      variable.whole = static_cast<std::int64_t*>(data);
    } else {
      variable.high = static_cast<double*>(data);
    }
    state->low_stride = std::max(state->low_stride, variable.size);
  }
  return true;
}

bool borrow_low(PyObject* const* tensors, State* state, Keep* keep) {
  if (state->whole()) return true;
  View view;
  if (!borrow_state_value(tensors[state->count], &view, keep) || !view.contiguous()) return false;
  if (view.dtype != DType::Float64) return false;
  if (view.size() != state->low_stride * state->count) {
    throw std::logic_error("compensation has another size");
  }
  state->low = reinterpret_cast<double*>(const_cast<char*>(view.data));
  return true;
}

bool borrow_state(PyObject* const* tensors, int count, bool whole, State* state, Keep* keep) {
  return borrow_variables(tensors, count, whole, state, keep) && borrow_low(tensors, state, keep);
}

constexpr int kMaxVariables = kMaxState + 1;

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
  if (!borrow_variables(tensors, count, plan.whole, &state, keep)) return false;
  if (!commit_high(addition, state)) {
    if (!borrow_low(tensors, &state, keep)) return false;
    commit(addition, state);
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
      throw std::logic_error(
          "the state is not made of contiguous arrays of its dtype in host memory");
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

// A new float32 or float64 tensor of the type whose API it is; `data` is where
// its numbers go.
PyObject* new_tensor(const DLPackExchangeAPI* api, const View& shape, DType dtype, void** data) {
  std::int64_t strides[kMaxRank], size = 1;
  for (int d = shape.rank - 1; d >= 0; --d) {
    strides[d] = size;
    size *= shape.shape[d];
  }
  DLTensor prototype = {};
  prototype.device = {kDLCPU, 0};
  prototype.ndim = shape.rank;
  prototype.dtype = dlpack_dtype(dtype);
  prototype.shape = const_cast<std::int64_t*>(shape.shape);
  prototype.strides = strides;
  DLManagedTensorVersioned* managed = nullptr;
  if (api->managed_tensor_allocator(&prototype, &managed, nullptr, set_error) != 0) return nullptr;
  *data = static_cast<char*>(managed->dl_tensor.data) + managed->dl_tensor.byte_offset;
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
  if (!borrow_state(tensors, count, plan.whole, &state, &keep)) Py_RETURN_NONE;
  const bool scalar = scalar_result(plan.metric, state);
  const std::int64_t size = scalar ? 1 : state.variables[state.count - 1].size;
  double few[8];
  std::vector<double> many(size > 8 ? static_cast<std::size_t>(size) : std::size_t{0});
  double* results = size > 8 ? many.data() : few;
  finish(plan.metric, state, results);
  const bool plain = plan.result_dtype == DType::Float32 || plan.result_dtype == DType::Float64;
  const DLPackExchangeAPI* api = exchange_api_of(Py_TYPE(tensors[0]));
  if (plain && api != nullptr) {
    View shape;
    shape.rank = scalar ? 0 : 1;
    shape.shape[0] = size;
    void* data = nullptr;
    PyObject* out = new_tensor(api, shape, plan.result_dtype, &data);
    if (out != nullptr) Output{data, plan.result_dtype}.write(0, results, size);
    return out;
  }
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
    if (!values.complete() ||
        !borrow_state(values.tensors(), values.count(), plan->whole, &state, &keep)) {
      Py_RETURN_FALSE;
    }
    for (int i = 0; i < state.count; ++i) {
      const State::Variable& variable = state.variables[i];
      if (variable.whole != nullptr) {
        std::fill_n(variable.whole, variable.size, 0);
      } else {
        std::fill_n(variable.high, variable.size, 0.0);
      }
    }
    if (state.low != nullptr) std::fill_n(state.low, state.low_stride * state.count, 0.0);
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
    if (!borrow_batch(*plan, args[1], args[2], Py_None, &batch, &keep)) Py_RETURN_NONE;
    const ValuesJob job(plan->metric, batch);
    const DType dtype = batch.y_pred.dtype == DType::Float64 ? DType::Float64 : DType::Float32;
    const DLPackExchangeAPI* api = exchange_api_of(Py_TYPE(args[2]));
    void* data = nullptr;
    py::object out;
    if (api != nullptr) {
      PyObject* tensor = new_tensor(api, job.shape(), dtype, &data);
      if (tensor == nullptr) return nullptr;
      out = py::reinterpret_steal<py::object>(tensor);
    } else {
      const std::vector<py::ssize_t> shape(job.shape().shape, job.shape().shape + job.shape().rank);
      py::array array(py::dtype(dtype == DType::Float64 ? "float64" : "float32"), shape);
      data = array.mutable_data();
      out = array;
    }
    if (batch.y_pred.size() >= kParallelThreshold) {
      py::gil_scoped_release release;
      job.run({data, dtype});
    } else {
      job.run({data, dtype});
    }
    return out.release().ptr();
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
    {"values", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(values)), METH_FASTCALL,
     "values(plan, y_true, y_pred) -> tensor or None"},
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
                                          {"constrained", Result::Constrained},
                                          {"auc", Result::Auc},
                                          {"f_score", Result::FScore},
                                          {"r2", Result::R2},
                                          {"iou", Result::Iou}});
  for (const py::handle variable : variables) {
    plan->variables.push_back(py::reinterpret_borrow<py::object>(variable));
    plan->fields.push_back(variable.attr("__dict__"));
  }
  if (plan->variables.size() > kMaxVariables) throw std::logic_error("too many variables");
  read(options, "whole", &plan->whole);
  read(options, "sees_mask", &plan->sees_mask);
  read(options, "mask_only_with_weight", &plan->mask_only_with_weight);
  plan->inputs = metric.kernel.operands == Operands::Unary ? 1 : 2;
  std::string name;
  if (read(options, "result_dtype", &name)) plan->result_dtype = dtype_named(name);
  read(options, "numpy_results", &plan->numpy_results);
  plan->wrap_result = py::reinterpret_borrow<py::object>(options["wrap_result"]);

  Params& params = metric.params;
  params.has_threshold = read(options, "threshold", &params.threshold);
  read(options, "label_smoothing", &params.label_smoothing);
  read(options, "epsilon", &metric.epsilon);
  read(options, "smallest_norm", &params.smallest_norm);
  read(options, "alpha", &params.alpha);
  read(options, "gamma", &params.gamma);
  read(options, "balance_classes", &params.balance_classes);
  read(options, "from_logits", &params.from_logits);
  params.has_ignore_class = read(options, "ignore_class", &params.ignore_class);
  read(options, "k", &params.k);
  if (read(options, "last_axis", &name)) {
    metric.last_axis = one_of<LastAxis>(name, {{"mean", LastAxis::Mean}, {"sum", LastAxis::Sum}});
  }
  read(options, "find_zero_one_labels", &metric.find_zero_one_labels);
  read(options, "labels_in_scores_dtype", &metric.labels_in_scores_dtype);
  read(options, "threshold_in_scores_dtype", &metric.threshold_in_scores_dtype);
  if (read(options, "value_dtype", &name)) {
    metric.has_value_dtype = true;
    metric.value_dtype = dtype_named(name);
  }
  read(options, "axis", &metric.axis);
  read(options, "axes", &metric.axes);
  read(options, "k_within_classes", &metric.k_within_classes);
  read(options, "columns", &metric.columns);
  read(options, "folded", &metric.folded);
  read(options, "counts_samples", &metric.counts_samples);
  read(options, "aligns_ranks", &metric.aligns_ranks);
  read(options, "any_weight_rank", &metric.any_weight_rank);
  if (read(options, "precision", &name)) {
    metric.has_precision = true;
    metric.precision = dtype_named(name);
  }
  read(options, "num_classes", &metric.pairs.classes);
  read(options, "per_class_counts", &metric.pairs.by_class);
  metric.pairs.whole = plan->whole;
  metric.pairs.has_ignore = params.has_ignore_class;
  metric.pairs.ignore = params.ignore_class;
  read(options, "dense_labels", &metric.dense_labels);
  read(options, "dense_predicted", &metric.dense_predicted);
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
  const std::initializer_list<std::pair<const char*, Rate>> rates = {
      {"precision", Rate::Precision}, {"recall", Rate::Recall}, {"specificity", Rate::Specificity}};
  if (read(options, "constrained", &name)) metric.constrained = one_of<Rate>(name, rates);
  if (read(options, "dependent", &name)) metric.dependent = one_of<Rate>(name, rates);
  read(options, "required", &metric.required);
  if (read(options, "average", &name)) {
    metric.average = one_of<Average>(
        name,
        {{"micro", Average::Micro}, {"macro", Average::Macro}, {"weighted", Average::Weighted}});
  }
  read(options, "beta", &metric.beta);
  read(options, "regressors", &metric.regressors);
  read(options, "target_class_ids", &metric.target_class_ids);
  return py::capsule(plan.release(), kCapsule, [](PyObject* capsule) {
    delete static_cast<Plan*>(PyCapsule_GetPointer(capsule, kCapsule));
  });
}

}  // namespace kt
