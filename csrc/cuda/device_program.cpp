// Programs (exec/program.h) whose arrays are in the memory of a device.
#include <memory>
#include <stdexcept>
#include <vector>

#include "../exec/program.h"
#include "../exec/scratch.h"
#include "../exec/work.h"
#include "device_work.h"

namespace kt {
namespace {

void launch_kept(const Where& where, CudaKernel kernel, const Program::Member& member,
                 const State& state, const StateArray* arrays, bool adds = false) {
  KeptLaunch launch;
  launch.adds = adds;
  launch.state = state;
  for (int v = 0; v < state.count; ++v) {
    launch.kept[v] = kept_in(arrays, member, v);
  }
  const Configuration configuration = configure(kernel, launch, device_info(where.device));
  launch_on(where.device, where.stream, kernel, configuration.grid, &launch);
}

}  // namespace

// What the kernels read besides batches and states.
class Program::OnDevices {
 public:
  explicit OnDevices(std::size_t members) : constants_(members) {}

  const DeviceConstants& constants(std::size_t member, int device, const Metric& metric) {
    return constants_[member].on(device, metric);
  }

  // The states of all members, as they are kept in the arrays.
  static std::vector<State> read(const Where& where, const std::vector<Member>& members,
                                 const StateArray* arrays) {
    std::int64_t size = 0;
    for (const Member& member : members) {
      for (const Variable& variable : member.variables) size += variable.size;
    }
    double* room = state_room_of(where.device, where.stream, size);
    std::vector<State> states;
    for (const Member& member : members) {
      static_assert(sizeof(std::int64_t) == sizeof(double));
      states.push_back(working_state(member, arrays, [&](std::int64_t n) {
        double* start = room;
        room += n;
        return start;
      }));
      launch_kept(where, CudaKernel::read_kept, member, states.back(), arrays);
    }
    return states;
  }

  static void write(const Where& where, const std::vector<Member>& members,
                    const std::vector<State>& states, const StateArray* arrays, int count) {
    // Also what belongs to none of these metrics.
    for (int i = 0; i < count; ++i) {
      const StateArray& array = arrays[i];
      if (array.from == array.to) continue;
      copy_on(where.device, where.stream, array.to, array.from,
              static_cast<std::size_t>(array.size * item_size(array.dtype)));
    }
    for (std::size_t i = 0; i < members.size(); ++i) {
      launch_kept(where, CudaKernel::write_kept, members[i], states[i], arrays);
    }
  }

 private:
  std::vector<ConstantsOnDevices> constants_;
};

std::shared_ptr<Program::OnDevices> Program::make_on_devices(std::size_t members) {
  return std::make_shared<OnDevices>(members);
}

void Program::update_on(const Where& where, const Batch& batch, const StateArray* arrays,
                        int count) const {
  check_inputs(batch);
  check_arrays(arrays, count);
  const auto held = hold_devices();
  const std::vector<State> states = OnDevices::read(where, members_, arrays);
  ScratchArena scratch;
  Arena& arena = *scratch;
  std::pmr::vector<InArena<Work>> works(&arena);
  works.reserve(members_.size());
  DeviceUpdate update(where.device, where.stream);
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const Metric& metric = members_[i].metric;
    works.push_back(make_work(metric, batch, arena));
    update.add(metric, *works.back(), on_devices_->constants(i, where.device, metric), states[i]);
  }
  update.run();
  OnDevices::write(where, members_, states, arrays, count);
}

void Program::merge_on(const Where& where, const StateArray* arrays, const StateArray* added,
                       int count, std::int64_t others) const {
  check_added(arrays, added, count, others);
  const auto held = hold_devices();
  const std::vector<State> states = OnDevices::read(where, members_, arrays);
  for (std::int64_t other = 0; other < others; ++other) {
    std::vector<StateArray> one;
    for (int i = 0; i < count; ++i) one.push_back(one_of(added[i], arrays[i].size, other));
    for (std::size_t m = 0; m < members_.size(); ++m) {
      launch_kept(where, CudaKernel::read_kept, members_[m], states[m], one.data(), true);
    }
  }
  OnDevices::write(where, members_, states, arrays, count);
}

void Program::results_on(const Where& where, const StateArray* arrays, int count,
                         const ResultArray* results) const {
  check_arrays(arrays, count);
  const auto held = hold_devices();
  const std::vector<State> states = OnDevices::read(where, members_, arrays);
  for (std::size_t i = 0; i < members_.size(); ++i) {
    check_result(results[i], static_cast<int>(i));
    const Metric& metric = members_[i].metric;
    finish_on(where.device, where.stream, metric, on_devices_->constants(i, where.device, metric),
              states[i], results[i].to, results[i].dtype);
  }
}

}  // namespace kt
