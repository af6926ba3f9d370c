// A device for tests: all kernels, run on the CPU (emulation.h).
#define KT_LEVEL emulated
#define KT_SCALAR
#include "../../csrc/cuda/kernels.h"

#include <pybind11/pybind11.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "../../csrc/cuda/device.h"
#include "emulation.h"

namespace py = pybind11;

namespace kt {
namespace {

// What the tests choose, and what they look at.
int processors = 2;
struct Launched {
  CudaKernel kernel;
  Grid grid;
};
std::vector<Launched> launched;

const char* count(int* devices) {
  *devices = 1;
  return nullptr;
}

const char* name(int, char* text, std::size_t) {
  std::strcpy(text, "emulated");
  return nullptr;
}

const char* describe(int, DeviceInfo* info) {
  info->processors = processors;
  info->shared_memory = 96 * 1024;
  for (int& blocks : info->blocks) blocks = 2;
  return nullptr;
}

// Zeros that take no room until they are used: tests start with a new device often, and
// what a device has given out stays.
const char* allocate(int, std::size_t bytes, void** memory) {
  *memory = mmap(nullptr, std::max<std::size_t>(bytes, 1), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return *memory == MAP_FAILED ? "out of memory" : nullptr;
}

const char* upload(int, void* to, const void* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
  return nullptr;
}

const char* clear(int, void*, void* memory, std::size_t bytes) {
  std::memset(memory, 0, bytes);
  return nullptr;
}

const char* copy(int, void*, void* to, const void* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
  return nullptr;
}

const char* find(const void*, int* device) {
  *device = 0;
  return nullptr;
}

const char* launch(int, void*, CudaKernel kernel, const Grid& grid, const void* from) {
  launched.push_back({kernel, grid});
  switch (kernel) {
#define KT_CUDA_KERNEL KT_EMULATED_CASE
#include "../../csrc/cuda/kernels.def"
    case CudaKernel::kCount:
      break;
  }
  return "no such kernel";
}

const DeviceApi kApi = {kDeviceApiLayout, count, name, describe, allocate,
                        upload,           clear, copy, launch,   find};

}  // namespace
}  // namespace kt

PYBIND11_MODULE(_cuda_emulated, m) {
  m.doc() = "The CUDA kernels of keras-tally on the CPU, for tests.";
  m.def(
      "api",
      [](int processors, bool backwards) {
        kt::processors = processors;
        kt::backwards = backwards;
        return py::capsule(static_cast<const void*>(&kt::kApi), kt::kDeviceApiCapsule);
      },
      py::arg("processors") = 2, py::arg("backwards") = false);
  // (name of the kernel, blocks, bytes of shared memory) of each launch since the last
  // call.
  m.def("launches", [] {
    static const char* const names[] = {
#define KT_CUDA_KERNEL(name, launch_type, ...) #name,
#include "../../csrc/cuda/kernels.def"
    };
    py::list out;
    for (const kt::Launched& one : kt::launched) {
      out.append(py::make_tuple(names[static_cast<int>(one.kernel)], one.grid.blocks,
                                one.grid.shared_bytes));
    }
    kt::launched.clear();
    return out;
  });
}
