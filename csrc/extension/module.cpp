// The extension module of another package's kernels, see docs/cpp.md. Importing it
// registers them; its attributes are their names: `_kernels.quantile_error`.
// keras_tally_add_kernels() compiles it with KT_MODULE, the module's name.
#include <Python.h>

#if defined(KT_HAVE_DEVICE_KERNELS)
#include "device.h"
#else
#include "abi.h"
#endif

namespace kt {

#define KT_OWN_LEVEL(space)                    \
  namespace space {                            \
  extern const ElementwiseBlocks kOwnBlocks[]; \
  }
KT_OWN_LEVEL(baseline)
#if defined(KT_HAVE_X86_LEVELS)
KT_OWN_LEVEL(x86_64_v3)
KT_OWN_LEVEL(x86_64_v4)
#endif

namespace {

const KernelRow kRows[] = {
#define KT_ELEMENTWISE(name, definition, operands, shapes) \
  elementwise_row(#name, ElementwiseId::name, Operands::operands, Shapes::shapes),
#include "../kernels.def"
};

const KernelLevel kLevels[] = {
    {"baseline", baseline::kOwnBlocks},
#if defined(KT_HAVE_X86_LEVELS)
    {"x86-64-v3", x86_64_v3::kOwnBlocks},
    {"x86-64-v4", x86_64_v4::kOwnBlocks},
#endif
};

const KernelModule kModule = {
    kAbi,
    kAbiLayout,
    KT_BUILT_WITH,
    static_cast<int>(sizeof(kRows) / sizeof(kRows[0])),
    kRows,
    static_cast<int>(sizeof(kLevels) / sizeof(kLevels[0])),
    kLevels,
#if defined(KT_HAVE_DEVICE_KERNELS)
    &kOwnDeviceKernels,
#else
    nullptr,
#endif
};

// keras_tally._native.register_kernels(capsule, name): a dict of names, or null.
PyObject* registered(PyObject* name) {
  PyObject* capsule =
      PyCapsule_New(const_cast<KernelModule*>(&kModule), kKernelModuleCapsule, nullptr);
  if (capsule == nullptr) return nullptr;
  PyObject* native = PyImport_ImportModule("keras_tally._native");
  PyObject* names = native == nullptr
                        ? nullptr
                        : PyObject_CallMethod(native, "register_kernels", "OO", capsule, name);
  Py_XDECREF(native);
  Py_DECREF(capsule);
  return names;
}

int execute(PyObject* module) {
  PyObject* name = PyModule_GetNameObject(module);
  if (name == nullptr) return -1;
  PyObject* names = registered(name);
  Py_DECREF(name);
  if (names == nullptr) return -1;
  const int failed = PyDict_Update(PyModule_GetDict(module), names);
  Py_DECREF(names);
  return failed;
}

PyModuleDef_Slot slots[] = {
    {Py_mod_exec, reinterpret_cast<void*>(execute)},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, nullptr},
};

#define KT_TEXT_OF(x) #x
#define KT_TEXT(x) KT_TEXT_OF(x)
#define KT_JOINED(a, b) a##b
#define KT_JOIN(a, b) KT_JOINED(a, b)

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    KT_TEXT(KT_MODULE),
    "Kernels of keras_tally, by name.",
    0,
    nullptr,
    slots,
    nullptr,
    nullptr,
    nullptr,
};

}  // namespace
}  // namespace kt

PyMODINIT_FUNC KT_JOIN(PyInit_, KT_MODULE)() { return PyModuleDef_Init(&kt::definition); }
