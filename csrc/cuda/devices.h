// The devices that can be launched on, with the scratch memory of their streams. Called
// with the interpreter's lock held.
#pragma once

#include <string>
#include <vector>

#include "../extension/abi.h"
#include "configure.h"
#include "device.h"

namespace kt {

struct DeviceCounts {
  long long updates = 0;
  long long launches = 0;
  long long allocations = 0;
};
extern DeviceCounts device_counts;

// Whether the only device is the host itself, as in tests.
extern bool devices_are_emulated;

// Null switches devices off.
void set_device_api(const DeviceApi* api, bool emulated);
bool has_devices();
int device_count();
std::vector<std::string> device_names();
// `own`: those of another package take the elementwise kernels' place.
const DeviceInfo& device_info(int device, const DeviceKernels* own = nullptr);

// Memory that stays; 0 at first.
void* allocate_on(int device, std::size_t bytes);
// A copy of constants, shared by all who have the same. It stays as well: kernels that
// nobody waits for may read it.
const char* constants_on(int device, const std::string& constants);
void clear_on(int device, void* stream, void* memory, std::size_t bytes);

// The scratch memory of a stream, grown to what is needed. What it was before stays
// allocated: launches under way, and captured graphs, may use it.
Workspace workspace_of(int device, void* stream, const Needed& needed);
void launch_on(int device, void* stream, CudaKernel kernel, const Grid& grid, const void* launch,
               const DeviceKernels* own = nullptr);

}  // namespace kt
