// One target as libFuzzer calls it; KT_FUZZ_TARGET is its name.
#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  kt::fuzz::KT_FUZZ_TARGET(data, size);
  return 0;
}
