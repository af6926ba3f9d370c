// What the device code of a package's kernels has for its module.
#pragma once

#include "abi.h"

namespace kt {

extern const DeviceKernels kOwnDeviceKernels;

}  // namespace kt
