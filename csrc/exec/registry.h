// Kernels of other packages, which join the table's at run time.
#pragma once

#include <string>
#include <vector>

#include "../extension/abi.h"

namespace kt {

struct RegisteredKernel {
  std::string name;  // that of the module, a dot, that of its row
  KernelRow row;
  const KernelModule* module;
  int id_in_module;
};

// Returns the names; throws ImportMistake, and registers none, where the module does not
// fit. The same module may come again. All of these are called with the interpreter's
// lock held.
std::vector<std::string> register_kernels(const KernelModule& module,
                                          const std::string& module_name);
// Null where there is none.
const KernelRow* find_registered(const std::string& name);
const RegisteredKernel& registered_kernel(int id);

}  // namespace kt
