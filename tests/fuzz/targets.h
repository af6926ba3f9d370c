// What is fuzzed: each takes bytes that mean anything or nothing, and throws
// std::logic_error where something is wrong that no sanitizer sees. Mistakes that are
// refused as they should be are no errors.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../../csrc/exec/expression.h"
#include "bytes.h"

namespace kt::fuzz {

using Target = void (*)(const std::uint8_t* data, std::size_t size);

// The loader of elementwise programs, and its code against the steps it was made of.
void expression(const std::uint8_t* data, std::size_t size);
// DLPack tensors through intake, shape rules, kernels and results.
void batch(const std::uint8_t* data, std::size_t size);

Expression::Source read_source(Bytes& bytes, std::int64_t inputs);

// Equal bits, or both NaN.
bool same(double a, double b);

}  // namespace kt::fuzz
