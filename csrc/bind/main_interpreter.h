// Modules that only the main interpreter of a process can import. Include it after
// pybind11; PYBIND11_MODULE then makes such a module.
//
// Plans, programs and the thread pool belong to the process, and pybind11 finds its own
// data in the main interpreter: in another one an import waits forever for the GIL
// (seen with Python 3.11). Python itself refuses it for interpreters with a GIL of
// their own only, and from 3.12 on.
#pragma once

#include <Python.h>
#include <pybind11/pybind11.h>

namespace kt {

inline bool in_main_interpreter() {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) return true;
  PyErr_SetString(PyExc_ImportError,
                  "keras-tally runs in the main interpreter of a process only, not in "
                  "sub-interpreters: use processes (multiprocessing) or threads");
  return false;
}

inline PyObject* create_module(PyObject* spec, PyModuleDef* definition) {
  if (!in_main_interpreter()) return nullptr;
  return pybind11::detail::cached_create_module(spec, definition);
}

// From Python 3.13 on, only the slots run in the interpreter that imports.
inline PyObject* check_when_created(PyObject* definition) {
  if (definition == nullptr) return nullptr;
  auto* slot = reinterpret_cast<PyModuleDef*>(definition)->m_slots;
  for (; slot->slot != 0; ++slot) {
    if (slot->slot == Py_mod_create) {
      slot->value = reinterpret_cast<void*>(&create_module);
    }
  }
  return definition;
}

}  // namespace kt

#undef PYBIND11_PLUGIN_IMPL
#define PYBIND11_PLUGIN_IMPL(name)                       \
  static PyObject* kt_define_##name();                   \
  extern "C" PYBIND11_EXPORT PyObject* PyInit_##name();  \
  extern "C" PYBIND11_EXPORT PyObject* PyInit_##name() { \
    if (!kt::in_main_interpreter()) return nullptr;      \
    return kt::check_when_created(kt_define_##name());   \
  }                                                      \
  static PyObject* kt_define_##name()
