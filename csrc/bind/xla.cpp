// XLA's foreign functions: what a jitted JAX function calls. The header is jaxlib's, of
// the oldest version that we support: its handlers run under every later one.
#include "xla.h"

#ifdef KT_HAVE_XLA

#include <xla/ffi/api/ffi.h>

#include "../cuda/devices.h"
#include "../exec/float_mode.h"
#include "../exec/program_api.h"
#include "../tensor/dlpack.h"
#include "../tensor/error.h"
#include "../tensor/shapes.h"

namespace ffi = xla::ffi;
namespace py = pybind11;

namespace kt {

std::atomic<long long> xla_updates = 0;

namespace {

DType dtype_of(ffi::DataType dtype) {
  switch (dtype) {
    case ffi::DataType::PRED:
      return DType::Bool;
    case ffi::DataType::U8:
      return DType::UInt8;
    case ffi::DataType::U16:
      return DType::UInt16;
    case ffi::DataType::U32:
      return DType::UInt32;
    case ffi::DataType::U64:
      return DType::UInt64;
    case ffi::DataType::S8:
      return DType::Int8;
    case ffi::DataType::S16:
      return DType::Int16;
    case ffi::DataType::S32:
      return DType::Int32;
    case ffi::DataType::S64:
      return DType::Int64;
    case ffi::DataType::F16:
      return DType::Float16;
    case ffi::DataType::BF16:
      return DType::BFloat16;
    case ffi::DataType::F32:
      return DType::Float32;
    case ffi::DataType::F64:
      return DType::Float64;
    default:
      throw TypeMistake("an array of this dtype");
  }
}

ffi::AnyBuffer argument(const ffi::RemainingArgs& all, int i) {
  const auto found = all.get<ffi::AnyBuffer>(static_cast<std::size_t>(i));
  if (!found.has_value()) throw std::logic_error("a handler with too few arguments");
  return *found;
}

ffi::AnyBuffer target(const ffi::RemainingRets& all, int i) {
  auto found = all.get<ffi::AnyBuffer>(static_cast<std::size_t>(i));
  if (!found.has_value()) throw std::logic_error("a handler with too few results");
  return **found;
}

View view_of(const ffi::AnyBuffer& buffer, const char* argument, int device) {
  View view;
  view.device = device;
  view.data = static_cast<const char*>(buffer.untyped_data());
  view.dtype = dtype_of(buffer.element_type());
  set_shape(&view, argument, buffer.dimensions().begin(), buffer.dimensions().size());
  return view;
}

StateArray state_array(const ffi::AnyBuffer& from, void* to) {
  return {from.untyped_data(), to, dtype_of(from.element_type()),
          static_cast<std::int64_t>(from.element_count())};
}

template <class Body>
ffi::Error guarded(Body&& body) {
  const FloatMode mode;
  try {
    body();
    return ffi::Error::Success();
  } catch (const ValueMistake& error) {
    return ffi::Error::InvalidArgument(error.what());
  } catch (const std::exception& error) {
    return ffi::Error::Internal(error.what());
  }
}

// A handler for the host is called without a stream.
struct Host {};
Where where_of(Host, const ffi::RemainingArgs&) { return {host_device(), nullptr}; }
// All of a handler's buffers are on the device of its stream.
Where where_of(void* stream, const ffi::RemainingArgs& arguments) {
  return {device_of(argument(arguments, 0).untyped_data()), stream};
}

// (states..., inputs...) -> states
template <class Stream>
ffi::Error update(Stream stream, std::string_view key, std::int64_t given,
                  ffi::RemainingArgs arguments, ffi::RemainingRets targets) {
  return guarded([&] {
    const Program& program = find_program(key);
    const Where where = where_of(stream, arguments);
    StateArrays arrays;
    int next = 0;
    for (; next < program.arrays(); ++next) {
      arrays.push_back(
          state_array(argument(arguments, next), target(targets, next).untyped_data()));
    }
    const auto input = [&](const char* name) {
      return view_of(argument(arguments, next++), name, where.device);
    };
    const Inputs inputs = read_inputs(static_cast<unsigned>(given), input);
    ++xla_updates;
    if (where.device == kHost) {
      program.update(inputs.batch, inputs.masked, arrays.data(), program.arrays(),
                     BadLabels::Poison);
    } else {
      program.update_on(where, inputs.batch, inputs.masked, arrays.data(), program.arrays());
    }
  });
}

// (states..., states to add, several in an array ...) -> states
template <class Stream>
ffi::Error merge(Stream stream, std::string_view key, std::int64_t others,
                 ffi::RemainingArgs arguments, ffi::RemainingRets targets) {
  return guarded([&] {
    const Program& program = find_program(key);
    const Where where = where_of(stream, arguments);
    const int count = program.arrays();
    StateArrays arrays, added;
    for (int i = 0; i < count; ++i) {
      arrays.push_back(state_array(argument(arguments, i), target(targets, i).untyped_data()));
      added.push_back(state_array(argument(arguments, count + i), nullptr));
    }
    if (where.device == kHost) {
      program.merge(arrays.data(), added.data(), count, others);
    } else {
      program.merge_on(where, arrays.data(), added.data(), count, others);
    }
  });
}

// states -> results
template <class Stream>
ffi::Error result(Stream stream, std::string_view key, ffi::RemainingArgs arguments,
                  ffi::RemainingRets targets) {
  return guarded([&] {
    const Program& program = find_program(key);
    const Where where = where_of(stream, arguments);
    StateArrays arrays;
    for (int i = 0; i < program.arrays(); ++i) {
      arrays.push_back(state_array(argument(arguments, i), nullptr));
    }
    ResultArrays results;
    for (int i = 0; i < program.members(); ++i) {
      const ffi::AnyBuffer to = target(targets, i);
      results.push_back({to.untyped_data(), dtype_of(to.element_type()),
                         static_cast<std::int64_t>(to.element_count())});
    }
    if (where.device == kHost) {
      program.results(arrays.data(), program.arrays(), results.data());
    } else {
      program.results_on(where, arrays.data(), program.arrays(), results.data());
    }
  });
}

ffi::Error update_on_host(std::string_view key, std::int64_t given, ffi::RemainingArgs arguments,
                          ffi::RemainingRets targets) {
  return update(Host{}, key, given, arguments, targets);
}
ffi::Error merge_on_host(std::string_view key, std::int64_t others, ffi::RemainingArgs arguments,
                         ffi::RemainingRets targets) {
  return merge(Host{}, key, others, arguments, targets);
}
ffi::Error result_on_host(std::string_view key, ffi::RemainingArgs arguments,
                          ffi::RemainingRets targets) {
  return result(Host{}, key, arguments, targets);
}

auto bind_host() { return ffi::Ffi::Bind().Attr<std::string_view>("program"); }
auto bind_stream() {
  return ffi::Ffi::Bind().Ctx<ffi::PlatformStream<void*>>().Attr<std::string_view>("program");
}

XLA_FFI_DEFINE_HANDLER(update_handler, update_on_host,
                       bind_host().Attr<std::int64_t>("given").RemainingArgs().RemainingRets());
XLA_FFI_DEFINE_HANDLER(merge_handler, merge_on_host,
                       bind_host().Attr<std::int64_t>("others").RemainingArgs().RemainingRets());
XLA_FFI_DEFINE_HANDLER(result_handler, result_on_host, bind_host().RemainingArgs().RemainingRets());

XLA_FFI_DEFINE_HANDLER(cuda_update_handler, update<void*>,
                       bind_stream().Attr<std::int64_t>("given").RemainingArgs().RemainingRets());
XLA_FFI_DEFINE_HANDLER(cuda_merge_handler, merge<void*>,
                       bind_stream().Attr<std::int64_t>("others").RemainingArgs().RemainingRets());
XLA_FFI_DEFINE_HANDLER(cuda_result_handler, result<void*>,
                       bind_stream().RemainingArgs().RemainingRets());

py::dict handlers_of(XLA_FFI_Handler* update, XLA_FFI_Handler* merge, XLA_FFI_Handler* result) {
  const auto capsule = [](XLA_FFI_Handler* handler) {
    return py::capsule(reinterpret_cast<void*>(handler), "xla._CUSTOM_CALL_TARGET");
  };
  py::dict handlers;
  handlers["keras_tally_update"] = capsule(update);
  handlers["keras_tally_merge"] = capsule(merge);
  handlers["keras_tally_result"] = capsule(result);
  return handlers;
}

}  // namespace

py::object xla_handlers() {
  py::dict handlers;
  handlers["cpu"] = handlers_of(update_handler, merge_handler, result_handler);
  handlers["CUDA"] = handlers_of(cuda_update_handler, cuda_merge_handler, cuda_result_handler);
  return handlers;
}

std::string xla_version() {
  return std::to_string(XLA_FFI_API_MAJOR) + "." + std::to_string(XLA_FFI_API_MINOR);
}

}  // namespace kt

#else

namespace kt {
std::atomic<long long> xla_updates = 0;
pybind11::object xla_handlers() { return pybind11::none(); }
std::string xla_version() { return "none"; }
}  // namespace kt

#endif
