// What kernels.cu has for the module `_cuda`.
#pragma once

#include "device.h"

namespace kt {

const DeviceApi& cuda_api();

}  // namespace kt
