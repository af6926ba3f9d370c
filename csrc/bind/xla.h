// XLA's foreign functions, for JAX.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <string>

namespace kt {

// The handlers by platform and name, in capsules as jax.ffi takes them.
pybind11::dict xla_handlers();

// The versions of XLA's interface that they speak.
std::string xla_version();

// Updates by a handler, from any thread of XLA.
extern std::atomic<long long> xla_updates;

}  // namespace kt
