// Python calls that belong together.
#pragma once

#include <Python.h>

namespace kt {

// Raw entry points (METH_FASTCALL), added to the module by hand.
PyMethodDef* commit_methods();

}  // namespace kt
