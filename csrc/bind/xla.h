// XLA's foreign functions, for JAX.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <string>

namespace kt {

// The handlers by platform and name, in capsules as jax.ffi takes them; None where this was
// built without XLA's header.
pybind11::object xla_handlers();

// The version of XLA's interface for them.
std::string xla_version();

// Updates by a handler, from any thread of XLA.
extern std::atomic<long long> xla_updates;

}  // namespace kt
