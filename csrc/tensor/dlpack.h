// From a DLPack tensor, which anybody may have made, to a borrowed View.
#pragma once

#include <dlpack/dlpack.h>

#include <string>

#include "view.h"

namespace kt {

// False where it is no tensor in memory that can be read as it lies. Throws TypeMistake
// for dtypes that no metric accepts, and ValueMistake for shapes that cannot be. That
// the memory is there is the promise of whoever made it.
bool read_dlpack(const DLTensor& tensor, const char* argument, View* view);

// What the rest of the intake has in common with it.
[[noreturn]] void refuse_dtype(const char* argument, const std::string& dtype);
bool aligned(const View& view);
// In tests of the kernels, host memory is that of a device.
int host_device();

}  // namespace kt
