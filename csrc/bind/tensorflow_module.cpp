// TensorFlow's operations KerasTallyUpdate and KerasTallyResult, in a module of its own,
// `keras_tally._tensorflow`. They are written against TensorFlow's C interface, which
// stays the same from version to version; its functions are looked up in the TensorFlow
// that is running, so nothing of it is needed to build or to import this.
//
// tf.load_op_library() loads the file as a library, which registers the operations as it is
// initialised; Python imports the same file as a module, which gets the kernels from
// `_native`.
#include <dlfcn.h>
#include <pybind11/pybind11.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "../exec/float_mode.h"
#include "../exec/program_api.h"
#include "../tensor/error.h"
#include "../tensor/shapes.h"
#include "main_interpreter.h"

extern "C" {
struct TF_Status;
struct TF_Tensor;
struct TF_OpDefinitionBuilder;
struct TF_ShapeInferenceContext;
struct TF_KernelBuilder;
struct TF_OpKernelConstruction;
struct TF_OpKernelContext;
}

namespace kt {
namespace {

using TF_DataType = int;  // an enumeration in C
using ShapeFunction = void (*)(TF_ShapeInferenceContext*, TF_Status*);
using CreateKernel = void* (*)(TF_OpKernelConstruction*);
using RunKernel = void (*)(void*, TF_OpKernelContext*);
using DeleteKernel = void (*)(void*);

// tensorflow/c/{ops,kernels,tf_tensor,tf_status}.h
#define KT_TENSORFLOW_FUNCTIONS(X)                                                              \
  X(TF_Status*, TF_NewStatus, ())                                                               \
  X(void, TF_DeleteStatus, (TF_Status*))                                                        \
  X(void, TF_SetStatus, (TF_Status*, int code, const char*))                                    \
  X(int, TF_GetCode, (const TF_Status*))                                                        \
  X(const char*, TF_Message, (const TF_Status*))                                                \
  X(TF_OpDefinitionBuilder*, TF_NewOpDefinitionBuilder, (const char*))                          \
  X(void, TF_OpDefinitionBuilderAddAttr, (TF_OpDefinitionBuilder*, const char*))                \
  X(void, TF_OpDefinitionBuilderAddInput, (TF_OpDefinitionBuilder*, const char*))               \
  X(void, TF_OpDefinitionBuilderAddOutput, (TF_OpDefinitionBuilder*, const char*))              \
  X(void, TF_OpDefinitionBuilderSetShapeInferenceFunction,                                      \
    (TF_OpDefinitionBuilder*, ShapeFunction))                                                   \
  X(void, TF_RegisterOpDefinition, (TF_OpDefinitionBuilder*, TF_Status*))                       \
  X(void, TF_ShapeInferenceContextSetUnknownShape, (TF_ShapeInferenceContext*, TF_Status*))     \
  X(TF_KernelBuilder*, TF_NewKernelBuilder,                                                     \
    (const char* op, const char* device, CreateKernel, RunKernel, DeleteKernel))                \
  X(void, TF_RegisterKernelBuilder, (const char*, TF_KernelBuilder*, TF_Status*))               \
  X(void, TF_OpKernelConstruction_GetAttrString,                                                \
    (TF_OpKernelConstruction*, const char*, char*, std::size_t, TF_Status*))                    \
  X(void, TF_OpKernelConstruction_GetAttrInt64,                                                 \
    (TF_OpKernelConstruction*, const char*, std::int64_t*, TF_Status*))                         \
  X(void, TF_OpKernelConstruction_Failure, (TF_OpKernelConstruction*, TF_Status*))              \
  X(int, TF_NumInputs, (TF_OpKernelContext*))                                                   \
  X(void, TF_GetInput, (TF_OpKernelContext*, int, TF_Tensor**, TF_Status*))                     \
  X(TF_DataType, TF_ExpectedOutputDataType, (TF_OpKernelContext*, int))                         \
  X(TF_Tensor*, TF_AllocateOutput,                                                              \
    (TF_OpKernelContext*, int, TF_DataType, const std::int64_t*, int, std::size_t, TF_Status*)) \
  X(void, TF_OpKernelContext_Failure, (TF_OpKernelContext*, TF_Status*))                        \
  X(void, TF_DeleteTensor, (TF_Tensor*))                                                        \
  X(TF_DataType, TF_TensorType, (const TF_Tensor*))                                             \
  X(int, TF_NumDims, (const TF_Tensor*))                                                        \
  X(std::int64_t, TF_Dim, (const TF_Tensor*, int))                                              \
  X(void*, TF_TensorData, (const TF_Tensor*))

struct TensorFlow {
#define KT_POINTER(result, name, arguments) result(*name) arguments = nullptr;
  KT_TENSORFLOW_FUNCTIONS(KT_POINTER)
#undef KT_POINTER
} tf;

constexpr int kInvalidArgument = 3, kInternal = 13;

const ProgramApi* programs = nullptr;
std::atomic<long long> updates = 0;
std::string fault = "TensorFlow has not loaded this file";

class Status {
 public:
  Status() : status_(tf.TF_NewStatus()) {}
  ~Status() { tf.TF_DeleteStatus(status_); }
  Status(const Status&) = delete;
  Status& operator=(const Status&) = delete;
  TF_Status* get() const { return status_; }
  void check() const {
    if (tf.TF_GetCode(status_) != 0) throw std::runtime_error(tf.TF_Message(status_));
  }

 private:
  TF_Status* status_;
};

DType dtype_of(TF_DataType dtype) {
  switch (dtype) {
    case 1:
      return DType::Float32;
    case 2:
      return DType::Float64;
    case 3:
      return DType::Int32;
    case 4:
      return DType::UInt8;
    case 5:
      return DType::Int16;
    case 6:
      return DType::Int8;
    case 9:
      return DType::Int64;
    case 10:
      return DType::Bool;
    case 14:
      return DType::BFloat16;
    case 17:
      return DType::UInt16;
    case 19:
      return DType::Float16;
    case 22:
      return DType::UInt32;
    case 23:
      return DType::UInt64;
    default:
      throw TypeMistake(
          "tensors must have a bool, integer, float16, bfloat16, float32 or "
          "float64 dtype");
  }
}

// A kernel's tensors, given back when it has run.
class Context {
 public:
  explicit Context(TF_OpKernelContext* context) : context_(context) {}
  ~Context() {
    for (TF_Tensor* tensor : tensors_) tf.TF_DeleteTensor(tensor);
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  View input(int i, const char* argument) {
    TF_Tensor* tensor = nullptr;
    tf.TF_GetInput(context_, i, &tensor, status_.get());
    status_.check();
    tensors_.push_back(tensor);
    const int rank = tf.TF_NumDims(tensor);
    std::vector<std::int64_t> shape;
    for (int d = 0; d < rank; ++d) shape.push_back(tf.TF_Dim(tensor, d));
    View view;
    view.dtype = dtype_of(tf.TF_TensorType(tensor));
    view.data = static_cast<const char*>(tf.TF_TensorData(tensor));
    set_shape(&view, argument, shape.data(), shape.size());
    return view;
  }

  void* output(int i, TF_DataType dtype, const View& shape) {
    const auto bytes = static_cast<std::size_t>(shape.size() * item_size(dtype_of(dtype)));
    TF_Tensor* tensor =
        tf.TF_AllocateOutput(context_, i, dtype, shape.shape, shape.rank, bytes, status_.get());
    status_.check();
    tensors_.push_back(tensor);
    return tf.TF_TensorData(tensor);
  }

  TF_DataType output_type(int i) const { return tf.TF_ExpectedOutputDataType(context_, i); }

 private:
  TF_OpKernelContext* context_;
  std::vector<TF_Tensor*> tensors_;
  Status status_;
};

// What an operation's attributes say.
struct Kernel {
  const Program* program = nullptr;
  unsigned given = 0;
};

template <class Fail, class Body>
void guarded(Fail fail, Body&& body) {
  const FloatMode mode;
  int code = 0;
  std::string message;
  try {
    return body();
  } catch (const ValueMistake& error) {
    code = kInvalidArgument, message = error.what();
  } catch (const TypeMistake& error) {
    code = kInvalidArgument, message = error.what();
  } catch (const std::exception& error) {
    code = kInternal, message = error.what();
  }
  const Status status;
  tf.TF_SetStatus(status.get(), code, message.c_str());
  fail(status.get());
}

template <bool kUpdates>
void* create(TF_OpKernelConstruction* construction) {
  auto* kernel = new Kernel;
  guarded([&](TF_Status* status) { tf.TF_OpKernelConstruction_Failure(construction, status); },
          [&] {
            const Status status;
            char key[65] = {};  // 64 hexadecimal digits
            tf.TF_OpKernelConstruction_GetAttrString(construction, "program", key, 64,
                                                     status.get());
            status.check();
            if (programs == nullptr) throw std::logic_error("the kernels are not there");
            kernel->program = &programs->find(key);
            if (!kUpdates) return;
            std::int64_t given = 0;
            tf.TF_OpKernelConstruction_GetAttrInt64(construction, "given", &given, status.get());
            status.check();
            kernel->given = static_cast<unsigned>(given);
          });
  return kernel;
}

void destroy(void* kernel) { delete static_cast<Kernel*>(kernel); }

void update(void* kernel, TF_OpKernelContext* context) {
  const auto fail = [&](TF_Status* status) { tf.TF_OpKernelContext_Failure(context, status); };
  guarded(fail, [&] {
    const auto& [program, given] = *static_cast<Kernel*>(kernel);
    Context tensors(context);
    StateArrays arrays;
    int next = 0;
    for (; next < program->arrays(); ++next) {
      const View from = tensors.input(next, "state");
      void* to = tensors.output(next, tensors.output_type(next), from);
      arrays.push_back({from.data, to, from.dtype, from.size()});
    }
    const Batch batch =
        read_inputs(given, [&](const char* name) { return tensors.input(next++, name); });
    ++updates;
    programs->update(*program, batch, arrays.data(), program->arrays());
  });
}

void result(void* kernel, TF_OpKernelContext* context) {
  const auto fail = [&](TF_Status* status) { tf.TF_OpKernelContext_Failure(context, status); };
  guarded(fail, [&] {
    const Program* program = static_cast<Kernel*>(kernel)->program;
    Context tensors(context);
    StateArrays arrays;
    for (int i = 0; i < program->arrays(); ++i) {
      const View from = tensors.input(i, "state");
      arrays.push_back({from.data, nullptr, from.dtype, from.size()});
    }
    ResultArrays results;
    for (int i = 0; i < program->members(); ++i) {
      const std::int64_t size = programs->result_size(*program, i);
      View shape;
      shape.rank = size < 0 ? 0 : 1;
      shape.shape[0] = size;
      const TF_DataType dtype = tensors.output_type(i);
      results.push_back({tensors.output(i, dtype, shape), dtype_of(dtype), shape.size()});
    }
    programs->results(*program, arrays.data(), program->arrays(), results.data());
  });
}

void register_operation(const char* name, const std::vector<const char*>& attributes,
                        const std::vector<const char*>& inputs, const char* output,
                        CreateKernel create_kernel, RunKernel run) {
  TF_OpDefinitionBuilder* builder = tf.TF_NewOpDefinitionBuilder(name);
  for (const char* attribute : attributes) tf.TF_OpDefinitionBuilderAddAttr(builder, attribute);
  for (const char* input : inputs) tf.TF_OpDefinitionBuilderAddInput(builder, input);
  tf.TF_OpDefinitionBuilderAddOutput(builder, output);
  // Python sets the shapes: it knows how many outputs there are.
  tf.TF_OpDefinitionBuilderSetShapeInferenceFunction(
      builder, [](TF_ShapeInferenceContext* context, TF_Status* status) {
        tf.TF_ShapeInferenceContextSetUnknownShape(context, status);
      });
  const Status status;
  tf.TF_RegisterOpDefinition(builder, status.get());
  status.check();
  tf.TF_RegisterKernelBuilder(
      name, tf.TF_NewKernelBuilder(name, "CPU", create_kernel, run, destroy), status.get());
  status.check();
}

void register_operations() {
#ifdef __APPLE__
  constexpr const char* kLibrary = "libtensorflow_framework.2.dylib";
#else
  constexpr const char* kLibrary = "libtensorflow_framework.so.2";
#endif
  void* library = dlopen(kLibrary, RTLD_NOLOAD | RTLD_LAZY);
  if (library == nullptr) return;
#define KT_LOOK_UP(result, name, arguments)                               \
  tf.name = reinterpret_cast<result(*) arguments>(dlsym(library, #name)); \
  if (tf.name == nullptr) throw std::runtime_error("TensorFlow has no " #name);
  KT_TENSORFLOW_FUNCTIONS(KT_LOOK_UP)
#undef KT_LOOK_UP
  constexpr const char* kStates = "states: list({float, double, int32, int64}) >= 1";
  register_operation(
      "KerasTallyUpdate", {kStates, "inputs: list(type) >= 1", "program: string", "given: int"},
      {"state: states", "arguments: inputs"}, "new_state: states", create<true>, update);
  register_operation(
      "KerasTallyResult",
      {kStates, "dtypes: list({float, double, int32, int64}) >= 1", "program: string"},
      {"state: states"}, "results: dtypes", create<false>, result);
  fault.clear();
}

// What happens when the file is loaded. Variables of one file are initialised from top to
// bottom; a [[gnu::constructor]] could run before `fault` is there.
[[maybe_unused]] const bool loaded = [] {
  try {
    register_operations();
  } catch (const std::exception& error) {
    fault = error.what();
  }
  return fault.empty();
}();

}  // namespace
}  // namespace kt

PYBIND11_MODULE(_tensorflow, m) {
  m.doc() = "TensorFlow operations of keras-tally. Not a public interface.";
  // Empty once the operations are registered.
  m.def("fault", [] { return kt::fault; });
  m.def("updates", [] { return kt::updates.load(); });
  m.def("set_programs", [](const pybind11::capsule& capsule) {
    kt::programs = static_cast<const kt::ProgramApi*>(
        PyCapsule_GetPointer(capsule.ptr(), kt::kProgramApiCapsule));
    if (kt::programs == nullptr) throw pybind11::error_already_set();
  });
}
