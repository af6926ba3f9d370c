// XLA's foreign functions: what a jitted JAX function calls.
#include "xla.h"

#include <functional>
#include <numeric>

#include "../cuda/devices.h"
#include "../exec/program_api.h"
#include "../tensor/dlpack.h"
#include "../tensor/error.h"
#include "../tensor/shapes.h"
#include "../xla/call.h"

namespace py = pybind11;

namespace kt {

std::atomic<long long> xla_updates = 0;

namespace {

DType dtype_of(xla::DataType dtype) {
  switch (dtype) {
#define KT_CASE(name)       \
  case xla::DataType::name: \
    return DType::name;
    KT_CASE(Bool)
    KT_CASE(UInt8)
    KT_CASE(UInt16)
    KT_CASE(UInt32)
    KT_CASE(UInt64)
    KT_CASE(Int8)
    KT_CASE(Int16)
    KT_CASE(Int32)
    KT_CASE(Int64)
    KT_CASE(Float16)
    KT_CASE(BFloat16)
    KT_CASE(Float32)
    KT_CASE(Float64)
#undef KT_CASE
  }
  throw TypeMistake("an array of this dtype");
}

View view_of(const xla::Buffer& buffer, const char* argument, int device) {
  View view;
  view.device = device;
  view.data = static_cast<const char*>(buffer.data);
  view.dtype = dtype_of(buffer.dtype);
  set_shape(&view, argument, buffer.dims, static_cast<std::size_t>(buffer.rank));
  return view;
}

std::int64_t size_of(const xla::Buffer& buffer) {
  return std::accumulate(buffer.dims, buffer.dims + buffer.rank, std::int64_t{1},
                         std::multiplies<>());
}

StateArray state_array(const xla::Buffer& from, void* to) {
  return {from.data, to, dtype_of(from.dtype), size_of(from)};
}

enum class On { Host, Device };

// All of a handler's buffers are on the device of its stream.
template <On kOn>
Where where_of(const xla::Call& call) {
  if constexpr (kOn == On::Host) {
    return {host_device(), nullptr};
  } else {
    return {device_of(call.argument(0).data), call.stream()};
  }
}

// (states..., inputs...) -> states
template <On kOn>
xla::Error* update(xla::CallFrame* frame) {
  return xla::handle(frame, [](const xla::Call& call) {
    const Program& program = find_program(call.text("program"));
    const Where where = where_of<kOn>(call);
    StateArrays arrays;
    int next = 0;
    for (; next < program.arrays(); ++next) {
      arrays.push_back(state_array(call.argument(next), call.result(next).data));
    }
    const auto input = [&](const char* name) {
      return view_of(call.argument(next++), name, where.device);
    };
    const Batch batch = read_inputs(static_cast<unsigned>(call.integer("given")), input);
    ++xla_updates;
    if (where.device == kHost) {
      program.update(batch, arrays.data(), program.arrays(), BadLabels::Poison);
    } else {
      program.update_on(where, batch, arrays.data(), program.arrays());
    }
  });
}

// (states..., states to add, several in an array ...) -> states
template <On kOn>
xla::Error* merge(xla::CallFrame* frame) {
  return xla::handle(frame, [](const xla::Call& call) {
    const Program& program = find_program(call.text("program"));
    const std::int64_t others = call.integer("others");
    const Where where = where_of<kOn>(call);
    const int count = program.arrays();
    StateArrays arrays, added;
    for (int i = 0; i < count; ++i) {
      arrays.push_back(state_array(call.argument(i), call.result(i).data));
      added.push_back(state_array(call.argument(count + i), nullptr));
    }
    if (where.device == kHost) {
      program.merge(arrays.data(), added.data(), count, others);
    } else {
      program.merge_on(where, arrays.data(), added.data(), count, others);
    }
  });
}

// states -> results
template <On kOn>
xla::Error* result(xla::CallFrame* frame) {
  return xla::handle(frame, [](const xla::Call& call) {
    const Program& program = find_program(call.text("program"));
    const Where where = where_of<kOn>(call);
    StateArrays arrays;
    for (int i = 0; i < program.arrays(); ++i) {
      arrays.push_back(state_array(call.argument(i), nullptr));
    }
    ResultArrays results;
    for (int i = 0; i < program.members(); ++i) {
      const xla::Buffer& to = call.result(i);
      results.push_back({to.data, dtype_of(to.dtype), size_of(to)});
    }
    if (where.device == kHost) {
      program.results(arrays.data(), program.arrays(), results.data());
    } else {
      program.results_on(where, arrays.data(), program.arrays(), results.data());
    }
  });
}

template <On kOn>
py::dict handlers_on() {
  const auto capsule = [](xla::Handler* handler) {
    return py::capsule(reinterpret_cast<void*>(handler), "xla._CUSTOM_CALL_TARGET");
  };
  py::dict handlers;
  handlers["keras_tally_update"] = capsule(update<kOn>);
  handlers["keras_tally_merge"] = capsule(merge<kOn>);
  handlers["keras_tally_result"] = capsule(result<kOn>);
  return handlers;
}

}  // namespace

py::dict xla_handlers() {
  py::dict handlers;
  handlers["cpu"] = handlers_on<On::Host>();
  handlers["CUDA"] = handlers_on<On::Device>();
  return handlers;
}

std::string xla_version() {
  const std::string major = std::to_string(xla::kMajorVersion) + ".";
  return major + std::to_string(xla::kOldestMinorVersion) + " to " + major +
         std::to_string(xla::kNewestMinorVersion);
}

}  // namespace kt
