// One SIMD level of another package's kernels, see docs/cpp.md: exec/level.cpp for the
// one loop that is open to others. keras_tally_add_kernels() compiles it once per level.
#include "../defs/elementwise.h"
#include "../exec/elementwise_block.h"

namespace kt::KT_LEVEL {

extern const ElementwiseBlocks kOwnBlocks[];
const ElementwiseBlocks kOwnBlocks[] = {
#define KT_ELEMENTWISE(name, definition, operands, shapes) blocks_of<definition>(),
#include "../kernels.def"
};

}  // namespace kt::KT_LEVEL
