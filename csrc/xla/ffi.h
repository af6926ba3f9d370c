// What our handlers use of XLA's C interface for foreign functions, in versions 0.1 to 0.5:
// declared here, so that nothing of jaxlib is needed to build. XLA documents it in
// xla/ffi/api/c_api.h; tests/native/xla_layout.cpp compares sizes, offsets and values with
// the header of the installed jaxlib. A new minor version only adds at the end of structs,
// which say how long they are.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kt::xla {

constexpr int kMajorVersion = 0;
constexpr int kOldestMinorVersion = 1, kNewestMinorVersion = 5;

// Of a struct without the padding behind its last field, as XLA counts it.
#define KT_XLA_SIZE(type, last) (offsetof(type, last) + sizeof(type::last))

struct Extension {
  std::size_t struct_size;
  std::int32_t type;
  Extension* next;
};
constexpr std::int32_t kMetadata = 1;  // the type of a MetadataExtension

struct Version {
  std::size_t struct_size;
  Extension* extensions;
  std::int32_t major_version, minor_version;
};

// An error belongs to whoever it is returned to: XLA deletes those of handlers.
struct Error;
constexpr std::int32_t kInvalidArgument = 3, kInternal = 13;

struct CreateError {
  std::size_t struct_size;
  Extension* extensions;
  const char* message;
  std::int32_t code;
};

struct Context;

struct GetStream {
  std::size_t struct_size;
  Extension* extensions;
  Context* context;
  void* stream;  // out
};

struct Api {
  std::size_t struct_size;
  Extension* extensions;
  Version version;
  const void* internal;
  Error* (*create_error)(CreateError*);
  void (*unused[3])();
  Error* (*get_stream)(GetStream*);
};

// The dtypes that we read; XLA has more.
enum class DataType : std::int32_t {
  Bool = 1,
  Int8 = 2,
  Int16 = 3,
  Int32 = 4,
  Int64 = 5,
  UInt8 = 6,
  UInt16 = 7,
  UInt32 = 8,
  UInt64 = 9,
  Float16 = 10,
  Float32 = 11,
  Float64 = 12,
  BFloat16 = 16,
};

struct Buffer {
  std::size_t struct_size;
  Extension* extensions;
  DataType dtype;
  void* data;
  std::int64_t rank;
  std::int64_t* dims;
};
constexpr std::int32_t kBuffer = 1;  // the type of an argument or result

// Arguments, and results likewise.
struct Buffers {
  std::size_t struct_size;
  Extension* extensions;
  std::int64_t size;
  std::int32_t* types;
  void** items;
};

struct Text {
  const char* data;
  std::size_t size;
};
struct Scalar {
  DataType dtype;
  void* value;
};
constexpr std::int32_t kScalar = 3, kText = 4;  // types of attributes

struct Attributes {
  std::size_t struct_size;
  Extension* extensions;
  std::int64_t size;
  std::int32_t* types;
  Text** names;
  void** items;
};

constexpr std::int32_t kExecute = 3;  // the stage

struct CallFrame {
  std::size_t struct_size;
  Extension* extensions;
  const Api* api;
  Context* context;
  std::int32_t stage;
  Buffers arguments, results;
  Attributes attributes;
};

using Handler = Error*(CallFrame*);

// XLA asks a handler for these before it registers it.
struct Metadata {
  std::size_t struct_size;
  Version version;  // out
  std::uint32_t traits;
};
struct MetadataExtension {
  Extension base;
  Metadata* metadata;
};

}  // namespace kt::xla
