#include "intake.h"

#include <dlpack/dlpack.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "../tensor/dlpack.h"
#include "../tensor/shapes.h"
#include "errors.h"
#include "shutdown.h"

namespace py = pybind11;

namespace kt {

RoadCounts road_counts;

Keep::~Keep() {
  for (PyObject* object : objects_) Py_DECREF(object);
}

namespace {

struct ExchangeType {
  PyTypeObject* type;
  const DLPackExchangeAPI* api;  // null: the type has none
  PyCFunction is_neg;            // torch's lazy negation is invisible to DLPack
};

// Types are few (Tensor, Parameter) and, once seen, kept for ever.
constexpr int kMaxTypes = 16;
ExchangeType known_types[kMaxTypes];
int known_count = 0;

ExchangeType look_up(PyTypeObject* type) {
  ExchangeType found = {type, nullptr, nullptr};
  PyObject* object = reinterpret_cast<PyObject*>(type);
  PyObject* capsule = PyObject_GetAttrString(object, "__dlpack_c_exchange_api__");
  if (capsule == nullptr) {
    forget_exception();
    return found;
  }
  auto* api =
      static_cast<const DLPackExchangeAPI*>(PyCapsule_GetPointer(capsule, "dlpack_exchange_api"));
  Py_DECREF(capsule);
  if (api == nullptr) {
    forget_exception();
    return found;
  }
  while (api != nullptr && api->header.version.major != DLPACK_MAJOR_VERSION) {
    api = reinterpret_cast<const DLPackExchangeAPI*>(api->header.prev_api);
  }
  if (api == nullptr || api->dltensor_from_py_object_no_sync == nullptr) return found;
  found.api = api;
  PyObject* is_neg = PyObject_GetAttrString(object, "is_neg");
  if (is_neg == nullptr) forget_exception();
  if (is_neg != nullptr && Py_IS_TYPE(is_neg, &PyMethodDescr_Type)) {
    // The C function behind the method: this question is asked of every input.
    const PyMethodDef* method = reinterpret_cast<PyMethodDescrObject*>(is_neg)->d_method;
    if (method->ml_flags == METH_NOARGS) found.is_neg = method->ml_meth;
  }
  Py_XDECREF(is_neg);
  if (found.is_neg == nullptr) found.api = nullptr;  // not torch as we know it
  return found;
}

const ExchangeType* known_type(PyTypeObject* type) {
  for (int i = 0; i < known_count; ++i) {
    if (known_types[i].type == type) return &known_types[i];
  }
  return nullptr;
}

const ExchangeType& exchange_type(PyTypeObject* type) {
  if (const ExchangeType* known = known_type(type)) return *known;
  static ExchangeType uncached;
  uncached = look_up(type);
  if (uncached.api == nullptr || known_count == kMaxTypes) return uncached;
  Py_INCREF(type);
  known_types[known_count] = uncached;
  return known_types[known_count++];
}

bool borrow_exchange(const ExchangeType& type, PyObject* object, const char* argument, View* view) {
  DLTensor tensor;
  if (type.api->dltensor_from_py_object_no_sync(object, &tensor) != 0) {
    // Meta, sparse and functorch-wrapped tensors: Python will say what they are.
    forget_exception();
    return false;
  }
  if (!read_dlpack(tensor, argument, view)) return false;
  ++road_counts.exchange_api;
  return true;
}

// torch negates some views lazily, and DLPack would export the wrong sign.
bool negated(const ExchangeType& type, PyObject* object) {
  PyObject* answer = type.is_neg(object, nullptr);
  if (answer == nullptr) forget_exception();
  Py_XDECREF(answer);
  return answer != Py_False;
}

std::string name_of(const py::dtype& dtype) {
  const auto name = py::reinterpret_steal<py::object>(
      safe_at_shutdown([&] { return PyObject_GetAttrString(dtype.ptr(), "name"); }));
  if (!name) throw py::error_already_set();
  return py::cast<std::string>(name);
}

// Tells whether it is an array of `numpy.ma`, of which Python has more to say.
bool is_masked_array(PyObject* array) {
  static PyObject* name = PyUnicode_InternFromString("mask");
  static PyTypeObject* const plain = py::array().ptr()->ob_type;
  return Py_TYPE(array) != plain && PyObject_HasAttr(array, name) == 1;
}

bool borrow_numpy(PyObject* object, const char* argument, View* view) {
  const auto array = py::reinterpret_borrow<py::array>(object);
  const py::dtype dtype = array.dtype();
  const char byte_order = dtype.byteorder();
  if (byte_order == '>' || array.ndim() > kMaxRank) return false;
  const std::int64_t item = dtype.itemsize();
  bool known = false;
  const auto set = [&](std::int64_t size, DType value) {
    if (item == size) {
      view->dtype = value;
      known = true;
    }
  };
  switch (dtype.kind()) {
    case 'b':
      set(1, DType::Bool);
      break;
    case 'i':
      set(1, DType::Int8), set(2, DType::Int16), set(4, DType::Int32), set(8, DType::Int64);
      break;
    case 'u':
      set(1, DType::UInt8), set(2, DType::UInt16), set(4, DType::UInt32), set(8, DType::UInt64);
      break;
    case 'f':
      set(2, DType::Float16), set(4, DType::Float32), set(8, DType::Float64);
      break;
    default:
      break;
  }
  if (!known || dtype.num() >= 256) {
    const std::string name = name_of(dtype);
    if (name != "bfloat16") refuse_dtype(argument, name);
    view->dtype = DType::BFloat16;
  }
  view->device = host_device();
  std::int64_t shape[kMaxRank];
  std::copy_n(array.shape(), array.ndim(), shape);
  set_shape(view, argument, shape, static_cast<std::size_t>(array.ndim()));
  view->data = static_cast<const char*>(array.data());
  for (int d = 0; d < view->rank; ++d) {
    if (array.strides(d) % item != 0) return false;
    view->strides[d] = array.strides(d) / item;
  }
  if (!aligned(*view)) return false;
  check_size(*view, argument);
  ++road_counts.numpy;
  return true;
}

// Calls `__dlpack__`, of which some warn where they are not asked for a version, and
// older ones take no such argument.
PyObject* dlpack_capsule(PyObject* object) {
  static PyObject* name = PyUnicode_InternFromString("__dlpack__");
  static PyObject* max_version = Py_BuildValue("(s)", "max_version");
  static PyObject* version = Py_BuildValue("(ii)", DLPACK_MAJOR_VERSION, 0);
  PyObject* arguments[] = {object, version};
  PyObject* capsule = PyObject_VectorcallMethod(name, arguments, 1, max_version);
  if (capsule != nullptr || !PyErr_ExceptionMatches(PyExc_TypeError)) return capsule;
  py::error_already_set error;
  if (std::string(error.what()).find(" argument") == std::string::npos) {
    error.restore();
    return nullptr;
  }
  return PyObject_CallMethodNoArgs(object, name);
}

bool borrow_dlpack(PyObject* object, const char* argument, View* view, Keep* keep) {
  PyObject* capsule = safe_at_shutdown([&] { return dlpack_capsule(object); });
  if (capsule == nullptr) {
    // Devices, tracers, tensors that require grad: left to Python.
    forget_exception();
    return false;
  }
  keep->add(capsule);  // unused capsules delete their tensor themselves
  const DLTensor* tensor = nullptr;
  if (PyCapsule_IsValid(capsule, "dltensor")) {
    tensor = &static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor"))->dl_tensor;
  } else if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
    auto* managed =
        static_cast<DLManagedTensorVersioned*>(PyCapsule_GetPointer(capsule, "dltensor_versioned"));
    if (managed->version.major == DLPACK_MAJOR_VERSION) tensor = &managed->dl_tensor;
  }
  if (tensor == nullptr || !read_dlpack(*tensor, argument, view)) return false;
  // Whoever made it waits for a stream that need not be ours.
  if (view->device != host_device()) return false;
  ++road_counts.dlpack;
  return true;
}

}  // namespace

const DLPackExchangeAPI* exchange_api_of(PyTypeObject* type) { return exchange_type(type).api; }

bool borrow(PyObject* object, const char* argument, View* view, Keep* keep) {
  PyTypeObject* type = Py_TYPE(object);
  const ExchangeType* known = known_type(type);
  if (known == nullptr) {
    if (py::isinstance<py::array>(object)) {
      return !is_masked_array(object) && borrow_numpy(object, argument, view);
    }
    if (PyFloat_CheckExact(object) || PyLong_CheckExact(object) || PyList_CheckExact(object) ||
        PyTuple_CheckExact(object)) {
      return false;
    }
    known = &exchange_type(type);
    if (known->api == nullptr) return borrow_dlpack(object, argument, view, keep);
  }
  return !negated(*known, object) && borrow_exchange(*known, object, argument, view);
}

bool borrow_state_value(PyObject* value, View* view, Keep* keep) {
  const ExchangeType* known = known_type(Py_TYPE(value));
  return known == nullptr ? borrow(value, "state", view, keep)
                          : borrow_exchange(*known, value, "state", view);
}

}  // namespace kt
