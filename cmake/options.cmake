# Compiler options of everything native: the target keras_tally_options.

set(KERAS_TALLY_HOST_OPTIONS
    -Wall
    -Wextra
    # 64-byte vectors never cross an ABI boundary: every function that
    # takes one is inlined.
    -Wno-psabi
    # The same bits at every SIMD level: no contraction to fused
    # multiply-add. The rest lets branch-free loops vectorise and
    # changes no result.
    -ffp-contract=off
    -fno-trapping-math
    -fno-math-errno
    # GCC 12 drops double -> float -> double from straight-line code
    # when it packs two of them into one vector. Our vectors are
    # explicit, so nothing is lost without it.
    -fno-tree-slp-vectorize)
# Definitions are free of branches, so they say & between comparisons.
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  list(APPEND KERAS_TALLY_HOST_OPTIONS -Wno-bitwise-instead-of-logical)
endif()
if(KERAS_TALLY_WERROR)
  list(APPEND KERAS_TALLY_HOST_OPTIONS -Werror)
endif()
list(JOIN KERAS_TALLY_HOST_OPTIONS "," KERAS_TALLY_XCOMPILER)
add_library(keras_tally_options INTERFACE)
target_compile_options(
  keras_tally_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${KERAS_TALLY_HOST_OPTIONS}>"
                                $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=${KERAS_TALLY_XCOMPILER}>)

# For tests, see `make sanitize` and `make fuzz`: what -fsanitize takes, and warnings of the other compiler that say nothing
# here.
if(KERAS_TALLY_SANITIZE)
  target_compile_options(keras_tally_options INTERFACE -fsanitize=${KERAS_TALLY_SANITIZE} -fno-omit-frame-pointer
                                                       -fno-sanitize-recover=undefined -O1 -g1)
  target_link_options(keras_tally_options INTERFACE -fsanitize=${KERAS_TALLY_SANITIZE})
endif()
