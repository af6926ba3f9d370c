// The one place where C++ errors become Python's: a user's mistake keeps its
// message, a fault of ours asks for a report.
#pragma once

#include <Python.h>
#include <cxxabi.h>
#include <pybind11/pybind11.h>

#include <exception>
#include <new>
#include <string>

#include "../exec/float_mode.h"
#include "../tensor/error.h"

namespace kt {

inline void set_python_error(std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (pybind11::error_already_set& e) {
    e.restore();
  } catch (const pybind11::builtin_exception& e) {
    e.set_error();
  } catch (const ValueMistake& e) {
    PyErr_SetString(PyExc_ValueError, e.what());
  } catch (const TypeMistake& e) {
    PyErr_SetString(PyExc_TypeError, e.what());
  } catch (const DeviceFailure& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& e) {
    const std::string message =
        std::string("keras-tally has met a fault of its own; please report it: ") + e.what();
    PyErr_SetString(PyExc_RuntimeError, message.c_str());
  }
}

// Forgets an exception that means no more than "not so". What is no `Exception` goes on: users
// press Control-C wherever Python code runs.
inline void forget_exception() {
  if (!PyErr_ExceptionMatches(PyExc_Exception)) throw pybind11::error_already_set();
  PyErr_Clear();
}

template <class Body>
PyObject* translated(Body&& body) {
  const FloatMode mode;
  try {
    return body();
#ifdef __GLIBCXX__
  } catch (const abi::__forced_unwind&) {
    throw;  // pthread_exit, see shutdown.h
#endif
  } catch (...) {
    set_python_error(std::current_exception());
    return nullptr;
  }
}

}  // namespace kt
