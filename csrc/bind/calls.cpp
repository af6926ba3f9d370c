#include "calls.h"

#include <dlpack/dlpack.h>
#include <pybind11/numpy.h>

#include <algorithm>
#include <new>
#include <string>

#include "../tensor/error.h"
#include "errors.h"

namespace py = pybind11;

namespace kt {
namespace {

PyObject* interned(const char* text) { return PyUnicode_InternFromString(text); }

}  // namespace

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
    forget_exception();
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
  if (PyObject_GetOptionalAttr(tensor, mask_name, &mask) < 0) forget_exception();
#else
  if (_PyObject_LookupAttr(tensor, mask_name, &mask) < 0) forget_exception();
#endif
  const bool own = mask != nullptr && mask != Py_None;
  Py_XDECREF(mask);
  if (own) return true;
  if (exchange_api_of(Py_TYPE(tensor)) != nullptr || !py::isinstance<py::array>(tensor)) {
    return false;
  }
  PyObject* table = PyObject_GetAttr(tracker, table_name);
  if (table == nullptr) {
    forget_exception();
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

void follow_torch_threads() {
  static PyObject* torch_name = interned("torch");
  static PyObject* function = nullptr;  // torch.get_num_threads, once it is there
  if (function == nullptr) {
    PyObject* torch = PyImport_GetModule(torch_name);
    if (torch != nullptr) function = PyObject_GetAttrString(torch, "get_num_threads");
    Py_XDECREF(torch);
  }
  PyObject* count = function == nullptr ? nullptr : PyObject_CallNoArgs(function);
  const long threads = count == nullptr ? -1 : PyLong_AsLong(count);
  Py_XDECREF(count);
  if (PyErr_Occurred() != nullptr) forget_exception();  // while another thread imports torch
  if (threads > 0) limit_threads(static_cast<int>(std::min(threads, 256L)));
}

Values::Values(const std::vector<py::object>& fields) {
  static PyObject* value_name = interned("_value");
  for (const py::object& variable : fields) {
    PyObject* value = PyDict_GetItemWithError(variable.ptr(), value_name);
    if (value == nullptr || value == Py_None) {
      complete_ = false;
      return;
    }
    Py_INCREF(value);
    tensors_[count_++] = value;
  }
}

Values::~Values() {
  for (int i = 0; i < count_; ++i) Py_DECREF(tensors_[i]);
}

bool borrow_batch(int inputs, PyObject* y_true, PyObject* y_pred, PyObject* sample_weight,
                  Batch* batch, Keep* keep, const char** unread) {
  const auto take = [&](PyObject* tensor, const char* argument, View* view) {
    if (borrow(tensor, argument, view, keep)) return true;
    if (unread != nullptr) *unread = argument;
    return false;
  };
  batch->has_true = inputs == 2;
  if (batch->has_true && !take(y_true, "y_true", &batch->y_true)) return false;
  if (!take(y_pred, batch->has_true ? "y_pred" : "values", &batch->y_pred)) return false;
  batch->has_weight = sample_weight != Py_None;
  return !batch->has_weight || take(sample_weight, "sample_weight", &batch->sample_weight);
}

void refuse_unread(const char* argument) {
  throw TypeMistake(std::string("`") + argument +
                    "` must be a dense tensor whose numbers are in memory. Received: one that "
                    "cannot be read. Give a plain tensor, or an array of NumPy.");
}

namespace {

DLDataType dlpack_dtype(DType dtype) {
  const auto bits = static_cast<std::uint8_t>(8 * item_size(dtype));
  if (dtype == DType::BFloat16) return {kDLBfloat, bits, 1};
  if (dtype == DType::Bool) return {kDLBool, bits, 1};
  if (dtype >= DType::Float16) return {kDLFloat, bits, 1};
  return {static_cast<std::uint8_t>(dtype <= DType::UInt64 ? kDLUInt : kDLInt), bits, 1};
}

// A tensor of our own: what describes it, then its numbers.
struct Owned {
  DLManagedTensorVersioned managed = {};
  std::int64_t shape[kMaxRank];
  std::int64_t strides[kMaxRank];

  static constexpr std::size_t kAlignment = 64;  // as the vectors of the kernels
  static constexpr std::size_t header() {
    return (sizeof(Owned) + kAlignment - 1) / kAlignment * kAlignment;
  }
  void* data() { return reinterpret_cast<char*>(this) + header(); }
};

void delete_owned(DLManagedTensorVersioned* managed) {
  ::operator delete(managed->manager_ctx, std::align_val_t(Owned::kAlignment));
}

}  // namespace

PyObject* new_tensor(const DLPackExchangeAPI* api, const View& shape, DType dtype, void** data) {
  const auto bytes = static_cast<std::size_t>(shape.size() * item_size(dtype));
  void* memory = ::operator new(Owned::header() + bytes, std::align_val_t(Owned::kAlignment));
  Owned* owned = new (memory) Owned;
  std::int64_t size = 1;
  for (int d = shape.rank - 1; d >= 0; --d) {
    owned->shape[d] = shape.shape[d];
    owned->strides[d] = size;
    size *= shape.shape[d];
  }
  owned->managed.version = {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION};
  owned->managed.manager_ctx = memory;
  owned->managed.deleter = delete_owned;
  DLTensor& tensor = owned->managed.dl_tensor;
  tensor.data = *data = owned->data();
  tensor.device = {kDLCPU, 0};
  tensor.ndim = shape.rank;
  tensor.dtype = dlpack_dtype(dtype);
  tensor.shape = owned->shape;
  tensor.strides = owned->strides;
  void* object = nullptr;
  if (api->managed_tensor_to_py_object_no_sync(&owned->managed, &object) != 0) return nullptr;
  return static_cast<PyObject*>(object);
}

int place_of(const Batch& batch) {
  struct Input {
    const View* view;
    const char* name;
  };
  const Input inputs[] = {{&batch.y_pred, "y_pred"},
                          {&batch.y_true, "y_true"},
                          {&batch.sample_weight, "sample_weight"}};
  int place = batch.y_pred.device;
  for (const Input& input : inputs) {
    const bool given = input.view == &batch.y_pred ||
                       (input.view == &batch.y_true && batch.has_true) ||
                       (input.view == &batch.sample_weight && batch.has_weight);
    if (!given || input.view->device == place) continue;
    if (place >= 0 && input.view->device >= 0) {
      throw ValueMistake(
          std::string("`") + input.name +
          "` must be on the device of `y_pred`, cuda:" + std::to_string(batch.y_pred.device) +
          ". Received: a tensor on cuda:" + std::to_string(input.view->device) + ". Use `.to()`.");
    }
    place = kSeveralPlaces;
  }
  return place;
}

bool same_place(int batch, int state) {
  if (batch >= 0 && state >= 0 && batch != state) {
    throw ValueMistake(
        "`y_pred` must be on the device of the metric's state, cuda:" + std::to_string(state) +
        ". Received: a tensor on cuda:" + std::to_string(batch) +
        ". Use `.to()`, or make the metric on that device.");
  }
  return batch == state;
}

void* current_stream(PyObject* tensor, int device) {
  const DLPackExchangeAPI* api = exchange_api_of(Py_TYPE(tensor));
  void* stream = nullptr;
  if (devices_are_emulated) return stream;
  if (api == nullptr || api->current_work_stream == nullptr) {
    throw std::logic_error("a device tensor that tells no stream");
  }
  if (api->current_work_stream(kDLCUDA, device, &stream) != 0) throw py::error_already_set();
  return stream;
}

PyObject* new_tensor_on(int device, const DLPackExchangeAPI* api, View shape, DType dtype,
                        void** data) {
  if (devices_are_emulated) return new_tensor(api, shape, dtype, data);
  DLTensor prototype = {};
  prototype.device = {kDLCUDA, device};
  prototype.ndim = shape.rank;
  prototype.dtype = dlpack_dtype(dtype);
  prototype.shape = shape.shape;
  DLManagedTensorVersioned* made = nullptr;
  const auto set_error = [](void*, const char*, const char* message) {
    PyErr_SetString(PyExc_RuntimeError, message);
  };
  void* object = nullptr;
  if (api->managed_tensor_allocator(&prototype, &made, nullptr, set_error) != 0) return nullptr;
  *data = static_cast<char*>(made->dl_tensor.data) + made->dl_tensor.byte_offset;
  if (api->managed_tensor_to_py_object_no_sync(made, &object) != 0) return nullptr;
  return static_cast<PyObject*>(object);
}

namespace {

View result_shape(bool scalar, std::int64_t size) {
  View shape;
  shape.rank = scalar ? 0 : 1;
  shape.shape[0] = size;
  return shape;
}

}  // namespace

namespace {

PyObject* numpy_scalar(DType dtype, double value) {
  static PyObject* numpy = py::module_::import("numpy").release().ptr();
  static PyObject* float32 = PyObject_GetAttrString(numpy, "float32");
  static PyObject* float64 = PyObject_GetAttrString(numpy, "float64");
  PyObject* number = PyFloat_FromDouble(value);
  if (number == nullptr) return nullptr;
  PyObject* out = PyObject_CallOneArg(dtype == DType::Float64 ? float64 : float32, number);
  Py_DECREF(number);
  return out;
}

PyObject* wrapped(const Member& member, const py::object& array) {
  return safe_at_shutdown(
      [&] { return PyObject_CallOneArg(member.wrap_result.ptr(), array.ptr()); });
}

py::dtype numpy_dtype(DType dtype) {
  return dtype == DType::Float64 ? py::dtype::of<double>() : py::dtype::of<float>();
}

}  // namespace

PyObject* finished_on(int device, const Member& member, const State& state, PyObject* tensor) {
  const bool scalar = scalar_result(member.metric, state);
  const std::int64_t size = scalar ? 1 : state.variables[state.count - 1].size;
  const DLPackExchangeAPI* api = exchange_api_of(Py_TYPE(tensor));
  void* data = nullptr;
  py::object out;
  if (api != nullptr) {
    out = py::reinterpret_steal<py::object>(
        new_tensor_on(device, api, result_shape(scalar, size), member.result_dtype, &data));
    if (!out) throw py::error_already_set();
  } else {  // emulated, with NumPy
    std::vector<py::ssize_t> shape;
    if (!scalar) shape.push_back(size);
    py::array_t<double> array(shape);
    data = array.mutable_data();
    out = array;
  }
  const DType dtype = api != nullptr ? member.result_dtype : DType::Float64;
  finish_on(device, current_stream(tensor, device), member.metric,
            member.constants.on(device, member.metric), state, data, dtype);
  return api != nullptr ? out.release().ptr() : wrapped(member, out);
}

Finished::Finished(const Member& member, const State& state, DType dtype)
    : member_(member), dtype_(dtype) {
  scalar_ = scalar_result(member.metric, state);
  plain_ = dtype == DType::Float32 || dtype == DType::Float64;
  size_ = scalar_ ? 1 : state.variables[state.count - 1].size;
  results_.resize(size_);
  finish(member.metric, state, results_.data());
}

PyObject* Finished::as_tensor(const DLPackExchangeAPI* api) const {
  if (!plain_ || api == nullptr) return as_array();
  void* data = nullptr;
  PyObject* out = new_tensor(api, result_shape(scalar_, size_), dtype_, &data);
  if (out != nullptr) Output{data, dtype_}.write(0, results_.data(), size_);
  return out;
}

PyObject* Finished::as_array() const {
  if (member_.numpy_results && plain_) {
    if (scalar_) return numpy_scalar(dtype_, results_[0]);
    py::array array(numpy_dtype(dtype_), std::vector<py::ssize_t>{size_});
    Output{array.mutable_data(), dtype_}.write(0, results_.data(), size_);
    return array.release().ptr();
  }
  std::vector<py::ssize_t> shape;
  if (!scalar_) shape.push_back(size_);
  py::array_t<double> array(shape);
  std::copy(results_.data(), results_.data() + size_, array.mutable_data());
  // Python finishes: other dtypes, other frameworks.
  return wrapped(member_, array);
}

}  // namespace kt
