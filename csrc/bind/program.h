// Programs (exec/program.h) from Python.
#pragma once

#include <pybind11/pybind11.h>

namespace kt {

void add_program_functions(pybind11::module_& m);

}  // namespace kt
