// The tabulated loop: which cell of a table each pair of class ids goes to.
#pragma once

#include "../defs/confusion_matrix.h"
#include "level.h"
#include "vec.h"

namespace kt::KT_LEVEL {

// Integers below 2^51 in either form, by arithmetic that every level has.
KT_HOST_DEVICE F64 small_to_double(I64 x) {
  const I64 magic = bits(F64{} + kRoundMagic);
  return from_bits<F64>(x + magic) - kRoundMagic;
}
KT_HOST_DEVICE I64 small_to_int(F64 x) {
  const I64 magic = bits(F64{} + kRoundMagic);
  return bits(x + kRoundMagic) - magic;
}

// Whole class ids, and where they can be ids at all.
struct IdsAsDoubles {
  F64 ids;
  I64 valid;
};

KT_HOST_DEVICE IdsAsDoubles class_ids(const std::int64_t* from, const ClassPairs& pairs) {
  const I64 x = load<I64>(from);
  const I64 valid = (x >= 0) & (x < pairs.classes);
  return {small_to_double(x & valid), valid};
}

KT_HOST_DEVICE IdsAsDoubles class_ids(const std::int32_t* from, const ClassPairs& pairs) {
  I32Half half;
  std::memcpy(&half, from, sizeof(half));
  const I64 x = sign_extend(half);
  const I64 valid = (x >= 0) & (x < pairs.classes);
  return {small_to_double(x & valid), valid};
}

// Truncated towards zero, or refused where they are below it.
KT_HOST_DEVICE IdsAsDoubles class_ids(const double* from, const ClassPairs& pairs) {
  const F64 x = load<F64>(from), zero = {};
  const I64 above = pairs.whole ? x > -1.0 : x >= 0.0;
  const I64 valid = above & (x < static_cast<double>(pairs.classes));
  const F64 kept = valid ? (x < 0.0 ? zero : x) : zero;
  const F64 rounded = (kept + kRoundMagic) - kRoundMagic;
  return {rounded > kept ? rounded - 1.0 : rounded, valid};
}

template <class T>
KT_HOST_DEVICE void some_cells(const T* labels, const T* predicted, const ClassPairs& pairs,
                               std::int64_t* cells, std::int64_t* second) {
  const IdsAsDoubles t = class_ids(labels, pairs), p = class_ids(predicted, pairs);
  I64 counts = t.valid & p.valid;
  if (pairs.ignored.count > 0) {
    // Ids that are not truncated are compared as they came.
    F64 label = t.ids;
    if constexpr (std::is_same_v<T, double>) label = pairs.whole ? t.ids : load<F64>(labels);
    for (int i = 0; i < pairs.ignored.count; ++i) counts &= label != pairs.ignored.ids[i];
  }
  const double classes = static_cast<double>(pairs.classes);
  const I64 none = I64{} + pairs.size();
  if (pairs.by_class) {
    const I64 hit = t.ids == p.ids;
    const I64 one = small_to_int(hit ? t.ids : p.ids + classes);
    const I64 two = small_to_int(t.ids + 2.0 * classes);
    store(cells, counts ? one : none);
    store(second, counts & ~hit ? two : none);
  } else {
    store(cells, counts ? small_to_int(t.ids * classes + p.ids) : none);
  }
}

// By class there are two cells for each pair, the second ones from cells[n] on.
template <class T>
void class_cells(const T* labels, const T* predicted, std::int64_t n, const ClassPairs& pairs,
                 std::int64_t* cells) {
  constexpr int kL = kLanes<double>;
  std::int64_t i = 0;
  for (; i + kL <= n; i += kL)
    some_cells(labels + i, predicted + i, pairs, cells + i, cells + n + i);
  if (i == n) return;
  T t[kL] = {}, p[kL] = {};
  std::int64_t one[kL], two[kL];
  const auto left = static_cast<std::size_t>(n - i);
  std::memcpy(t, labels + i, left * sizeof(T));
  std::memcpy(p, predicted + i, left * sizeof(T));
  some_cells(t, p, pairs, one, two);
  std::memcpy(cells + i, one, left * sizeof(std::int64_t));
  if (pairs.by_class) std::memcpy(cells + n + i, two, left * sizeof(std::int64_t));
}

}  // namespace kt::KT_LEVEL
