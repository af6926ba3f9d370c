// The devices that can be launched on, with the scratch memory of their streams. All
// threads may call these functions.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "configure.h"
#include "device.h"

namespace kt {

struct DeviceCounts {
  std::atomic<long long> updates = 0;
  std::atomic<long long> launches = 0;
  std::atomic<long long> allocations = 0;
};
extern DeviceCounts device_counts;

// Whether the only device is the host itself, as in tests.
extern bool devices_are_emulated;

// Null switches devices off.
void set_device_api(const DeviceApi* api, bool emulated);
bool has_devices();
int device_count();
std::vector<std::string> device_names();
const DeviceInfo& device_info(int device);

// Nobody else launches anything while it is held: for several launches that share
// scratch memory. Its holder never waits for the interpreter.
std::unique_lock<std::recursive_mutex> hold_devices();

// The device that memory belongs to.
int device_of(const void* memory);

// Memory that stays; 0 at first.
void* allocate_on(int device, std::size_t bytes);
// A copy of constants, shared by all who have the same. It stays as well: kernels that
// nobody waits for may read it.
const char* constants_on(int device, const std::string& constants);
void clear_on(int device, void* stream, void* memory, std::size_t bytes);
void copy_on(int device, void* stream, void* to, const void* from, std::size_t bytes);

// The scratch memory of a stream, grown to what is needed. What it was before stays
// allocated: launches under way, and captured graphs, may use it.
Workspace workspace_of(int device, void* stream, const Needed& needed);
// Of the same kind, for states; nothing is promised of what it holds.
double* state_room_of(int device, void* stream, std::int64_t size);
void launch_on(int device, void* stream, CudaKernel kernel, const Grid& grid, const void* launch);

}  // namespace kt
