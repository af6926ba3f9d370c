// What the entry points have in common: where Keras's scopes, masks and variables
// are, how batches come in and results go out.
#pragma once

#include <Python.h>
#include <pybind11/pybind11.h>

#include <exception>
#include <string>
#include <vector>

#include "../exec/metric.h"
#include "../exec/threads.h"
#include "errors.h"
#include "intake.h"
#include "plan.h"
#include "shutdown.h"

namespace kt {

// A function of the module that costs no more than a C call: with `least` to `most`
// arguments, and C++'s exceptions as Python's.
template <PyObject* (*function)(PyObject* const* args, Py_ssize_t count), int least,
          int most = least>
PyMethodDef entry_point(const char* name, const char* doc) {
  using Fast = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t);
  const Fast call = [](PyObject*, PyObject* const* args, Py_ssize_t count) {
    return translated([&] {
      if (count < least || count > most) {
        throw TypeMistake("it takes " + std::to_string(least) + " to " + std::to_string(most) +
                          " arguments. Received: " + std::to_string(count));
      }
      return function(args, count);
    });
  };
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call)), METH_FASTCALL,
          doc};
}

bool in_stateless_scope(PyObject** tracker);

// Whether a Keras mask hangs on the tensor; `tracker` is what the other call found.
bool has_mask(PyObject* tensor, PyObject* tracker);

constexpr int kMaxVariables = kMaxState + 3;  // with low halves

// The values of variables, given by their `__dict__`s: new references.
class Values {
 public:
  explicit Values(const std::vector<pybind11::object>& fields);
  ~Values();
  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;

  bool complete() const { return complete_; }  // false: one of them has none
  PyObject* const* tensors() const { return tensors_; }
  int count() const { return count_; }

 private:
  PyObject* tensors_[kMaxVariables];
  int count_ = 0;
  bool complete_ = true;
};

// A state tensor's numbers; null when they cannot be borrowed. `device` becomes where
// they are.
template <class T>
T* borrow_numbers(PyObject* tensor, DType dtype, std::int64_t* size, Keep* keep, int* device) {
  View view;
  if (!borrow_state_value(tensor, &view, keep) || !view.contiguous()) return nullptr;
  if (view.dtype != dtype) return nullptr;
  *size = view.size();
  *device = view.device;
  return reinterpret_cast<T*>(const_cast<char*>(view.data));
}

constexpr int kSeveralPlaces = -2;

// The device that all of a batch is on, kHost, or kSeveralPlaces (host and device).
// Throws where it is on two devices.
int place_of(const Batch& batch);

// Whether a state that is at `state` can take a batch at `batch`. Throws where both are
// on devices, but on different ones.
bool same_place(int batch, int state);

// The stream on which the framework of this tensor works at present.
void* current_stream(PyObject* tensor, int device);

// `inputs`: 2, or 1 where there is no y_true. `unread`: which it could not borrow.
bool borrow_batch(int inputs, PyObject* y_true, PyObject* y_pred, PyObject* sample_weight,
                  Batch* batch, Keep* keep, const char** unread = nullptr);
// Says so, where there is no other way left.
[[noreturn]] void refuse_unread(const char* argument);

// Takes no more threads than torch would, where the program has imported it.
void follow_torch_threads();

// Runs with the interpreter's lock released where that pays.
template <class Body>
void unlocked(const Batch& batch, Body&& body) {
  if (batch.y_pred.size() < kParallelThreshold) return body();
  follow_torch_threads();
  std::exception_ptr error;
  PyThreadState* state = PyEval_SaveThread();
  try {
    body();
  } catch (...) {
    error = std::current_exception();
  }
  safe_at_shutdown([state] {
    PyEval_RestoreThread(state);
    return true;
  });
  if (error) std::rethrow_exception(error);
}

// A new float32 or float64 tensor of the type whose API it is; `data` is where
// its numbers go.
PyObject* new_tensor(const DLPackExchangeAPI* api, const View& shape, DType dtype, void** data);

// One of the framework's own memory on a device; where the host plays the device's
// part, as above.
PyObject* new_tensor_on(int device, const DLPackExchangeAPI* api, View shape, DType dtype,
                        void** data);

// The results of a metric whose state is on a device, as a tensor there; nobody waits.
PyObject* finished_on(int device, const Member& member, const State& state, PyObject* tensor);

// A metric's results, and how they become a tensor.
class Finished {
 public:
  Finished(const Member& member, const State& state)
      : Finished(member, state, member.result_dtype) {}
  Finished(const Member& member, const State& state, DType dtype);

  // A tensor of the type that the API is of, or an array as the plan makes it; a new reference.
  PyObject* as_tensor(const DLPackExchangeAPI* api) const;

 private:
  PyObject* as_array() const;

  const Member& member_;
  DType dtype_;
  bool scalar_, plain_;
  std::int64_t size_;
  Buffer<double, 8> results_;
};

}  // namespace kt
