# Finds a CUDA compiler and enables the language, before any target is made (pybind11's targets could not be made later).
# Sets KERAS_TALLY_HAVE_CUDA; then keras_tally_set_cuda() prepares targets.

set(KERAS_TALLY_CUDA AUTO CACHE STRING "Build CUDA kernels: AUTO (where there is a GPU, and nvcc), ON or OFF")
set_property(CACHE KERAS_TALLY_CUDA PROPERTY STRINGS AUTO ON OFF)
set(KERAS_TALLY_CUDA_OLDEST 12.0)
set(KERAS_TALLY_HAVE_CUDA FALSE)

# Ends the configuration if CUDA was demanded.
function(keras_tally_no_cuda reason)
  if(KERAS_TALLY_CUDA STREQUAL "AUTO")
    message(STATUS "The CUDA kernels are skipped: ${reason}")
  else()
    message(FATAL_ERROR "KERAS_TALLY_CUDA=${KERAS_TALLY_CUDA}, but ${reason}.\nInstall CUDA ${KERAS_TALLY_CUDA_OLDEST} or newer "
                        "and put its nvcc into PATH, or name it in the environment: CUDACXX=<folder>/bin/nvcc. "
                        "docs/cuda.md has more. KERAS_TALLY_CUDA=OFF builds without.")
  endif()
endfunction()

# The lines of a file that are not comments.
function(keras_tally_read_list file result)
  set(path ${CMAKE_CURRENT_SOURCE_DIR}/csrc/${file})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
  file(STRINGS ${path} lines REGEX "^[^#]")
  set(${result} ${lines} PARENT_SCOPE)
endfunction()

macro(keras_tally_find_cuda)
  # Looked at first, and ours are set before the language is enabled, which would put its own into the cache.
  if(DEFINED CMAKE_CUDA_ARCHITECTURES OR NOT "$ENV{CUDAARCHS}" STREQUAL "")
    set(kt_default_architectures FALSE)
  else()
    set(kt_default_architectures TRUE)
  endif()
  if(NOT DEFINED CMAKE_CUDA_HOST_COMPILER AND "$ENV{CUDAHOSTCXX}" STREQUAL "")
    set(ENV{CUDAHOSTCXX} "${CMAKE_CXX_COMPILER}")
  endif()
  if(NOT CMAKE_CUDA_COMPILER)
    unset(CMAKE_CUDA_COMPILER CACHE) # not found last time: look again
  endif()
  include(CheckLanguage)
  check_language(CUDA)

  set(kt_cuda_version "")
  if(CMAKE_CUDA_COMPILER)
    execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --version OUTPUT_VARIABLE kt_cuda_version ERROR_QUIET)
    # "Cuda compilation tools, release 13.0, V13.0.88": of nvcc and of no other compiler.
    if(kt_cuda_version MATCHES "release [0-9.]+, V([0-9.]+)")
      set(kt_cuda_version ${CMAKE_MATCH_1})
    else()
      set(kt_cuda_version "")
    endif()
  endif()
  if(NOT CMAKE_CUDA_COMPILER)
    if("$ENV{CUDACXX}" STREQUAL "")
      keras_tally_no_cuda("no CUDA compiler that works was found")
    else()
      keras_tally_no_cuda("the CUDA compiler in CUDACXX, $ENV{CUDACXX}, does not work")
    endif()
  elseif(NOT kt_cuda_version)
    keras_tally_no_cuda("the CUDA compiler ${CMAKE_CUDA_COMPILER} is not nvcc")
  elseif(kt_cuda_version VERSION_LESS KERAS_TALLY_CUDA_OLDEST)
    keras_tally_no_cuda("${CMAKE_CUDA_COMPILER} is of CUDA ${kt_cuda_version}, older than ${KERAS_TALLY_CUDA_OLDEST}")
  else()
    if(kt_default_architectures)
      keras_tally_default_architectures()
    endif()
    enable_language(CUDA)
    if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
      # CMake before 3.26 does not know it of nvcc.
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    endif()
    set(KERAS_TALLY_HAVE_CUDA TRUE)
    message(STATUS "The CUDA kernels are built by ${CMAKE_CUDA_COMPILER} (CUDA ${kt_cuda_version}) "
                   "for ${CMAKE_CUDA_ARCHITECTURES}")
  endif()
endmacro()

# Machine code for what both the list and the compiler know, and PTX of the newest.
macro(keras_tally_default_architectures)
  keras_tally_read_list(cuda/architectures.txt kt_listed)
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-code OUTPUT_VARIABLE kt_known COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "sm_[0-9]+" kt_known "${kt_known}")
  set(kt_chosen "")
  foreach(architecture IN LISTS kt_listed)
    if(sm_${architecture} IN_LIST kt_known)
      list(APPEND kt_chosen ${architecture}-real)
      set(kt_newest ${architecture})
    endif()
  endforeach()
  set(CMAKE_CUDA_ARCHITECTURES ${kt_chosen} ${kt_newest}-virtual)
endmacro()

# Compiling them takes minutes: who has no GPU is not asked to wait.
function(keras_tally_find_gpu result)
  find_program(nvidia_smi nvidia-smi NO_CACHE)
  if(nvidia_smi)
    execute_process(COMMAND ${nvidia_smi} -L RESULT_VARIABLE status OUTPUT_QUIET ERROR_QUIET)
    if(status EQUAL 0)
      set(${result} TRUE PARENT_SCOPE)
      return()
    endif()
  endif()
  set(${result} FALSE PARENT_SCOPE)
endfunction()

if(KERAS_TALLY_CUDA STREQUAL "AUTO")
  keras_tally_find_gpu(kt_has_gpu)
  if(kt_has_gpu)
    keras_tally_find_cuda()
  else()
    message(STATUS "The CUDA kernels are skipped: nvidia-smi lists no GPU. KERAS_TALLY_CUDA=ON builds them all the same.")
  endif()
elseif(KERAS_TALLY_CUDA)
  keras_tally_find_cuda()
else()
  message(STATUS "The CUDA kernels are skipped: KERAS_TALLY_CUDA=${KERAS_TALLY_CUDA}")
endif()

# Of a target with CUDA sources. It has the CUDA runtime in it and needs no driver to be loaded.
function(keras_tally_set_cuda target)
  set_target_properties(${target} PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_EXTENSIONS OFF
                                             CUDA_RUNTIME_LIBRARY Static CUDA_VISIBILITY_PRESET hidden
                                             # nothing of the runtime is offered to other libraries
                                             LINK_OPTIONS "LINKER:--exclude-libs,ALL")
  target_include_directories(${target} SYSTEM PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
  keras_tally_read_list(cuda/nvcc_flags.txt flags)
  # Architectures are compiled side by side, and the machine code is compressed.
  list(APPEND flags -O3 --threads=0 -Xfatbin=-compress-all)
  if(KERAS_TALLY_WERROR)
    list(APPEND flags --Werror=all-warnings)
  endif()
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:${flags}>")
endfunction()
