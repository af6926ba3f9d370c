# What `make sanitize` and `make fuzz` run, and the tests that go through the fuzzers' corpora (docs/trust.md).

# The targets of the fuzzers, with the core.
add_library(keras_tally_fuzz OBJECT tests/fuzz/batch.cpp tests/fuzz/expression.cpp)
target_include_directories(keras_tally_fuzz SYSTEM PRIVATE ${DLPACK_INCLUDE_DIR})
target_compile_options(keras_tally_fuzz PRIVATE -O1)
target_link_libraries(keras_tally_fuzz PRIVATE keras_tally_options)
set(KERAS_TALLY_CORE_OBJECTS $<TARGET_OBJECTS:keras_tally_core> ${level_objects})

# For Python.
pybind11_add_module(_fuzz_targets MODULE NO_EXTRAS tests/fuzz/module.cpp $<TARGET_OBJECTS:keras_tally_fuzz>
                    ${KERAS_TALLY_CORE_OBJECTS})
target_link_libraries(_fuzz_targets PRIVATE keras_tally_options)
install(TARGETS _fuzz_targets LIBRARY DESTINATION keras_tally)

# Without Python; built when asked for.
function(keras_tally_add_program name)
  add_executable(${name} EXCLUDE_FROM_ALL ${ARGN} ${KERAS_TALLY_CORE_OBJECTS})
  target_link_libraries(${name} PRIVATE keras_tally_options)
endfunction()
keras_tally_add_program(thread_updates tests/native/thread_updates.cpp)
keras_tally_add_program(fuzz_replay tests/fuzz/replay.cpp $<TARGET_OBJECTS:keras_tally_fuzz>)

# With clang, whose libFuzzer finds new inputs.
if(KERAS_TALLY_SANITIZE MATCHES "fuzzer")
  foreach(target batch expression)
    keras_tally_add_program(fuzz_${target} tests/fuzz/libfuzzer.cpp $<TARGET_OBJECTS:keras_tally_fuzz>)
    target_compile_definitions(fuzz_${target} PRIVATE KT_FUZZ_TARGET=${target})
    target_link_options(fuzz_${target} PRIVATE -fsanitize=fuzzer)
  endforeach()
endif()
