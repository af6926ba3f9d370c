// A plan: configured metrics, one or those of a group, together with the Keras variables
// that hold their state. It travels through Python as a capsule, so that the fast entry
// points cost one pointer comparison.
#pragma once

#include <Python.h>
#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../cuda/device_work.h"
#include "../exec/group.h"
#include "../exec/metric.h"

namespace kt {

// One metric of a plan.
struct Member {
  Metric metric;
  // Where all states lie in one variable, the metric's are `sizes` of its numbers, from
  // `offset` on; `sizes` is empty where each variable is one of Keras's.
  std::int64_t offset = 0;
  std::vector<std::int64_t> sizes;
  DType result_dtype = DType::Float32;
  bool numpy_results = false;  // scalars become numpy.float32 right here
  // Turns a float64 NumPy array into the backend's tensor of result_dtype.
  pybind11::object wrap_result;
  mutable ConstantsOnDevices constants;
};

struct Plan {
  std::vector<std::shared_ptr<const Member>> members;
  std::vector<pybind11::object> names;      // of a group's results; one metric has none
  std::vector<pybind11::object> variables;  // Keras's own in order, then low halves
  std::vector<pybind11::object> fields;     // each one's `__dict__`, with its `_value`
  Metrics metrics;                          // those of the members
  bool whole = false;                       // variables of integers
  int inputs = 2;                           // y_true and y_pred, or values alone

  explicit Plan(std::vector<std::shared_ptr<const Member>> all);
  void bind(const pybind11::sequence& to);
  pybind11::capsule as_capsule() &&;
};

// Throws where it is no plan.
Plan& plan_of(PyObject* capsule);

// make_plan(kernel, result, variables, options) -> capsule
pybind11::capsule make_plan(const std::string& kernel, const std::string& result,
                            const pybind11::sequence& variables, const pybind11::dict& options);

// make_group(plans, names, variables) -> capsule: metrics whose states lie in one variable
pybind11::capsule make_group(const pybind11::sequence& plans, const pybind11::sequence& names,
                             const pybind11::sequence& variables);

// (inputs, constants, [(operation, values), ...], outputs)
using ExpressionTuple = std::tuple<std::int64_t, std::vector<double>,
                                   std::vector<std::pair<std::string, std::vector<std::int64_t>>>,
                                   std::vector<std::int64_t>>;
// Throws ValueMistake where it is no expression.
std::shared_ptr<const Expression> make_expression(const ExpressionTuple& given);

// Raw entry points (METH_FASTCALL), added to the module by hand.
PyMethodDef* plan_methods();

}  // namespace kt
