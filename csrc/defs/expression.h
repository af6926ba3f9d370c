// The operations that expressions of users are made of: numbers in float64 -> one number.
// What is true or false is 1 or 0, and any number but 0 is true. As in NumPy, NaN comes
// out of every operation that it goes into, but is equal to nothing, less than nothing,
// and true; divisions by 0 give infinities and NaN. log, exp, log1p and what is made of
// them are those of math.h, the other functions the platform's (its libm, or CUDA's).
#pragma once

#include <cmath>

#include "common.h"
#include "math.h"

namespace kt::KT_LEVEL {

template <class V, class Condition>
KT_HOST_DEVICE V truth(Condition condition) {
  return condition ? constant<V>(1) : V{};
}

namespace operation {

#define KT_UNARY(name, ...)              \
  struct name {                          \
    template <class V>                   \
    KT_HOST_DEVICE static V value(V x) { \
      __VA_ARGS__                        \
    }                                    \
  };
#define KT_BINARY(name, ...)                  \
  struct name {                               \
    template <class V>                        \
    KT_HOST_DEVICE static V value(V a, V b) { \
      __VA_ARGS__                             \
    }                                         \
  };
#define KT_BY_LANE(name, function) \
  KT_UNARY(name, return Lanes<V>::each(x, [](double lane) { return ::function(lane); });)

KT_UNARY(Copy, return x;)
KT_UNARY(Absolute, return absolute(x);)
KT_UNARY(Negative, return -x;)
KT_UNARY(Sign, return x > 0.0 ? constant<V>(1) : (x < 0.0 ? constant<V>(-1) : x);)
KT_UNARY(Reciprocal, return 1.0 / x;)
KT_UNARY(Square, return x * x;)
KT_UNARY(SquareRoot, return Lanes<V>::root(x);)
KT_UNARY(ReciprocalRoot, return 1.0 / Lanes<V>::root(x);)

// From 2^51 on every number is a whole one; halves go to even ones.
KT_UNARY(Round, const V rounded = (x + kRoundMagic) - kRoundMagic;
         return absolute(x) < 2251799813685248.0 ? rounded : x;)
KT_UNARY(Floor, const V rounded = Round::value(x); return rounded > x ? rounded - 1.0 : rounded;)
KT_UNARY(Ceil, const V rounded = Round::value(x); return rounded < x ? rounded + 1.0 : rounded;)
KT_UNARY(Truncate, return x < 0.0 ? Ceil::value(x) : Floor::value(x);)

KT_UNARY(Exponential, return exp_of(x);)
KT_BY_LANE(ExponentialMinusOne, expm1)
KT_UNARY(Logarithm, return log_of(x);)
// At -1 and below, where log1p_of is not defined: -inf and NaN.
KT_UNARY(LogarithmOfOnePlus, return x > -1.0 ? (x < kInfinity ? log1p_of(x) : x) : log_of(x + 1.0);)
KT_BY_LANE(BinaryLogarithm, log2)
KT_BY_LANE(DecimalLogarithm, log10)
KT_UNARY(Sigmoid, return sigmoid_of(x);)
KT_UNARY(Softplus, return (x > 0.0 ? x : V{}) + log1p_of(exp_of(-absolute(x)));)
KT_UNARY(LogSigmoid, return -Softplus::value(-x);)
KT_UNARY(Relu, return x < 0.0 ? V{} : x;)
KT_BY_LANE(ErrorFunction, erf)
KT_BY_LANE(Sine, sin)
KT_BY_LANE(Cosine, cos)
KT_BY_LANE(Tangent, tan)
KT_BY_LANE(ArcSine, asin)
KT_BY_LANE(ArcCosine, acos)
KT_BY_LANE(ArcTangent, atan)
KT_BY_LANE(AreaSine, asinh)
KT_BY_LANE(AreaCosine, acosh)
KT_BY_LANE(AreaTangent, atanh)
KT_BY_LANE(HyperbolicSine, sinh)
KT_BY_LANE(HyperbolicCosine, cosh)
KT_BY_LANE(HyperbolicTangent, tanh)
KT_UNARY(IsNan, return truth<V>(x != x);)
KT_UNARY(IsInfinite, return truth<V>(absolute(x) == kInfinity);)
KT_UNARY(IsFinite, return truth<V>(absolute(x) < kInfinity);)
KT_UNARY(LogicalNot, return truth<V>(x == 0.0);)

KT_BINARY(Add, return a + b;)
KT_BINARY(Subtract, return a - b;)
KT_BINARY(Multiply, return a * b;)
KT_BINARY(Divide, return a / b;)
KT_BINARY(FloorDivide, return Floor::value(a / b);)
// With the sign of the divisor, as in Python.
KT_BINARY(Modulo, return Lanes<V>::each(a, b, [](double x, double y) {
            const double rest = ::fmod(x, y);
            return rest != 0.0 && (rest < 0.0) != (y < 0.0) ? rest + y : rest;
          });)
KT_BINARY(Power, return Lanes<V>::each(a, b, [](double x, double y) { return ::pow(x, y); });)
KT_BINARY(Maximum, return a > b ? a : (a == a ? b : a);)
KT_BINARY(Minimum, return a < b ? a : (a == a ? b : a);)
KT_BINARY(ArcTangentOfQuotient,
          return Lanes<V>::each(a, b, [](double y, double x) { return ::atan2(y, x); });)
// Equal infinities have no difference.
KT_BINARY(LogAddExp, const V gap = a == b ? V{} : absolute(a - b);
          return Maximum::value(a, b) + log1p_of(exp_of(-gap));)
KT_BINARY(Equals, return truth<V>(a == b);)
KT_BINARY(NotEqual, return truth<V>(a != b);)
KT_BINARY(Less, return truth<V>(a < b);)
KT_BINARY(LessEqual, return truth<V>(a <= b);)
KT_BINARY(Greater, return truth<V>(a > b);)
KT_BINARY(GreaterEqual, return truth<V>(a >= b);)
KT_BINARY(LogicalAnd, return truth<V>((a != 0.0) & (b != 0.0));)
KT_BINARY(LogicalOr, return truth<V>((a != 0.0) | (b != 0.0));)
KT_BINARY(LogicalXor, return truth<V>((a != 0.0) ^ (b != 0.0));)

struct Where {
  template <class V>
  KT_HOST_DEVICE static V value(V condition, V a, V b) {
    return condition != 0.0 ? a : b;
  }
};
struct Clip {
  template <class V>
  KT_HOST_DEVICE static V value(V x, V low, V high) {
    x = x < low ? low : x;
    return x > high ? high : x;
  }
};

KT_BINARY(AbsoluteDifference, return absolute(a - b);)
KT_BINARY(SquaredDifference, const V d = a - b; return d * d;)
struct MultiplyMultiply {
  template <class V>
  KT_HOST_DEVICE static V value(V a, V b, V c) {
    return a * b * c;
  }
};
struct MultiplyAdd {
  template <class V>
  KT_HOST_DEVICE static V value(V a, V b, V c) {
    return a * b + c;
  }
};
struct MultiplySubtract {
  template <class V>
  KT_HOST_DEVICE static V value(V a, V b, V c) {
    return a * b - c;
  }
};
struct WhereLess {
  template <class V>
  KT_HOST_DEVICE static V value(V a, V b, V yes, V no) {
    return a < b ? yes : no;
  }
};
struct WhereLessEqual {
  template <class V>
  KT_HOST_DEVICE static V value(V a, V b, V yes, V no) {
    return a <= b ? yes : no;
  }
};
struct WhereEqual {
  template <class V>
  KT_HOST_DEVICE static V value(V a, V b, V yes, V no) {
    return a == b ? yes : no;
  }
};

#undef KT_UNARY
#undef KT_BINARY
#undef KT_BY_LANE

}  // namespace operation
}  // namespace kt::KT_LEVEL
