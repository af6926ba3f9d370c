// One call of a handler by XLA: its buffers and attributes, checked, and its errors.
#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>

#include "../exec/float_mode.h"
#include "../tensor/error.h"
#include "ffi.h"

namespace kt::xla {

inline Error* make_error(const Api* api, std::int32_t code, const char* message) {
  CreateError error = {KT_XLA_SIZE(CreateError, code), nullptr, message, code};
  return api->create_error(&error);
}

class Call {
 public:
  explicit Call(const CallFrame& frame) : frame_(frame) {
    if (frame.stage != kExecute) throw std::logic_error("a handler called in another stage");
  }

  const Buffer& argument(int i) const { return buffer(frame_.arguments, i); }
  const Buffer& result(int i) const { return buffer(frame_.results, i); }

  std::string_view text(std::string_view name) const {
    const Text& text = *static_cast<const Text*>(attribute(name, kText));
    return {text.data, text.size};
  }

  std::int64_t integer(std::string_view name) const {
    const Scalar& scalar = *static_cast<const Scalar*>(attribute(name, kScalar));
    if (scalar.dtype != DataType::Int64) {
      throw std::logic_error(std::string(name) + " is no 64-bit integer");
    }
    std::int64_t value;
    std::memcpy(&value, scalar.value, sizeof(value));
    return value;
  }

  // The CUDA stream that the work belongs on.
  void* stream() const {
    const Api& api = *frame_.api;
    GetStream get = {KT_XLA_SIZE(GetStream, stream), nullptr, frame_.context, nullptr};
    if (api.struct_size < KT_XLA_SIZE(Api, get_stream) || api.get_stream(&get) != nullptr) {
      throw std::logic_error("XLA gives no stream");
    }
    return get.stream;
  }

 private:
  static const Buffer& buffer(const Buffers& all, int i) {
    if (i >= all.size || all.types[i] != kBuffer) {
      throw std::logic_error("a handler with too few buffers");
    }
    return *static_cast<const Buffer*>(all.items[i]);
  }

  const void* attribute(std::string_view name, std::int32_t type) const {
    const Attributes& all = frame_.attributes;
    for (std::int64_t i = 0; i < all.size; ++i) {
      if (std::string_view(all.names[i]->data, all.names[i]->size) != name) continue;
      if (all.types[i] == type) return all.items[i];
    }
    throw std::logic_error("a handler without the attribute " + std::string(name));
  }

  const CallFrame& frame_;
};

// Whether XLA only wants to know which version of its interface the handler speaks: the
// newest that both know. XLA refuses versions above its own, and one day the oldest ones.
inline bool answer_metadata(const CallFrame& frame) {
  for (Extension* extension = frame.extensions; extension != nullptr; extension = extension->next) {
    if (extension->type != kMetadata) continue;
    int minor = kOldestMinorVersion;
    if (frame.api != nullptr && frame.api->version.major_version == kMajorVersion) {
      minor = std::clamp<int>(frame.api->version.minor_version, kOldestMinorVersion,
                              kNewestMinorVersion);
    }
    Metadata& metadata = *reinterpret_cast<MetadataExtension*>(extension)->metadata;
    metadata.version = {KT_XLA_SIZE(Version, minor_version), nullptr, kMajorVersion, minor};
    metadata.traits = 0;
    return true;
  }
  return false;
}

// A handler's work: body(call).
template <class Body>
Error* handle(const CallFrame* frame, Body&& body) {
  if (answer_metadata(*frame)) return nullptr;
  if (frame->struct_size < KT_XLA_SIZE(CallFrame, attributes)) {
    return make_error(frame->api, kInvalidArgument, "XLA's calls are of an older version");
  }
  const FloatMode mode;
  try {
    body(Call(*frame));
    return nullptr;
  } catch (const ValueMistake& error) {
    return make_error(frame->api, kInvalidArgument, error.what());
  } catch (const std::exception& error) {
    return make_error(frame->api, kInternal, error.what());
  }
}

}  // namespace kt::xla
