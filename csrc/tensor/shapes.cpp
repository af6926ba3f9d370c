#include "shapes.h"

#include <algorithm>

namespace kt {

namespace {

std::string tuple_text(const std::int64_t* numbers, int count) {
  std::string text = "(";
  for (int d = 0; d < count; ++d) {
    text += std::to_string(numbers[d]);
    text += d + 1 < count || count == 1 ? "," : "";
    text += d + 1 < count ? " " : "";
  }
  return text + ")";
}

}  // namespace

std::string shape_text(const View& view) { return tuple_text(view.shape, view.rank); }

namespace {

bool has_size(const std::int64_t* shape, int rank) {
  std::int64_t size = 1;
  for (int d = 0; d < rank; ++d) {
    if (shape[d] < 0) return false;
    const std::int64_t count = std::max<std::int64_t>(1, shape[d]);
    if (__builtin_mul_overflow(size, count, &size) || size > kMaxSize) return false;
  }
  return true;
}

}  // namespace

void check_size(const View& view, const char* argument) {
  bool fits = has_size(view.shape, view.rank);
  for (int d = 0; fits && d < view.rank; ++d) {
    std::int64_t reach = 0;
    fits = view.shape[d] <= 1 ||
           (!__builtin_mul_overflow(view.shape[d] - 1, view.strides[d], &reach) &&
            reach <= kMaxSize && reach >= -kMaxSize);
  }
  if (fits) return;
  throw ValueMistake(std::string("`") + argument +
                     "` must have axes of at least 0, at most 2^48 elements, and strides that "
                     "reach no further. Received: shape=" +
                     shape_text(view) + ", strides=" + tuple_text(view.strides, view.rank));
}

void set_shape(View* view, const char* argument, const std::int64_t* shape, std::size_t rank) {
  if (rank > kMaxRank) {
    throw ValueMistake(std::string("`") + argument + "` must have at most " +
                       std::to_string(kMaxRank) + " axes. Received: " + std::to_string(rank));
  }
  view->rank = static_cast<int>(rank);
  std::copy(shape, shape + rank, view->shape);
  std::fill_n(view->strides, rank, 0);
  check_size(*view, argument);
  std::int64_t compact = 1;
  for (int d = view->rank - 1; d >= 0; --d) {
    view->strides[d] = compact;
    compact *= shape[d];
  }
}

void drop_axis(View& view, int axis) {
  for (int d = axis; d + 1 < view.rank; ++d) {
    view.shape[d] = view.shape[d + 1];
    view.strides[d] = view.strides[d + 1];
  }
  --view.rank;
}

void append_axis(View& view) {
  if (view.rank >= kMaxRank) throw ValueMistake("a tensor has too many axes");
  view.shape[view.rank] = 1;
  view.strides[view.rank] = 0;
  ++view.rank;
}

void move_axis_last(View& view, int axis) {
  const std::int64_t size = view.shape[axis], stride = view.strides[axis];
  drop_axis(view, axis);
  view.shape[view.rank] = size;
  view.strides[view.rank] = stride;
  ++view.rank;
}

void align_ranks(View& a, View& b, bool expand_rank_1) {
  View* longer = a.rank > b.rank ? &a : &b;
  View* shorter = a.rank > b.rank ? &b : &a;
  if (longer->rank != shorter->rank + 1 || longer->shape[longer->rank - 1] != 1) return;
  if (shorter->rank == 1 && expand_rank_1) {
    append_axis(*shorter);
  } else {
    drop_axis(*longer, longer->rank - 1);
  }
}

bool broadcast_to(View& view, const std::int64_t* shape, int rank) {
  if (view.rank > rank || !has_size(shape, rank)) return false;
  const int missing = rank - view.rank;
  for (int d = 0; d < view.rank; ++d) {
    if (view.shape[d] != shape[missing + d] && view.shape[d] != 1) return false;
  }
  for (int d = rank - 1; d >= 0; --d) {
    const bool own = d >= missing;
    const bool spread = !own || view.shape[d - missing] != shape[d] || shape[d] == 1;
    view.strides[d] = spread ? 0 : view.strides[d - missing];
    view.shape[d] = shape[d];
  }
  view.rank = rank;
  return true;
}

void broadcast_together(View& y_true, View& y_pred) {
  const int rank = std::max(y_true.rank, y_pred.rank);
  std::int64_t shape[kMaxRank];
  for (int d = 0; d < rank; ++d) {
    const int t = d - (rank - y_true.rank), p = d - (rank - y_pred.rank);
    const std::int64_t a = t >= 0 ? y_true.shape[t] : 1, b = p >= 0 ? y_pred.shape[p] : 1;
    shape[d] = a == 1 ? b : a;
  }
  View t = y_true, p = y_pred;
  if (!broadcast_to(t, shape, rank) || !broadcast_to(p, shape, rank)) {
    throw ValueMistake(
        "`y_true` and `y_pred` must have shapes that broadcast. Received: y_true.shape=" +
        shape_text(y_true) + ", y_pred.shape=" + shape_text(y_pred));
  }
  y_true = t;
  y_pred = p;
}

bool spread_over(View& weight, const std::int64_t* shape, int rank) {
  if (weight.rank == rank + 1 && weight.shape[rank] == 1) drop_axis(weight, rank);
  while (weight.rank < rank) append_axis(weight);
  return broadcast_to(weight, shape, rank);
}

Weighting spread_weight(const View& weight, const std::int64_t* shape, int rank, int values_rank) {
  Weighting out;
  View w = weight;
  if (w.rank == values_rank + 1 && w.shape[w.rank - 1] == 1) drop_axis(w, w.rank - 1);
  if (w.rank == 0) {
    out.scalar = true;
    out.view = w;
    return out;
  }
  bool fits = w.rank <= values_rank;
  for (int d = 0; fits && d < w.rank; ++d) fits = w.shape[d] == shape[d] || w.shape[d] == 1;
  if (!fits) {
    View values;
    values.rank = values_rank;
    std::copy(shape, shape + values_rank, values.shape);
    throw ValueMistake(
        "`sample_weight` must be a scalar, or match the leading axes of the values it weighs, "
        "whose shape is " +
        shape_text(values) +
        " (each axis equal or 1). Received: sample_weight.shape=" + shape_text(weight));
  }
  for (int d = 0; d < rank; ++d) {
    const bool spread = d >= w.rank || w.shape[d] == 1;
    w.strides[d] = spread ? 0 : w.strides[d];
    w.shape[d] = shape[d];
  }
  w.rank = rank;
  out.view = w;
  return out;
}

}  // namespace kt
