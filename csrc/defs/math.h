// log, exp and log1p in float64, lane by lane, as plain arithmetic: the same
// bits on every SIMD level. log follows fdlibm's e_log.c (error < 1 ulp); exp
// reduces by powers of two and evaluates a polynomial of degree 11, interpolated at
// Chebyshev nodes, on [-ln2/2, ln2/2] (its own error < 2e-17, in all < 2 ulp).
#pragma once

#include <limits>

#include "common.h"

#if defined(KT_SCALAR)
#include <cmath>
#endif

namespace kt::KT_LEVEL {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Adding and subtracting 1.5 * 2^52 rounds to an integer, whose bits then stand
// in the low end of the sum.
constexpr double kRoundMagic = 6755399441055744.0;

#if defined(KT_SCALAR)

KT_HOST_DEVICE double log_of(double x) { return ::log(x); }
KT_HOST_DEVICE double exp_of(double x) { return ::exp(x); }
KT_HOST_DEVICE double root_of(double x) { return ::sqrt(x); }

#else

template <class V>
struct BitsOf;

template <class V>
using Bits = typename BitsOf<V>::type;

template <class V>
KT_HOST_DEVICE Bits<V> bits(V x) {
  Bits<V> out;
  __builtin_memcpy(&out, &x, sizeof(x));
  return out;
}

template <class V>
KT_HOST_DEVICE V from_bits(Bits<V> x) {
  V out;
  __builtin_memcpy(&out, &x, sizeof(x));
  return out;
}

KT_HOST_DEVICE double root_of(double x) { return __builtin_sqrt(x); }

// a - b, which wraps around: lanes that nobody looks at may hold anything.
template <class I>
KT_HOST_DEVICE I minus(I a, I b) {
  using Unsigned __attribute__((vector_size(sizeof(I)))) = unsigned long long;
  return (I)((Unsigned)a - (Unsigned)b);
}

template <class I>
KT_HOST_DEVICE I plus(I a, I b) {
  using Unsigned __attribute__((vector_size(sizeof(I)))) = unsigned long long;
  return (I)((Unsigned)a + (Unsigned)b);
}

// Logarithm of normal numbers above 0, shift added to the exponent of 2.
template <class V>
KT_HOST_DEVICE V log_of_normal(V x, V shift) {
  using I = Bits<V>;
  const I raw = bits(x);
  // Bring the mantissa to [sqrt(1/2), sqrt(2)).
  const I offset = minus(raw, I{} + 0x3fe6a09e667f3bcdLL);
  const I exponent_bits = offset & static_cast<long long>(0xfff0000000000000ULL);
  const V mantissa = from_bits<V>(minus(raw, exponent_bits));
  // The exponent as a double without an int64 conversion, which AVX2 lacks.
  const I biased = (exponent_bits >> 52) + 0x4338000000000000LL;
  const V k = (from_bits<V>(biased) - kRoundMagic) + shift;
  const V f = mantissa - 1.0;
  const V s = f / (f + 2.0);
  const V z = s * s;
  const V w = z * z;
  const V t1 = w * (3.999999999940941908e-01 +
                    w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
  const V t2 = z * (6.666666666666735130e-01 +
                    w * (2.857142874366239149e-01 +
                         w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
  const V r = t1 + t2;
  const V half_square = 0.5 * f * f;
  return k * 6.93147180369123816490e-01 -
         ((half_square - (s * (half_square + r) + k * 1.90821492927058770002e-10)) - f);
}

// Natural logarithm; log(0) = -inf, log(x < 0) = NaN, subnormals are scaled.
template <class V>
KT_HOST_DEVICE V log_of(V x) {
  const V zero = {};
  if (Lanes<V>::all((x >= 2.2250738585072014e-308) & (x < kInfinity))) {
    return log_of_normal(x, zero);
  }
  const auto tiny = (x < 2.2250738585072014e-308) & (x > 0.0);
  const V scaled = tiny ? x * 18014398509481984.0 : x;  // 2^54
  V out = log_of_normal(scaled, tiny ? zero - 54.0 : zero);
  out = x == zero ? zero - kInfinity : out;
  out = x < zero ? zero + __builtin_nan("") : out;
  // NaN and +inf come out as they went in.
  return (x < kInfinity) ? out : x;
}

// e^r for |r| <= ln2 / 2. Two chains of additions, which can overlap.
template <class V>
KT_HOST_DEVICE V exp_of_remainder(V r) {
  const V z = r * r;
  V even = z * 2.7620088445409746e-07 + 2.4801521295954376e-05;
  V odd = z * 2.510038549551032e-08 + 2.7557268459997064e-06;
  even = even * z + 1.3888888917213717e-03;
  odd = odd * z + 1.9841269863053618e-04;
  even = even * z + 4.166666666662413e-02;
  odd = odd * z + 8.333333333330062e-03;
  even = even * z + 0.5000000000000001;
  odd = odd * z + 1.6666666666666669e-01;
  return 1.0 + (r + z * (even + r * odd));
}

// e^x; 0 below -745, inf above 709.78.
template <class V>
KT_HOST_DEVICE V exp_of(V x) {
  const bool moderate = Lanes<V>::all(absolute(x) < 700.0);
  const V bounded = moderate ? x : clamp(x, -745.2, 709.79);
  const V shifted = bounded * 1.44269504088896338700e+00 + kRoundMagic;
  const V n = shifted - kRoundMagic;
  const V p =
      exp_of_remainder((bounded - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10);
  // p 2^n: to p's exponent comes n, which ends `shifted`.
  if (moderate) return from_bits<V>(plus(bits(p), bits(shifted) << 52));
  const Bits<V> whole = minus(bits(shifted), Bits<V>{} + 0x4338000000000000LL);
  // Two steps of scaling, so that results near both ends stay in range.
  const Bits<V> half = whole >> 1;
  const V scale1 = from_bits<V>((half + 1023) << 52);
  const V scale2 = from_bits<V>((whole - half + 1023) << 52);
  return x == x ? p * scale1 * scale2 : x;
}

#endif

// What a rounded sum leaves out, exactly.
template <class V>
KT_HOST_DEVICE V sum_error(V a, V b, V sum) {
  const V back = sum - a;
  return (a - (sum - back)) + (b - back);
}

// What a rounded product leaves out, exactly (of factors below 2^996). Source: T. J.
// Dekker, "A floating-point technique for extending the available precision",
// Numerische Mathematik 18 (1971).
template <class V>
KT_HOST_DEVICE V product_error(V a, V b, V product) {
  const V a_scaled = a * 134217729.0, b_scaled = b * 134217729.0;  // 2^27 + 1
  const V a_high = a_scaled - (a_scaled - a), b_high = b_scaled - (b_scaled - b);
  const V a_low = a - a_high, b_low = b - b_high;
  return a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low);
}

// log(1 + x) for x > -1 without losing small x: what 1 + x leaves out matters below
// x = 1 only, where its quotient by 1 + x is well enough a product with 1 - x.
template <class V>
KT_HOST_DEVICE V log1p_of(V x) {
  const V u = x + 1.0;
  const V rest = x - (u - 1.0);
  return log_of(u) + (u < 2.0 ? rest - rest * x : V{});
}

// log(a / b) for a, b > 0, where a - b is known better than its terms are: near ratios
// lose nothing, and neither do those that are far from 1.
template <class V>
KT_HOST_DEVICE V log_of_ratio(V a, V b, V difference) {
  const auto near = (a < 2.0 * b) & (b < 2.0 * a);
  const V x = (near ? difference : a) / b;
  const V u = near ? x + 1.0 : x;
  const V rest = x - (u - 1.0);
  return log_of(u) + (near ? rest - rest * x : V{});
}

// 1 / (1 + e^-x) without overflow.
template <class V>
KT_HOST_DEVICE V sigmoid_of(V x) {
  const V e = exp_of(-absolute(x));
  return (x < 0.0 ? e : constant<V>(1)) / (1.0 + e);
}

// x^power for x >= 0 and one power for all lanes; x^0 = 1, NaN for x < 0.
template <class V>
KT_HOST_DEVICE V power_of(V x, double power) {
  if (power == 0.0) return constant<V>(1);
  return exp_of(log_of(x) * power);  // of 0: e^-inf or e^inf
}

}  // namespace kt::KT_LEVEL
