// Sums of weights that do not depend on the order of their additions: fixed-point
// numbers wide enough for every float32 (or float64), in words of 32 bits that are
// added to with integer atomics. The first word of a bin is a set of flags, for what no
// fixed-point number is. Every word stays in 64 bits for 2^31 weights.
#pragma once

#include "../defs/math.h"
#include "launch.h"

namespace kt::KT_LEVEL {

constexpr int kNarrowLowest = -149;  // exponent of the smallest float32
constexpr int kWideLowest = -1074;
enum : std::uint64_t { kSeenNan = 1, kSeenInfinity = 2, kSeenMinusInfinity = 4 };

template <class Thread>
KT_HOST_DEVICE void add_exactly_to(const Thread& thread, std::uint64_t* words, bool wide,
                                   double x) {
  if (x == 0.0) return;
  if (x - x != 0.0) {
    thread.set(words, x != x ? kSeenNan : x > 0.0 ? kSeenInfinity : kSeenMinusInfinity);
    return;
  }
  std::uint64_t bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  const int exponent = static_cast<int>(bits >> 52) & 0x7ff;
  std::uint64_t mantissa = bits & 0xfffffffffffffULL;
  if (exponent != 0) mantissa |= 0x10000000000000ULL;
  // x = mantissa * 2^(position + lowest); what float32 holds is never cut off.
  int position = (exponent == 0 ? 1 : exponent) - 1075 - (wide ? kWideLowest : kNarrowLowest);
  if (position < 0) {
    mantissa >>= -position;
    position = 0;
  }
  const int shift = position % 32;
  std::uint64_t* at = words + 1 + position / 32;
  const std::uint64_t low = (mantissa & 0xffffffffULL) << shift, high = (mantissa >> 32) << shift;
  const std::uint64_t middle = (low >> 32) + (high & 0xffffffffULL);
  const std::uint64_t pieces[3] = {low & 0xffffffffULL, middle & 0xffffffffULL,
                                   (high >> 32) + (middle >> 32)};
  for (int i = 0; i < 3; ++i) {
    if (pieces[i] != 0) thread.add(at + i, x < 0.0 ? ~pieces[i] + 1 : pieces[i]);
  }
}

// The sum, within 2 ulp; the words are no longer a sum afterwards.
KT_HOST_DEVICE double exact_value(std::uint64_t* words, bool wide) {
  const std::uint64_t seen = words[0];
  if (seen != 0) {
    if (seen == kSeenInfinity) return kInfinity;
    return seen == kSeenMinusInfinity ? -kInfinity : kInfinity - kInfinity;
  }
  constexpr std::int64_t kMask = 0xffffffffLL;
  const int count = (wide ? kWideWords : kNarrowWords) - 1;
  std::uint64_t* limbs = words + 1;
  std::int64_t carry = 0;
  for (int i = 0; i < count; ++i) {
    const std::int64_t x = static_cast<std::int64_t>(limbs[i]) + carry;
    limbs[i] = static_cast<std::uint64_t>(x & kMask);
    carry = x >> 32;
  }
  // Magnitude and sign: where limbs of both signs cancel, digits would be lost.
  const bool negative = carry < 0;
  if (negative) {
    std::int64_t borrow = 1;
    for (int i = 0; i < count; ++i) {
      const std::int64_t x = (kMask - static_cast<std::int64_t>(limbs[i])) + borrow;
      limbs[i] = static_cast<std::uint64_t>(x & kMask);
      borrow = x >> 32;
    }
    carry = -carry - 1 + borrow;
  }
  int top = count;  // `carry` is the limb above all
  double sum = 0.0;
  if (carry == 0) {
    while (top > 0 && limbs[top - 1] == 0) --top;
    if (top == 0) return 0.0;
    --top;
  }
  for (int i = 0; i < top; ++i) {
    sum = (sum + static_cast<double>(limbs[i])) * (1.0 / 4294967296.0);
  }
  sum += carry != 0 ? static_cast<double>(carry) : static_cast<double>(limbs[top]);
  sum = ::ldexp(sum, 32 * top + (wide ? kWideLowest : kNarrowLowest));
  return negative ? -sum : sum;
}

}  // namespace kt::KT_LEVEL
