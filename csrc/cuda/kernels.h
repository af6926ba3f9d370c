// What the rows of kernels.def name.
#pragma once

#include "binned.h"
#include "columnwise.h"
#include "elementwise.h"
#include "expression.h"
#include "finish.h"
#include "kept.h"
#include "plain.h"
#include "rowwise.h"
#include "tabulated.h"
