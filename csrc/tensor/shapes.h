// Keras's shape rules on views: squeezing, broadcasting, how weights spread.
#pragma once

#include <cstddef>
#include <string>

#include "error.h"
#include "view.h"

namespace kt {

std::string shape_text(const View& view);

// More elements than any memory holds. Sizes up to it, and distances in a tensor of such
// a size, can be multiplied by an item's size.
constexpr std::int64_t kMaxSize = std::int64_t{1} << 48;

// Throws where an axis is negative, where the axes make more than kMaxSize elements (an
// empty one taken for 1), or where strides reach further than that.
void check_size(const View& view, const char* argument);

// A shape whose elements lie one behind the other; throws on too many axes, and where
// check_size does.
void set_shape(View* view, const char* argument, const std::int64_t* shape, std::size_t rank);

void drop_axis(View& view, int axis);
void append_axis(View& view);
void move_axis_last(View& view, int axis);

// Squeeze or expand the last axis where the ranks differ by exactly one.
void align_ranks(View& a, View& b, bool expand_rank_1);

// The view as `shape`, by NumPy's rules (right-aligned, stride 0); false when it
// does not fit, or when that is more than kMaxSize elements.
bool broadcast_to(View& view, const std::int64_t* shape, int rank);

// Both views broadcast to their common shape.
void broadcast_together(View& y_true, View& y_pred);

// What the sums must be divided by so that they mean what Keras's Mean means.
struct Weighting {
  bool scalar = false;  // one weight for the whole batch
  View view;            // per element otherwise
};

// Weights as `shape`: a scalar, or aligned at the leading axes (missing axes are added at the
// end, one of size 1 too many is dropped); false where they do not fit.
bool spread_over(View& weight, const std::int64_t* shape, int rank);

// Fits sample_weight to the values' shape (a prefix of `shape`: the first
// `values_rank` axes) and spreads it over all of `shape`.
Weighting spread_weight(const View& weight, const std::int64_t* shape, int rank, int values_rank);

}  // namespace kt
