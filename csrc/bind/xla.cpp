// XLA's foreign functions: what a jitted JAX function calls. The header is jaxlib's, of
// the oldest version that we support: its handlers run under every later one.
#include "xla.h"

#ifdef KT_HAVE_XLA

#include <xla/ffi/api/ffi.h>

#include "../exec/program_api.h"
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

View view_of(const ffi::AnyBuffer& buffer, const char* argument) {
  View view;
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
  try {
    body();
    return ffi::Error::Success();
  } catch (const ValueMistake& error) {
    return ffi::Error::InvalidArgument(error.what());
  } catch (const std::exception& error) {
    return ffi::Error::Internal(error.what());
  }
}

// (states..., inputs...) -> states
ffi::Error update(std::string_view key, std::int64_t given, ffi::RemainingArgs arguments,
                  ffi::RemainingRets targets) {
  return guarded([&] {
    const Program& program = find_program(key);
    StateArrays arrays;
    int next = 0;
    for (; next < program.arrays(); ++next) {
      arrays.push_back(
          state_array(argument(arguments, next), target(targets, next).untyped_data()));
    }
    const auto input = [&](const char* name) { return view_of(argument(arguments, next++), name); };
    const Inputs inputs = read_inputs(static_cast<unsigned>(given), input);
    ++xla_updates;
    program.update(inputs.batch, inputs.masked, arrays.data(), program.arrays(), BadLabels::Poison);
  });
}

// (states..., states to add, several in an array ...) -> states
ffi::Error merge(std::string_view key, std::int64_t others, ffi::RemainingArgs arguments,
                 ffi::RemainingRets targets) {
  return guarded([&] {
    const Program& program = find_program(key);
    const int count = program.arrays();
    StateArrays arrays, added;
    for (int i = 0; i < count; ++i) {
      arrays.push_back(state_array(argument(arguments, i), target(targets, i).untyped_data()));
      added.push_back(state_array(argument(arguments, count + i), nullptr));
    }
    program.merge(arrays.data(), added.data(), count, others);
  });
}

// states -> results
ffi::Error result(std::string_view key, ffi::RemainingArgs arguments, ffi::RemainingRets targets) {
  return guarded([&] {
    const Program& program = find_program(key);
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
    program.results(arrays.data(), program.arrays(), results.data());
  });
}

XLA_FFI_DEFINE_HANDLER(update_handler, update,
                       ffi::Ffi::Bind()
                           .Attr<std::string_view>("program")
                           .Attr<std::int64_t>("given")
                           .RemainingArgs()
                           .RemainingRets());

XLA_FFI_DEFINE_HANDLER(merge_handler, merge,
                       ffi::Ffi::Bind()
                           .Attr<std::string_view>("program")
                           .Attr<std::int64_t>("others")
                           .RemainingArgs()
                           .RemainingRets());

XLA_FFI_DEFINE_HANDLER(
    result_handler, result,
    ffi::Ffi::Bind().Attr<std::string_view>("program").RemainingArgs().RemainingRets());

py::capsule handler(XLA_FFI_Handler* function) {
  return py::capsule(reinterpret_cast<void*>(function), "xla._CUSTOM_CALL_TARGET");
}

}  // namespace

py::object xla_handlers() {
  py::dict handlers;
  handlers["keras_tally_update"] = handler(update_handler);
  handlers["keras_tally_merge"] = handler(merge_handler);
  handlers["keras_tally_result"] = handler(result_handler);
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
