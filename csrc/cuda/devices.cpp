#include "devices.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "../tensor/error.h"

namespace kt {

DeviceCounts device_counts;
bool devices_are_emulated = false;

namespace {

const DeviceApi* api = nullptr;
struct Device {
  bool described = false;
  DeviceInfo info;
};
std::vector<Device> devices;
std::map<std::pair<int, std::string>, const char*> constants;

struct StreamMemory {
  int device = 0;
  void* stream = nullptr;
  Needed size;
  Workspace workspace;
  std::int64_t state_size = 0;
  double* state = nullptr;
};
std::vector<StreamMemory> memories;

std::recursive_mutex mutex;

constexpr std::int64_t kControlBytes = 256;  // ticket and flags, in lines of their own
constexpr std::int64_t kFirstPartials = 128 * 1024;
constexpr std::int64_t kFirstBins = 64 * 1024;
constexpr std::int64_t kFirstState = 8 * 1024;

void check(const char* error, const char* what) {
  if (error != nullptr) throw DeviceFailure(std::string(what) + ": " + error);
}

StreamMemory& memory_of(int device, void* stream) {
  for (StreamMemory& memory : memories) {
    if (memory.device == device && memory.stream == stream) return memory;
  }
  StreamMemory& memory = memories.emplace_back();
  memory.device = device;
  memory.stream = stream;
  return memory;
}

// What is needed, and some more, so that it seldom grows.
std::int64_t grown(std::int64_t needed, std::int64_t size, std::int64_t first) {
  return std::max({first, 2 * size, needed});
}

}  // namespace

std::unique_lock<std::recursive_mutex> hold_devices() { return std::unique_lock(mutex); }

void set_device_api(const DeviceApi* next, bool emulated) {
  const auto held = hold_devices();
  if (next != nullptr && next->layout != kDeviceApiLayout) {
    throw std::logic_error("the device module is of another build");
  }
  devices_are_emulated = emulated;
  devices.clear();
  memories.clear();
  constants.clear();
  api = nullptr;
  if (next == nullptr) return;
  int count = 0;
  check(next->count(&count), "the devices cannot be counted");
  devices.resize(static_cast<std::size_t>(count));
  if (count > 0) api = next;
}

bool has_devices() { return api != nullptr; }

int device_count() { return static_cast<int>(devices.size()); }

std::vector<std::string> device_names() {
  std::vector<std::string> names;
  for (std::size_t d = 0; d < devices.size(); ++d) {
    char name[256] = {};
    check(api->name(static_cast<int>(d), name, sizeof(name)), "a device cannot be asked");
    names.emplace_back(name);
  }
  return names;
}

const DeviceInfo& device_info(int device) {
  const auto held = hold_devices();
  Device& known = devices.at(static_cast<std::size_t>(device));
  if (!known.described) {
    check(api->describe(device, &known.info), "the kernels cannot be loaded on the device");
    known.described = true;
  }
  return known.info;
}

int device_of(const void* memory) {
  int device = 0;
  check(api->find(memory, &device), "memory belongs to no device");
  return device;
}

void* allocate_on(int device, std::size_t bytes) {
  void* memory = nullptr;
  check(api->allocate(device, bytes, &memory), "no memory on the device");
  ++device_counts.allocations;
  return memory;
}

const char* constants_on(int device, const std::string& wanted) {
  const auto held = hold_devices();
  const char*& place = constants[{device, wanted}];
  if (place == nullptr) {
    void* memory = allocate_on(device, wanted.size());
    check(api->upload(device, memory, wanted.data(), wanted.size()),
          "copying to the device failed");
    place = static_cast<const char*>(memory);
  }
  return place;
}

void clear_on(int device, void* stream, void* memory, std::size_t bytes) {
  check(api->clear(device, stream, memory, bytes), "clearing device memory failed");
}

void copy_on(int device, void* stream, void* to, const void* from, std::size_t bytes) {
  check(api->copy(device, stream, to, from, bytes), "copying device memory failed");
}

Workspace workspace_of(int device, void* stream, const Needed& needed) {
  const auto held = hold_devices();
  StreamMemory& memory = memory_of(device, stream);
  Workspace& workspace = memory.workspace;
  if (workspace.ticket == nullptr) {
    char* control = static_cast<char*>(allocate_on(device, kControlBytes));
    workspace.ticket = reinterpret_cast<unsigned*>(control);
    workspace.flags = reinterpret_cast<unsigned*>(control + kControlBytes / 2);
  }
  if (workspace.partials == nullptr || memory.size.partials < needed.partials) {
    const std::int64_t size = grown(needed.partials, memory.size.partials, kFirstPartials);
    workspace.partials =
        static_cast<double*>(allocate_on(device, static_cast<std::size_t>(size) * sizeof(double)));
    memory.size.partials = size;
  }
  if (workspace.bins == nullptr || memory.size.bins < needed.bins) {
    const std::int64_t size = grown(needed.bins, memory.size.bins, kFirstBins);
    workspace.bins = static_cast<std::uint64_t*>(
        allocate_on(device, static_cast<std::size_t>(size) * sizeof(std::uint64_t)));
    memory.size.bins = size;
  }
  return workspace;
}

double* state_room_of(int device, void* stream, std::int64_t size) {
  const auto held = hold_devices();
  StreamMemory& memory = memory_of(device, stream);
  if (memory.state == nullptr || memory.state_size < size) {
    memory.state_size = grown(size, memory.state_size, kFirstState);
    memory.state = static_cast<double*>(
        allocate_on(device, static_cast<std::size_t>(memory.state_size) * sizeof(double)));
  }
  return memory.state;
}

void launch_on(int device, void* stream, CudaKernel kernel, const Grid& grid, const void* launch) {
  const auto held = hold_devices();
  check(api->launch(device, stream, kernel, grid, launch), "a kernel could not be launched");
  ++device_counts.launches;
}

}  // namespace kt
