// A plan: a configured metric together with the Keras variables that hold its
// state. It travels through Python as a capsule, so that the fast entry points
// cost one pointer comparison.
#pragma once

#include <Python.h>
#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../cuda/device_work.h"
#include "../exec/metric.h"

namespace kt {

struct Plan {
  Metric metric;
  std::vector<pybind11::object> variables;  // Keras's own in order, `compensation` last
  bool whole = false;                       // integers, which need no compensation
  std::vector<pybind11::object> fields;     // each one's `__dict__`, with its `_value`
  // In a group, there is one variable: a row of high halves and one of low ones. The
  // metric's are `sizes` of them, from `offset` on; alone, `sizes` is empty.
  std::int64_t offset = 0;
  std::vector<std::int64_t> sizes;
  int inputs = 2;  // y_true and y_pred, or values alone
  DType result_dtype = DType::Float32;
  bool numpy_results = false;  // scalars become numpy.float32 right here
  // Turns a float64 NumPy array into the backend's tensor of result_dtype.
  pybind11::object wrap_result;
  mutable ConstantsOnDevices constants;
};

constexpr const char* kPlanCapsule = "keras_tally.plan";

inline Plan* plan_of(PyObject* capsule) {
  return static_cast<Plan*>(PyCapsule_GetPointer(capsule, kPlanCapsule));
}

// make_plan(kernel, result, variables, options) -> capsule
pybind11::capsule make_plan(const std::string& kernel, const std::string& result,
                            const pybind11::sequence& variables, const pybind11::dict& options);

// (inputs, constants, [(operation, values), ...], outputs)
using ExpressionTuple = std::tuple<std::int64_t, std::vector<double>,
                                   std::vector<std::pair<std::string, std::vector<std::int64_t>>>,
                                   std::vector<std::int64_t>>;
// Throws ValueMistake where it is no expression.
std::shared_ptr<const Expression> make_expression(const ExpressionTuple& given);

// Raw entry points (METH_FASTCALL), added to the module by hand.
PyMethodDef* plan_methods();

}  // namespace kt
