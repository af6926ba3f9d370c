# One object per SIMD level of what a source file compiles to, each in a namespace of its own.

# The levels as "namespace name": the namespace in C++, and the name that users see.
set(KERAS_TALLY_LEVELS "baseline baseline")
set(KERAS_TALLY_HAVE_X86_LEVELS FALSE)
option(KERAS_TALLY_X86_LEVELS "Compile the kernels for newer x86-64 processors, too" ON)
if(KERAS_TALLY_X86_LEVELS AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND KERAS_TALLY_LEVELS "x86_64_v3 x86-64-v3" "x86_64_v4 x86-64-v4")
  set(KERAS_TALLY_HAVE_X86_LEVELS TRUE)
endif()

# Makes the object libraries <prefix>_<namespace> and puts their names into `result`; what is linked to `prefix` and
# its private definitions and folders are theirs.
function(keras_tally_add_levels prefix source result)
  set(targets "")
  foreach(level IN LISTS KERAS_TALLY_LEVELS)
    separate_arguments(level)
    list(GET level 0 namespace)
    list(GET level 1 name)
    set(target ${prefix}_${namespace})
    add_library(${target} OBJECT ${source})
    target_compile_definitions(${target} PRIVATE KT_LEVEL=${namespace} KT_LEVEL_NAME=${name})
    if(NOT namespace STREQUAL "baseline")
      target_compile_options(${target} PRIVATE -march=${name})
    endif()
    target_link_libraries(${target} PRIVATE keras_tally_options)
    list(APPEND targets ${target})
  endforeach()
  set(${result} ${targets} PARENT_SCOPE)
endfunction()
