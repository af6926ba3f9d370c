#include "dlpack.h"

#include <cstdint>

#include "../cuda/devices.h"
#include "error.h"
#include "shapes.h"

namespace kt {

void refuse_dtype(const char* argument, const std::string& dtype) {
  throw TypeMistake(std::string("`") + argument +
                    "` must have a bool, integer, float16, bfloat16, float32 or float64 dtype. "
                    "Received: dtype=" +
                    dtype);
}

bool aligned(const View& view) {
  return reinterpret_cast<std::uintptr_t>(view.data) %
             static_cast<std::uintptr_t>(item_size(view.dtype)) ==
         0;
}

int host_device() { return devices_are_emulated && has_devices() ? 0 : kHost; }

namespace {

std::string name_of(DLDataType dtype) {
  const char* kind = "an unknown kind";
  switch (dtype.code) {
    case kDLComplex:
      kind = "complex";
      break;
    case kDLInt:
      kind = "int";
      break;
    case kDLUInt:
      kind = "uint";
      break;
    case kDLFloat:
      kind = "float";
      break;
    case kDLBfloat:
      kind = "bfloat";
      break;
    case kDLBool:
      kind = "bool";
      break;
    default:
      if (dtype.code >= kDLFloat8_e3m4 && dtype.code <= kDLFloat8_e8m0fnu) kind = "float";
  }
  const std::string name = kind + std::to_string(dtype.bits);
  return dtype.lanes == 1 ? name : name + " in vectors of " + std::to_string(dtype.lanes);
}

DType dtype_of(DLDataType dtype, const char* argument) {
  if (dtype.lanes == 1) {
    const int bits = dtype.bits;
    switch (dtype.code) {
      case kDLBool:
        if (bits == 8) return DType::Bool;
        break;
      case kDLInt:
        if (bits == 8) return DType::Int8;
        if (bits == 16) return DType::Int16;
        if (bits == 32) return DType::Int32;
        if (bits == 64) return DType::Int64;
        break;
      case kDLUInt:
        if (bits == 8) return DType::UInt8;
        if (bits == 16) return DType::UInt16;
        if (bits == 32) return DType::UInt32;
        if (bits == 64) return DType::UInt64;
        break;
      case kDLFloat:
        if (bits == 16) return DType::Float16;
        if (bits == 32) return DType::Float32;
        if (bits == 64) return DType::Float64;
        break;
      case kDLBfloat:
        if (bits == 16) return DType::BFloat16;
        break;
      default:
        break;
    }
  }
  refuse_dtype(argument, name_of(dtype));
}

}  // namespace

bool read_dlpack(const DLTensor& tensor, const char* argument, View* view) {
  switch (tensor.device.device_type) {
    case kDLCPU:
    case kDLCUDAHost:
      view->device = host_device();
      break;
    case kDLCUDA:
      if (tensor.device.device_id < 0 || tensor.device.device_id >= device_count()) return false;
      view->device = tensor.device.device_id;
      break;
    default:
      return false;
  }
  if (tensor.ndim < 0 || (tensor.ndim > 0 && tensor.shape == nullptr)) {
    throw ValueMistake(std::string("`") + argument + "` must be a tensor that has a shape. " +
                       "Received: one of " + std::to_string(tensor.ndim) + " axes");
  }
  set_shape(view, argument, tensor.shape, static_cast<std::size_t>(tensor.ndim));
  view->dtype = dtype_of(tensor.dtype, argument);
  if (tensor.strides != nullptr) {
    for (int d = 0; d < tensor.ndim; ++d) view->strides[d] = tensor.strides[d];
    check_size(*view, argument);
  }
  // Fake tensors have a shape but no data.
  if (tensor.data == nullptr) {
    view->data = nullptr;
    return view->size() == 0;
  }
  view->data = static_cast<const char*>(tensor.data) + tensor.byte_offset;
  return aligned(*view);
}

}  // namespace kt
