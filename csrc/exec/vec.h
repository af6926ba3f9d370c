// Vectors of one register in GNU vector extensions, and eight doubles. The number of lanes
// differs from level to level; where lanes are added up it is part of the result's
// definition, so those sums are made of kBlockLanes lanes (elementwise_block.h) or of
// eight, whatever a register holds. Vectors of more than a register would be simpler, but
// GCC takes their comparisons apart, number by number.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "../defs/common.h"
#include "../defs/half.h"
#include "../defs/math.h"

namespace kt::KT_LEVEL {

#if defined(__AVX512DQ__)
#define KT_REGISTER 64
#elif defined(__AVX2__)
#define KT_REGISTER 32
#else
#define KT_REGISTER 16
#endif

typedef float F32 __attribute__((vector_size(KT_REGISTER)));
typedef double F64 __attribute__((vector_size(KT_REGISTER)));
typedef float F32Half __attribute__((vector_size(KT_REGISTER / 2)));
typedef std::int32_t I32 __attribute__((vector_size(KT_REGISTER)));
typedef std::int32_t I32Half __attribute__((vector_size(KT_REGISTER / 2)));
typedef std::int64_t I64 __attribute__((vector_size(KT_REGISTER)));

template <>
struct ScalarOf<F32> {
  using type = float;
};
template <>
struct ScalarOf<F64> {
  using type = double;
};
template <>
struct ScalarOf<I64> {
  using type = std::int64_t;
};
template <>
struct BitsOf<F64> {
  using type = I64;
};
template <>
struct BitsOf<F32> {
  using type = I32;
};

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
  using type = F32;
};
template <>
struct VectorOf<double> {
  using type = F64;
};
template <class T>
using Vec = typename VectorOf<T>::type;

template <class T>
constexpr int kLanes = KT_REGISTER / static_cast<int>(sizeof(T));

template <class V>
KT_HOST_DEVICE V load(const Scalar<V>* from) {
  V out;
  std::memcpy(&out, from, sizeof(V));
  return out;
}

template <class V>
KT_HOST_DEVICE void store(Scalar<V>* to, V x) {
  std::memcpy(to, &x, sizeof(V));
}

// In one instruction: GCC would convert a half after the other.
KT_HOST_DEVICE F64 to_double(F32Half x) {
#if KT_REGISTER == 64
  return _mm512_maskz_cvtps_pd(0xff, x);
#elif KT_REGISTER == 32
  return _mm256_cvtps_pd(x);
#else
  return __builtin_convertvector(x, F64);
#endif
}
KT_HOST_DEVICE I64 sign_extend(I32Half x) {
#if KT_REGISTER == 64
  return (I64)_mm512_maskz_cvtepi32_epi64(0xff, (__m256i)x);
#elif KT_REGISTER == 32
  return (I64)_mm256_cvtepi32_epi64((__m128i)x);
#else
  return __builtin_convertvector(x, I64);
#endif
}

// A register of elements as doubles.
KT_HOST_DEVICE F64 load_double(const double* from) { return load<F64>(from); }
KT_HOST_DEVICE F64 load_double(const float* from) {
#if KT_REGISTER == 16 && defined(__SSE2__)
  return _mm_cvtps_pd((F32)_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
#else
  F32Half half;
  std::memcpy(&half, from, sizeof(half));
  return to_double(half);
#endif
}

#if defined(__F16C__)
// A register of floats, by instructions that take subnormals as they are in any mode.
KT_HOST_DEVICE F32 load_half(const Half* from) {
#if KT_REGISTER == 64
  return _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#else
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#endif
}
#endif

KT_HOST_DEVICE void store_double(double* to, F64 x) { store(to, x); }
KT_HOST_DEVICE void store_double(float* to, F64 x) {
  const F32Half half = __builtin_convertvector(x, F32Half);
  std::memcpy(to, &half, sizeof(half));
}

// The integer that stands beside V's scalar in a lane.
template <class V>
using Index = std::conditional_t<sizeof(Scalar<V>) == 4, std::int32_t, std::int64_t>;

// The number of each lane, in the integers that comparisons of V give.
template <class V>
KT_HOST_DEVICE Bits<V> lane_numbers(V) {
  Bits<V> out = {};
  for (int lane = 0; lane < kLanes<Scalar<V>>; ++lane) out[lane] = lane;
  return out;
}
// Which lanes are among the first n.
template <class V>
KT_HOST_DEVICE Bits<V> lanes_below(V x, std::int64_t n) {
  return lane_numbers(x) < (Bits<V>{} + static_cast<Index<V>>(n));
}

// Whether any lane of a comparison is true.
template <class M>
KT_HOST_DEVICE bool any_lane(M mask) {
#if KT_REGISTER == 64
  return _mm512_test_epi64_mask((__m512i)mask, (__m512i)mask) != 0;
#elif KT_REGISTER == 32
  return _mm256_testz_si256((__m256i)mask, (__m256i)mask) == 0;
#elif defined(__SSE2__)
  return _mm_movemask_epi8((__m128i)mask) != 0;
#else
  std::uint64_t words[2];
  std::memcpy(words, &mask, sizeof(words));
  return (words[0] | words[1]) != 0;
#endif
}

// a > b ? a : b, so b where one of them is NaN.
template <class T>
KT_HOST_DEVICE T larger(T a, T b) {
  return a > b ? a : b;
}
template <class T>
KT_HOST_DEVICE T smaller(T a, T b) {
  return a < b ? a : b;
}
typedef float F32Quarter __attribute__((vector_size(16)));
typedef double F64Quarter __attribute__((vector_size(16)));
#if defined(__SSE2__)
// The same in one instruction: GCC would compare and blend.
KT_HOST_DEVICE F32Quarter larger(F32Quarter a, F32Quarter b) { return _mm_max_ps(a, b); }
KT_HOST_DEVICE F64Quarter larger(F64Quarter a, F64Quarter b) { return _mm_max_pd(a, b); }
#if KT_REGISTER == 64
// With a mask of all lanes: GCC 12 warns of the unmasked ones' own code.
KT_HOST_DEVICE F32 larger(F32 a, F32 b) { return _mm512_maskz_max_ps(0xffff, a, b); }
KT_HOST_DEVICE F32 smaller(F32 a, F32 b) { return _mm512_maskz_min_ps(0xffff, a, b); }
KT_HOST_DEVICE F64 larger(F64 a, F64 b) { return _mm512_maskz_max_pd(0xff, a, b); }
KT_HOST_DEVICE F64 smaller(F64 a, F64 b) { return _mm512_maskz_min_pd(0xff, a, b); }
KT_HOST_DEVICE F64 root(F64 x) { return _mm512_maskz_sqrt_pd(0xff, x); }
#elif KT_REGISTER == 32
KT_HOST_DEVICE F32 larger(F32 a, F32 b) { return _mm256_max_ps(a, b); }
KT_HOST_DEVICE F32 smaller(F32 a, F32 b) { return _mm256_min_ps(a, b); }
KT_HOST_DEVICE F64 larger(F64 a, F64 b) { return _mm256_max_pd(a, b); }
KT_HOST_DEVICE F64 smaller(F64 a, F64 b) { return _mm256_min_pd(a, b); }
KT_HOST_DEVICE F64 root(F64 x) { return _mm256_sqrt_pd(x); }
#else
KT_HOST_DEVICE F32 smaller(F32 a, F32 b) { return _mm_min_ps(a, b); }
KT_HOST_DEVICE F64 smaller(F64 a, F64 b) { return _mm_min_pd(a, b); }
KT_HOST_DEVICE F64 root(F64 x) { return _mm_sqrt_pd(x); }
#endif
#else
KT_HOST_DEVICE F64 root(F64 x) {
  for (int lane = 0; lane < kLanes<double>; ++lane) x[lane] = root_of(x[lane]);
  return x;
}
#endif

// Clearing the sign bit is cheaper than the comparison of the general form.
template <>
struct Lanes<F64> {
  KT_HOST_DEVICE static F64 absolute(F64 x) {
    return from_bits<F64>(bits(x) & 0x7fffffffffffffffLL);
  }
  KT_HOST_DEVICE static bool all(I64 condition) { return !any_lane(~condition); }
  KT_HOST_DEVICE static F64 larger(F64 a, F64 b) { return KT_LEVEL::larger(a, b); }
  KT_HOST_DEVICE static F64 smaller(F64 a, F64 b) { return KT_LEVEL::smaller(a, b); }
  KT_HOST_DEVICE static F64 root(F64 x) { return KT_LEVEL::root(x); }
  template <class Function>
  KT_HOST_DEVICE static F64 each(F64 x, Function&& function) {
    for (int lane = 0; lane < kLanes<double>; ++lane) x[lane] = function(x[lane]);
    return x;
  }
  template <class Function>
  KT_HOST_DEVICE static F64 each(F64 a, F64 b, Function&& function) {
    for (int lane = 0; lane < kLanes<double>; ++lane) a[lane] = function(a[lane], b[lane]);
    return a;
  }
};
template <>
struct Lanes<F32> {
  KT_HOST_DEVICE static F32 absolute(F32 x) { return from_bits<F32>(bits(x) & 0x7fffffff); }
  KT_HOST_DEVICE static bool all(I32 condition) { return !any_lane(~condition); }
  KT_HOST_DEVICE static F32 larger(F32 a, F32 b) { return KT_LEVEL::larger(a, b); }
  KT_HOST_DEVICE static F32 smaller(F32 a, F32 b) { return KT_LEVEL::smaller(a, b); }
};

// One bit for each lane of a comparison, the first lane's lowest.
template <class M>
KT_HOST_DEVICE unsigned lane_bits(M mask) {
  constexpr bool kNarrow = std::is_same_v<M, I32>;
#if KT_REGISTER == 64
  if constexpr (kNarrow) return _mm512_movepi32_mask((__m512i)mask);
  return _mm512_movepi64_mask((__m512i)mask);
#elif KT_REGISTER == 32
  if constexpr (kNarrow) return static_cast<unsigned>(_mm256_movemask_ps((__m256)mask));
  return static_cast<unsigned>(_mm256_movemask_pd((__m256d)mask));
#elif defined(__SSE2__)
  if constexpr (kNarrow) return static_cast<unsigned>(_mm_movemask_ps((__m128)mask));
  return static_cast<unsigned>(_mm_movemask_pd((__m128d)mask));
#else
  unsigned bits = 0;
  for (int lane = 0; lane < (kNarrow ? 4 : 2); ++lane) bits |= mask[lane] != 0 ? 1u << lane : 0u;
  return bits;
#endif
}

// lane_bits(a == b).
KT_HOST_DEVICE unsigned equal_lanes(F32 a, F32 b) {
#if KT_REGISTER == 64
  return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
#else
  return lane_bits(a == b);
#endif
}
KT_HOST_DEVICE unsigned equal_lanes(F64 a, F64 b) {
#if KT_REGISTER == 64
  return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ);
#else
  return lane_bits(a == b);
#endif
}

// The number of the first lane that is true; some lane is.
template <class M>
KT_HOST_DEVICE int first_lane(M mask) {
  return __builtin_ctz(lane_bits(mask));
}

template <class V>
KT_HOST_DEVICE V select(Bits<V> condition, V yes, V no) {
  return condition ? yes : no;
}

// Two of what a register holds, or of two registers. Its arithmetic and comparisons are
// lane by lane, and so are the functions of math.h; select() chooses.
template <class H>
struct Two {
  H low, high;
  KT_HOST_DEVICE Two& operator+=(Two x) { return *this = *this + x; }
};
template <class H>
struct ScalarOf<Two<H>> {
  using type = Scalar<H>;
};
template <class H>
struct BitsOf<Two<H>> {
  using type = Two<Bits<H>>;
};

#define KT_OPERATOR(op, Out)                                        \
  template <class H>                                                \
  KT_HOST_DEVICE Two<Out> operator op(Two<H> a, Two<H> b) {         \
    return {(Out)(a.low op b.low), (Out)(a.high op b.high)};        \
  }                                                                 \
  template <class H>                                                \
  KT_HOST_DEVICE Two<Out> operator op(Two<H> a, Scalar<Two<H>> b) { \
    return {(Out)(a.low op b), (Out)(a.high op b)};                 \
  }                                                                 \
  template <class H>                                                \
  KT_HOST_DEVICE Two<Out> operator op(Scalar<Two<H>> a, Two<H> b) { \
    return {(Out)(a op b.low), (Out)(a op b.high)};                 \
  }
KT_OPERATOR(+, H)
KT_OPERATOR(-, H)
KT_OPERATOR(*, H)
KT_OPERATOR(/, H)
KT_OPERATOR(&, H)
KT_OPERATOR(|, H)
KT_OPERATOR(==, Bits<H>)
KT_OPERATOR(!=, Bits<H>)
#undef KT_OPERATOR

template <class H>
KT_HOST_DEVICE Two<H> select(Two<Bits<H>> condition, Two<H> yes, Two<H> no) {
  return {select(condition.low, yes.low, no.low), select(condition.high, yes.high, no.high)};
}
template <class H>
KT_HOST_DEVICE Two<H> larger(Two<H> a, Two<H> b) {
  return {larger(a.low, b.low), larger(a.high, b.high)};
}
template <class H>
KT_HOST_DEVICE Two<H> clamp(Two<H> x, Scalar<Two<H>> low, Scalar<Two<H>> high) {
  return {clamp(x.low, low, high), clamp(x.high, low, high)};
}
template <class H>
KT_HOST_DEVICE Two<H> exp_of(Two<H> x) {
  return {exp_of(x.low), exp_of(x.high)};
}
template <class H>
KT_HOST_DEVICE Two<H> log_of(Two<H> x) {
  return {log_of(x.low), log_of(x.high)};
}
template <class H>
KT_HOST_DEVICE bool any_lane(Two<H> mask) {
  return any_lane(mask.low) || any_lane(mask.high);
}

#if KT_REGISTER == 64
using Eight = F64;
#elif KT_REGISTER == 32
using Eight = Two<F64>;
#else
using Eight = Two<Two<F64>>;
#endif
constexpr int kEight = 8;

template <class V>
struct EightOf {
  static constexpr int kSize = kLanes<double>;
  template <class T>
  KT_HOST_DEVICE static V load(const T* from) {
    return load_double(from);
  }
  KT_HOST_DEVICE static Bits<V> below(std::int64_t n) { return lanes_below(V{}, n); }
};
template <class H>
struct EightOf<Two<H>> {
  static constexpr int kSize = 2 * EightOf<H>::kSize;
  template <class T>
  KT_HOST_DEVICE static Two<H> load(const T* from) {
    return {EightOf<H>::load(from), EightOf<H>::load(from + kSize / 2)};
  }
  KT_HOST_DEVICE static Bits<Two<H>> below(std::int64_t n) {
    return {EightOf<H>::below(n), EightOf<H>::below(n - kSize / 2)};
  }
};
template <class T>
KT_HOST_DEVICE Eight load_eight(const T* from) {
  return EightOf<Eight>::load(from);
}
KT_HOST_DEVICE void store_eight(double* to, Eight x) { std::memcpy(to, &x, sizeof(x)); }
// Which of eight lanes are among the first n.
KT_HOST_DEVICE Bits<Eight> eight_below(std::int64_t n) { return EightOf<Eight>::below(n); }

#if defined(__clang__)
#define KT_SHUFFLE(Order, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else  // GCC before 12 knows no other
#define KT_SHUFFLE(Order, a, b, ...) __builtin_shuffle(a, b, Order{__VA_ARGS__})
#endif
typedef std::int32_t I32Quarter __attribute__((vector_size(16)));
typedef std::int64_t I64Quarter __attribute__((vector_size(16)));
typedef std::int64_t I64Four __attribute__((vector_size(32)));

// The largest lanes of a vector, as many as 16 bytes hold.
#if KT_REGISTER == 64
KT_HOST_DEVICE F32Quarter larger_quarter(F32 x) {
  const __m256 half = _mm256_max_ps(_mm512_maskz_extractf32x8_ps(0xff, x, 0),
                                    _mm512_maskz_extractf32x8_ps(0xff, x, 1));
  return _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}
KT_HOST_DEVICE F64Quarter larger_quarter(F64 x) {
  const __m256d half = _mm256_max_pd(_mm512_maskz_extractf64x4_pd(0xf, x, 0),
                                     _mm512_maskz_extractf64x4_pd(0xf, x, 1));
  return _mm_max_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
}
#elif KT_REGISTER == 32
KT_HOST_DEVICE F32Quarter larger_quarter(F32 x) {
  return _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
}
KT_HOST_DEVICE F64Quarter larger_quarter(F64 x) {
  return _mm_max_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
}
#else
KT_HOST_DEVICE F32 larger_quarter(F32 x) { return x; }
KT_HOST_DEVICE F64 larger_quarter(F64 x) { return x; }
#endif

KT_HOST_DEVICE float max_lane(F32 x) {
  const F32Quarter four = larger_quarter(x);
  return larger(larger(four[0], four[1]), larger(four[2], four[3]));
}
KT_HOST_DEVICE double max_lane(F64 x) {
  const F64Quarter two = larger_quarter(x);
  return larger(two[0], two[1]);
}
template <class H>
KT_HOST_DEVICE double max_lane(Two<H> x) {
  return max_lane(larger(x.low, x.high));
}
// Those of four vectors, for the price of little more than two.
KT_HOST_DEVICE void max_lanes(const F32* x, float* largest) {
  F32Quarter q[4];
  for (int i = 0; i < 4; ++i) q[i] = larger_quarter(x[i]);
  const F32Quarter low = larger(KT_SHUFFLE(I32Quarter, q[0], q[1], 0, 4, 1, 5),
                                KT_SHUFFLE(I32Quarter, q[0], q[1], 2, 6, 3, 7));
  const F32Quarter high = larger(KT_SHUFFLE(I32Quarter, q[2], q[3], 0, 4, 1, 5),
                                 KT_SHUFFLE(I32Quarter, q[2], q[3], 2, 6, 3, 7));
  const F32Quarter all = larger(KT_SHUFFLE(I32Quarter, low, high, 0, 1, 4, 5),
                                KT_SHUFFLE(I32Quarter, low, high, 2, 3, 6, 7));
  std::memcpy(largest, &all, sizeof(all));
}
KT_HOST_DEVICE void max_lanes(const F64* x, double* largest) {
  for (int i = 0; i < 4; i += 2) {
    const auto a = larger_quarter(x[i]), b = larger_quarter(x[i + 1]);
    const F64Quarter both =
        larger(KT_SHUFFLE(I64Quarter, a, b, 0, 2), KT_SHUFFLE(I64Quarter, a, b, 1, 3));
    std::memcpy(largest + i, &both, sizeof(both));
  }
}

// The lanes added up in a fixed tree: each half to the other, until one is left.
KT_HOST_DEVICE double sum_lanes(F64 x) {
#if KT_REGISTER == 64
  return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
#elif KT_REGISTER == 32
  return (x[0] + x[2]) + (x[1] + x[3]);
#else
  return x[0] + x[1];
#endif
}
template <class H>
KT_HOST_DEVICE double sum_lanes(Two<H> x) {
  return sum_lanes(x.low + x.high);
}
// Three of them at once.
KT_HOST_DEVICE void sum_lanes(Eight a, Eight b, Eight c, double* sums) {
#if KT_REGISTER >= 32
  // For the price of little more than one.
  typedef double Half __attribute__((vector_size(32)));
  const Eight all[3] = {a, b, c};
  Half folded[3];
  for (int i = 0; i < 3; ++i) {
    Half half[2];
    std::memcpy(half, &all[i], sizeof(half));
    folded[i] = half[0] + half[1];
  }
  const Half ab = KT_SHUFFLE(I64Four, folded[0], folded[1], 0, 4, 1, 5) +
                  KT_SHUFFLE(I64Four, folded[0], folded[1], 2, 6, 3, 7);
  const Half cc = KT_SHUFFLE(I64Four, folded[2], folded[2], 0, 0, 1, 1) +
                  KT_SHUFFLE(I64Four, folded[2], folded[2], 2, 2, 3, 3);
  sums[0] = ab[0] + ab[2];
  sums[1] = ab[1] + ab[3];
  sums[2] = cc[0] + cc[2];
#else
  sums[0] = sum_lanes(a);
  sums[1] = sum_lanes(b);
  sums[2] = sum_lanes(c);
#endif
}
// Of whole numbers: exact in any order.
KT_HOST_DEVICE double sum_lanes(F32 x) {
  F32Half half[2];
  std::memcpy(half, &x, sizeof(half));
  return sum_lanes(to_double(half[0]) + to_double(half[1]));
}
#undef KT_SHUFFLE

}  // namespace kt::KT_LEVEL
