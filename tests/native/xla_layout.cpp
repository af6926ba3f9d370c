// csrc/xla/ffi.h beside XLA's own header, that of the installed jaxlib: compiling this is
// the test (tests/test_xla.py).
#include <xla/ffi/api/c_api.h>

#include <type_traits>

#include "../../csrc/xla/ffi.h"

namespace kt::xla {

#define SAME_FIELD(ours, field, theirs, name)                                                \
  static_assert(offsetof(ours, field) == offsetof(theirs, name), #ours "::" #field);         \
  static_assert(sizeof(ours::field) == sizeof(theirs::name), #ours "::" #field);             \
  static_assert(                                                                             \
      std::is_pointer_v<decltype(ours::field)> == std::is_pointer_v<decltype(theirs::name)>, \
      #ours "::" #field)
// Of structs that a handler makes: XLA looks at their size.
#define SAME_SIZE(ours, last, theirs) \
  static_assert(KT_XLA_SIZE(ours, last) == theirs##_STRUCT_SIZE, #ours)
#define SAME_VALUE(ours, theirs) \
  static_assert(static_cast<long long>(ours) == static_cast<long long>(theirs), #ours)

// Its name is not the same in all versions.
using TheirExtension = std::remove_pointer_t<decltype(XLA_FFI_CallFrame::extension_start)>;

static_assert(XLA_FFI_API_MAJOR == kMajorVersion);
static_assert(XLA_FFI_API_MINOR >= kOldestMinorVersion);

SAME_FIELD(Extension, struct_size, TheirExtension, struct_size);
SAME_FIELD(Extension, type, TheirExtension, type);
SAME_FIELD(Extension, next, TheirExtension, next);
SAME_VALUE(kMetadata, XLA_FFI_Extension_Metadata);

SAME_FIELD(Version, struct_size, XLA_FFI_Api_Version, struct_size);
SAME_FIELD(Version, extensions, XLA_FFI_Api_Version, extension_start);
SAME_FIELD(Version, major_version, XLA_FFI_Api_Version, major_version);
SAME_FIELD(Version, minor_version, XLA_FFI_Api_Version, minor_version);
SAME_SIZE(Version, minor_version, XLA_FFI_Api_Version);

SAME_VALUE(kInvalidArgument, XLA_FFI_Error_Code_INVALID_ARGUMENT);
SAME_VALUE(kInternal, XLA_FFI_Error_Code_INTERNAL);

SAME_FIELD(CreateError, struct_size, XLA_FFI_Error_Create_Args, struct_size);
SAME_FIELD(CreateError, extensions, XLA_FFI_Error_Create_Args, extension_start);
SAME_FIELD(CreateError, message, XLA_FFI_Error_Create_Args, message);
SAME_FIELD(CreateError, code, XLA_FFI_Error_Create_Args, errc);
SAME_SIZE(CreateError, code, XLA_FFI_Error_Create_Args);

SAME_FIELD(GetStream, struct_size, XLA_FFI_Stream_Get_Args, struct_size);
SAME_FIELD(GetStream, extensions, XLA_FFI_Stream_Get_Args, extension_start);
SAME_FIELD(GetStream, context, XLA_FFI_Stream_Get_Args, ctx);
SAME_FIELD(GetStream, stream, XLA_FFI_Stream_Get_Args, stream);
SAME_SIZE(GetStream, stream, XLA_FFI_Stream_Get_Args);

SAME_FIELD(Api, struct_size, XLA_FFI_Api, struct_size);
SAME_FIELD(Api, extensions, XLA_FFI_Api, extension_start);
SAME_FIELD(Api, version, XLA_FFI_Api, api_version);
SAME_FIELD(Api, internal, XLA_FFI_Api, internal_api);
SAME_FIELD(Api, create_error, XLA_FFI_Api, XLA_FFI_Error_Create);
SAME_FIELD(Api, get_stream, XLA_FFI_Api, XLA_FFI_Stream_Get);

SAME_VALUE(DataType::Bool, XLA_FFI_DataType_PRED);
SAME_VALUE(DataType::Int8, XLA_FFI_DataType_S8);
SAME_VALUE(DataType::Int16, XLA_FFI_DataType_S16);
SAME_VALUE(DataType::Int32, XLA_FFI_DataType_S32);
SAME_VALUE(DataType::Int64, XLA_FFI_DataType_S64);
SAME_VALUE(DataType::UInt8, XLA_FFI_DataType_U8);
SAME_VALUE(DataType::UInt16, XLA_FFI_DataType_U16);
SAME_VALUE(DataType::UInt32, XLA_FFI_DataType_U32);
SAME_VALUE(DataType::UInt64, XLA_FFI_DataType_U64);
SAME_VALUE(DataType::Float16, XLA_FFI_DataType_F16);
SAME_VALUE(DataType::Float32, XLA_FFI_DataType_F32);
SAME_VALUE(DataType::Float64, XLA_FFI_DataType_F64);
SAME_VALUE(DataType::BFloat16, XLA_FFI_DataType_BF16);

SAME_FIELD(Buffer, struct_size, XLA_FFI_Buffer, struct_size);
SAME_FIELD(Buffer, extensions, XLA_FFI_Buffer, extension_start);
SAME_FIELD(Buffer, dtype, XLA_FFI_Buffer, dtype);
SAME_FIELD(Buffer, data, XLA_FFI_Buffer, data);
SAME_FIELD(Buffer, rank, XLA_FFI_Buffer, rank);
SAME_FIELD(Buffer, dims, XLA_FFI_Buffer, dims);
SAME_VALUE(kBuffer, XLA_FFI_ArgType_BUFFER);
SAME_VALUE(kBuffer, XLA_FFI_RetType_BUFFER);

#define SAME_BUFFERS(theirs, name)                          \
  SAME_FIELD(Buffers, struct_size, theirs, struct_size);    \
  SAME_FIELD(Buffers, extensions, theirs, extension_start); \
  SAME_FIELD(Buffers, size, theirs, size);                  \
  SAME_FIELD(Buffers, types, theirs, types);                \
  SAME_FIELD(Buffers, items, theirs, name);                 \
  static_assert(sizeof(*Buffers::types) == sizeof(*theirs::types))
SAME_BUFFERS(XLA_FFI_Args, args);
SAME_BUFFERS(XLA_FFI_Rets, rets);

SAME_FIELD(Text, data, XLA_FFI_ByteSpan, ptr);
SAME_FIELD(Text, size, XLA_FFI_ByteSpan, len);
SAME_FIELD(Scalar, dtype, XLA_FFI_Scalar, dtype);
SAME_FIELD(Scalar, value, XLA_FFI_Scalar, value);
SAME_VALUE(kScalar, XLA_FFI_AttrType_SCALAR);
SAME_VALUE(kText, XLA_FFI_AttrType_STRING);

SAME_FIELD(Attributes, struct_size, XLA_FFI_Attrs, struct_size);
SAME_FIELD(Attributes, extensions, XLA_FFI_Attrs, extension_start);
SAME_FIELD(Attributes, size, XLA_FFI_Attrs, size);
SAME_FIELD(Attributes, types, XLA_FFI_Attrs, types);
SAME_FIELD(Attributes, names, XLA_FFI_Attrs, names);
SAME_FIELD(Attributes, items, XLA_FFI_Attrs, attrs);
static_assert(sizeof(*Attributes::types) == sizeof(*XLA_FFI_Attrs::types));

SAME_VALUE(kExecute, XLA_FFI_ExecutionStage_EXECUTE);
SAME_FIELD(CallFrame, struct_size, XLA_FFI_CallFrame, struct_size);
SAME_FIELD(CallFrame, extensions, XLA_FFI_CallFrame, extension_start);
SAME_FIELD(CallFrame, api, XLA_FFI_CallFrame, api);
SAME_FIELD(CallFrame, context, XLA_FFI_CallFrame, ctx);
SAME_FIELD(CallFrame, stage, XLA_FFI_CallFrame, stage);
SAME_FIELD(CallFrame, arguments, XLA_FFI_CallFrame, args);
SAME_FIELD(CallFrame, results, XLA_FFI_CallFrame, rets);
SAME_FIELD(CallFrame, attributes, XLA_FFI_CallFrame, attrs);
SAME_SIZE(CallFrame, attributes, XLA_FFI_CallFrame);

SAME_FIELD(Metadata, struct_size, XLA_FFI_Metadata, struct_size);
SAME_FIELD(Metadata, version, XLA_FFI_Metadata, api_version);
SAME_FIELD(Metadata, traits, XLA_FFI_Metadata, traits);
SAME_FIELD(MetadataExtension, base, XLA_FFI_Metadata_Extension, extension_base);
SAME_FIELD(MetadataExtension, metadata, XLA_FFI_Metadata_Extension, metadata);

}  // namespace kt::xla
