# XLA's header for foreign functions, which makes the kernels usable in jitted JAX code.
# It comes with jaxlib, which is needed to build and not to run.

set(KERAS_TALLY_XLA
    AUTO
    CACHE STRING "Build the handlers that JAX calls: AUTO (where jaxlib's header is found), ON or OFF")
set_property(CACHE KERAS_TALLY_XLA PROPERTY STRINGS AUTO ON OFF)
set(KERAS_TALLY_XLA_INCLUDE_DIR
    ""
    CACHE PATH "The folder `include` of a jaxlib (of the oldest one that is supported)")

function(keras_tally_add_xla target)
  if(NOT KERAS_TALLY_XLA)
    return()
  endif()
  set(folder "${KERAS_TALLY_XLA_INCLUDE_DIR}")
  if(NOT folder)
    execute_process(
      COMMAND ${Python_EXECUTABLE} -c
              "import importlib.util as u, os; print(os.path.join(os.path.dirname(u.find_spec('jaxlib').origin), 'include'))"
      OUTPUT_VARIABLE folder
      OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  if(EXISTS "${folder}/xla/ffi/api/ffi.h")
    message(STATUS "XLA's header: ${folder}")
    target_include_directories(${target} SYSTEM PRIVATE ${folder})
    target_compile_definitions(${target} PRIVATE KT_HAVE_XLA)
    set(KERAS_TALLY_XLA_HEADERS ${folder} PARENT_SCOPE)
  elseif(KERAS_TALLY_XLA STREQUAL "AUTO")
    message(STATUS "XLA's header is not there: JAX will run Keras's own operations")
  else()
    message(FATAL_ERROR "KERAS_TALLY_XLA=ON, but there is no xla/ffi/api/ffi.h in '${folder}'")
  endif()
endfunction()
