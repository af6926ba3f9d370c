// The user's mistakes, translated to Python exceptions at one place
// (bind/errors.h). Anything else that is thrown is a fault of ours.
#pragma once

#include <stdexcept>
#include <string>

namespace kt {

struct ValueMistake : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct TypeMistake : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What a GPU's runtime has refused: no memory, an earlier fault ...
struct DeviceFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace kt
