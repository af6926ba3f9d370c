// All definitions of the elementwise loop: those of the table, or those of the package
// whose kernels are compiled (docs/cpp.md).
#pragma once

#if defined(KT_OWN_DEFINITIONS)
#include KT_OWN_DEFINITIONS
#else
#include "accuracy.h"
#include "crossentropy.h"
#include "hinge.h"
#include "regression.h"
#endif
