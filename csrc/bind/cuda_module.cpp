// The extension module `keras_tally._cuda`: the door to NVIDIA's GPUs, see
// cuda/device.h. It links CUDA's runtime statically, and so imports without a driver.
#include <pybind11/pybind11.h>

#include "../cuda/module.h"
#include "main_interpreter.h"

namespace py = pybind11;

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "CUDA kernels of keras-tally. Not a public interface.";
  m.def("api", [] {
    return py::capsule(static_cast<const void*>(&kt::cuda_api()), kt::kDeviceApiCapsule);
  });
}
