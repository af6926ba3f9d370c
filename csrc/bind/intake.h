// From a Python object to a borrowed View, by the fastest road it offers. No
// copy is ever made here: what cannot be borrowed is left to Python, which
// converts it visibly.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "../tensor/view.h"

struct DLPackExchangeAPI;

namespace kt {

// How often each road was taken, for tests and for curious users.
struct RoadCounts {
  long long exchange_api = 0;  // torch's DLPack C exchange API
  long long numpy = 0;         // a NumPy array's own fields
  long long dlpack = 0;        // the `__dlpack__` method
  long long in_place = 0;      // updates straight into the variables
  long long pure = 0;          // updates of given state arrays
  long long evaluated = 0;     // results of one batch, with no state kept
  long long converted = 0;     // updates whose inputs Python had to convert
  long long parallel = 0;      // updates on several threads
};
extern RoadCounts road_counts;

// Keeps alive what a view points to, where borrowing alone does not.
class Keep {
 public:
  Keep() = default;
  Keep(const Keep&) = delete;
  Keep& operator=(const Keep&) = delete;
  ~Keep();
  void add(PyObject* owned) { objects_.push_back(owned); }

 private:
  std::vector<PyObject*> objects_;
};

// Views `object`; false when it is not a tensor in host memory that can be read
// as it lies. Throws TypeMistake for dtypes that no metric accepts.
bool borrow(PyObject* object, const char* argument, View* view, Keep* keep);

// The same for a state variable's value, which is never lazily negated.
bool borrow_state_value(PyObject* value, View* view, Keep* keep);

// Throws where no metric accepts it.
DType dtype_named(const std::string& name, const char* argument);

// The exchange API of a torch-like type; null where there is none.
const DLPackExchangeAPI* exchange_api_of(PyTypeObject* type);

}  // namespace kt
