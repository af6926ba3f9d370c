// All definitions of the elementwise loop.
#pragma once

#include "accuracy.h"
#include "crossentropy.h"
#include "hinge.h"
#include "regression.h"
