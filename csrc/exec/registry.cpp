#include "registry.h"

#include <cstring>
#include <memory>

#include "../tensor/error.h"
#include "level.h"

namespace kt {
namespace {

// Whoever holds a row keeps a pointer to it: they never move.
std::vector<std::unique_ptr<RegisteredKernel>>& registered() {
  static std::vector<std::unique_ptr<RegisteredKernel>> all;
  return all;
}

const RegisteredKernel* find(const std::string& name) {
  for (const auto& kernel : registered()) {
    if (kernel->name == name) return kernel.get();
  }
  return nullptr;
}

[[noreturn]] void refuse(const std::string& module, const std::string& why) {
  throw ImportMistake("the kernels of " + module + " cannot be used: " + why);
}

// Nothing behind the first fields is looked at unless they are right.
void check(const KernelModule& module, const std::string& name) {
  if (module.abi != kAbi || module.layout != kAbiLayout) {
    const std::string version = module.version == nullptr ? "?" : module.version;
    refuse(name, "they were built with keras-tally " + version + " (kernel ABI " +
                     std::to_string(module.abi) + ", layout " + std::to_string(module.layout) +
                     "), and this one has kernel ABI " + std::to_string(kAbi) + ", layout " +
                     std::to_string(kAbiLayout) +
                     ". Build the package again, against the installed keras-tally: pip install "
                     "--force-reinstall --no-deps --no-cache-dir, see docs/cpp.md.");
  }
  if (module.kernel_count < 1 || module.level_count < 1) {
    refuse(name, "there are none in the module");
  }
  for (int i = 0; i < module.kernel_count; ++i) {
    const KernelRow& row = module.kernels[i];
    if (row.executor != Executor::Elementwise || row.id != i || row.operands != Operands::Binary ||
        row.shapes == Shapes::Rows) {
      refuse(name, std::string("`") + row.name + "` is no elementwise kernel of two operands");
    }
  }
}

// The module's best level that is not above the given one.
const ElementwiseBlocks* blocks_for(const KernelModule& module, const LevelList& list, int level) {
  for (int wanted = level; wanted >= 0; --wanted) {
    for (int i = 0; i < module.level_count; ++i) {
      const KernelLevel& found = module.levels[i];
      if (std::strcmp(found.name, list.levels[wanted]->name) == 0) return found.blocks;
    }
  }
  return module.levels[0].blocks;
}

}  // namespace

std::vector<std::string> register_kernels(const KernelModule& module,
                                          const std::string& module_name) {
  check(module, module_name);
  std::vector<std::string> names;
  int known = 0;
  for (int i = 0; i < module.kernel_count; ++i) {
    names.push_back(module_name + "." + module.kernels[i].name);
    const RegisteredKernel* found = find(names.back());
    if (found == nullptr) continue;
    ++known;
    if (found->module != &module) {
      refuse(module_name, "another module has registered `" + names.back() + "`");
    }
  }
  if (known == module.kernel_count) return names;
  const int first = static_cast<int>(registered().size());
  if (known > 0) refuse(module_name, "some of them are registered, and some are not");
  if (first + module.kernel_count > kMaxRegistered) {
    refuse(module_name, "only " + std::to_string(kMaxRegistered) +
                            " kernels of other packages may be registered");
  }
  const LevelList& levels = usable_levels();
  for (int i = 0; i < module.kernel_count; ++i) {
    auto kernel = std::make_unique<RegisteredKernel>();
    kernel->name = names[static_cast<std::size_t>(i)];
    kernel->row = module.kernels[i];
    kernel->row.name = kernel->name.c_str();
    kernel->row.id = kElementwiseKernels + first + i;
    kernel->module = &module;
    kernel->id_in_module = i;
    for (int level = 0; level < levels.count; ++level) {
      levels.levels[level]->elementwise[kernel->row.id] = blocks_for(module, levels, level)[i];
    }
    registered().push_back(std::move(kernel));
  }
  return names;
}

const KernelRow* find_registered(const std::string& name) {
  const RegisteredKernel* found = find(name);
  return found == nullptr ? nullptr : &found->row;
}

const RegisteredKernel& registered_kernel(int id) {
  return *registered().at(static_cast<std::size_t>(id - kElementwiseKernels));
}

}  // namespace kt
