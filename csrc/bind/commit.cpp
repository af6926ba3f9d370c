#include "commit.h"

#include <pybind11/pybind11.h>

#include <optional>
#include <utility>
#include <vector>

#include "../tensor/error.h"
#include "calls.h"
#include "errors.h"

namespace py = pybind11;

namespace kt {
namespace {

// commit(version, seen, calls) -> bool
// If version[0] is still `seen`, it becomes a new object, and the calls, tuples of a function and
// its arguments, are made; otherwise nothing happens. Between the look and the last call runs no
// Python code, unless a function is made of it: no signal handler can do the same in between.
PyObject* commit(PyObject* const* args, Py_ssize_t) {
  const auto version = py::reinterpret_borrow<py::list>(args[0]);
  const auto calls = py::reinterpret_borrow<py::list>(args[2]);
  // What is allocated comes first: the garbage collector may run Python code, too.
  const auto next = py::reinterpret_steal<py::object>(
      PyObject_CallNoArgs(reinterpret_cast<PyObject*>(&PyBaseObject_Type)));
  if (!next) throw py::error_already_set();
  std::vector<std::pair<py::object, py::object>> prepared;
  for (const py::handle item : calls) {
    const auto call = py::reinterpret_borrow<py::tuple>(item);
    prepared.emplace_back(call[0], call[py::slice(1, std::nullopt, std::nullopt)]);
  }
  if (PyList_GET_ITEM(version.ptr(), 0) != args[1]) Py_RETURN_FALSE;
  version[0] = next;
  for (const auto& [function, given] : prepared) {
    const auto done = py::reinterpret_steal<py::object>(
        safe_at_shutdown([&] { return PyObject_CallObject(function.ptr(), given.ptr()); }));
    if (!done) throw py::error_already_set();
  }
  Py_RETURN_TRUE;
}

PyMethodDef kCommitMethods[] = {
    entry_point<commit, 3>("commit", "commit(version, seen, calls) -> bool"),
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyMethodDef* commit_methods() { return kCommitMethods; }

}  // namespace kt
