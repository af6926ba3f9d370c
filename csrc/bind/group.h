// A group of plans whose states are parts of one variable.
#pragma once

#include <Python.h>
#include <pybind11/pybind11.h>

namespace kt {

// make_group(plans, names, variables) -> capsule, which keeps the plans
pybind11::capsule make_group(const pybind11::sequence& plans, const pybind11::sequence& names,
                             const pybind11::sequence& variables);

// Raw entry points (METH_FASTCALL), added to the module by hand.
PyMethodDef* group_methods();

}  // namespace kt
