# What is compiled into the modules besides our own code, as a software bill of materials (CycloneDX), which the wheel
# has in its .dist-info (PEP 770). NOTICE says the same to people; tests/repository/test_supply_chain.py compares the two.

set(kt_self "pkg:pypi/keras-tally@${SKBUILD_PROJECT_VERSION}")
string(CONCAT kt_bom "{\"bomFormat\": \"CycloneDX\", \"specVersion\": \"1.6\", \"version\": 1, \"metadata\": {"
                     "\"component\": {\"type\": \"library\", \"bom-ref\": \"${kt_self}\", \"name\": \"keras-tally\", "
                     "\"version\": \"${SKBUILD_PROJECT_VERSION}\", \"purl\": \"${kt_self}\", "
                     "\"licenses\": [{\"license\": {\"id\": \"Apache-2.0\"}}]}}, "
                     "\"components\": [], \"dependencies\": [{\"ref\": \"${kt_self}\", \"dependsOn\": []}]}")

function(keras_tally_add_component name version license reference description)
  string(CONCAT component "{\"type\": \"library\", \"bom-ref\": \"${reference}\", \"name\": \"${name}\", "
                          "\"version\": \"${version}\", \"description\": \"${description}\", "
                          "\"licenses\": [{\"license\": {${license}}}]}")
  string(JSON index LENGTH "${kt_bom}" components)
  string(JSON bom SET "${kt_bom}" components ${index} "${component}")
  string(JSON bom SET "${bom}" dependencies 0 dependsOn ${index} "\"${reference}\"")
  set(kt_bom "${bom}" PARENT_SCOPE)
endfunction()

# The number that a header defines.
function(keras_tally_read_number file macro result)
  file(STRINGS ${file} line REGEX "#define ${macro} [0-9]+")
  string(REGEX MATCH "[0-9]+$" number "${line}")
  set(${result} ${number} PARENT_SCOPE)
endfunction()

keras_tally_add_component(pybind11 ${pybind11_VERSION} "\"id\": \"BSD-3-Clause\"" "pkg:pypi/pybind11@${pybind11_VERSION}"
                          "Headers of the binding to Python")

keras_tally_read_number(${DLPACK_INCLUDE_DIR}/dlpack/dlpack.h DLPACK_MAJOR_VERSION kt_major)
keras_tally_read_number(${DLPACK_INCLUDE_DIR}/dlpack/dlpack.h DLPACK_MINOR_VERSION kt_minor)
keras_tally_add_component(dlpack ${kt_major}.${kt_minor} "\"id\": \"Apache-2.0\"" "dlpack@${kt_major}.${kt_minor}"
                          "The header dlpack.h, from apache-tvm-ffi")

if(KERAS_TALLY_HAVE_CUDA)
  keras_tally_add_component(
    cuda-runtime ${CMAKE_CUDA_COMPILER_VERSION} "\"name\": \"NVIDIA CUDA Toolkit End User License Agreement\""
    "cuda-runtime@${CMAKE_CUDA_COMPILER_VERSION}" "The CUDA runtime, linked in; the version is that of the compiler")
endif()

if(SKBUILD_METADATA_DIR)
  file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/keras-tally.cdx.json "${kt_bom}\n")
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/keras-tally.cdx.json DESTINATION ${SKBUILD_METADATA_DIR}/sboms)
endif()
