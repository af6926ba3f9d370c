# keras_tally_add_kernels(<module> HEADERS <header>... KERNELS <row>... [WITHOUT_CUDA])
#
# Makes the Python extension module <module> with kernels of your own, which joins keras_tally's when it is imported.
# HEADERS have the definitions (keras_tally/definition.h says what they are). Each row of KERNELS is
# "name, definition, shapes": the module's attribute, the struct, and how y_true must fit y_pred: Broadcast (squeeze or
# expand a trailing 1, then broadcast), Plain (broadcast by NumPy's rules alone) or Same (equal shapes).
#
#   keras_tally_add_kernels(_kernels HEADERS quantile_error.h KERNELS "quantile_error, QuantileError, Broadcast")
#
# The module is compiled for every SIMD level and, where nvcc is found, for GPUs, see docs/cpp.md.
function(keras_tally_add_kernels module)
  cmake_parse_arguments(PARSE_ARGV 1 arg "WITHOUT_CUDA" "" "HEADERS;KERNELS")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_HEADERS OR NOT arg_KERNELS)
    message(FATAL_ERROR "keras_tally_add_kernels(${ARGV}): it takes <module> HEADERS <header>... KERNELS <row>... [WITHOUT_CUDA]")
  endif()
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/${module}.kernels)
  set(includes "")
  foreach(header IN LISTS arg_HEADERS)
    cmake_path(ABSOLUTE_PATH header BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} NORMALIZE)
    if(NOT EXISTS ${header})
      message(FATAL_ERROR "keras_tally_add_kernels(${module}): there is no header ${header}")
    endif()
    string(APPEND includes "#include \"${header}\"\n")
  endforeach()
  set(rows "")
  foreach(row IN LISTS arg_KERNELS)
    if(NOT row MATCHES "^([A-Za-z][A-Za-z0-9_]*), *([A-Za-z_][A-Za-z0-9_:]*), *(Broadcast|Plain|Same)$")
      message(FATAL_ERROR "keras_tally_add_kernels(${module}): a kernel is \"name, definition, Broadcast|Plain|Same\". "
                          "Received: \"${row}\"")
    endif()
    string(APPEND rows "KT_ELEMENTWISE(${CMAKE_MATCH_1}, ${CMAKE_MATCH_2}, Binary, ${CMAKE_MATCH_3})\n")
  endforeach()
  file(CONFIGURE OUTPUT ${folder}/definitions.h CONTENT "#pragma once\n${includes}" @ONLY)
  file(CONFIGURE OUTPUT ${folder}/kernels.def CONTENT "${rows}" @ONLY)

  set(sources ${KERAS_TALLY_SOURCES}/extension)
  Python_add_library(${module} MODULE WITH_SOABI ${sources}/module.cpp)
  keras_tally_set_cxx(${module})
  keras_tally_add_levels(${module} ${sources}/level.cpp levels)
  if(KERAS_TALLY_HAVE_CUDA AND NOT arg_WITHOUT_CUDA)
    target_sources(${module} PRIVATE ${sources}/kernels.cu)
    keras_tally_set_cuda(${module})
    target_compile_definitions(${module} PRIVATE KT_HAVE_DEVICE_KERNELS)
  endif()
  target_compile_definitions(${module} PRIVATE KT_MODULE=${module} KT_BUILT_WITH="${KERAS_TALLY_VERSION}"
                                               $<$<BOOL:${KERAS_TALLY_HAVE_X86_LEVELS}>:KT_HAVE_X86_LEVELS>)
  foreach(target IN LISTS levels ITEMS ${module})
    target_compile_definitions(${target} PRIVATE KT_OWN_KERNELS="${folder}/kernels.def"
                                                 KT_OWN_DEFINITIONS="${folder}/definitions.h")
    # As <keras_tally/definition.h>.
    target_include_directories(${target} SYSTEM PRIVATE ${KERAS_TALLY_INCLUDE_DIR})
  endforeach()
  foreach(level IN LISTS levels)
    target_link_libraries(${module} PRIVATE ${level})
  endforeach()
  target_link_libraries(${module} PRIVATE keras_tally_options)
endfunction()
