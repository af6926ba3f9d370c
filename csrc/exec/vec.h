// Vectors of 64 bytes in GNU vector extensions: one instruction where the level
// has 512-bit registers, two or four where it does not. The number of lanes,
// and so the order of every sum, is the same at every level.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "../defs/common.h"
#include "../defs/math.h"

namespace kt::KT_LEVEL {

typedef float F32 __attribute__((vector_size(64)));
typedef double F64 __attribute__((vector_size(64)));
typedef float F32Half __attribute__((vector_size(32)));
typedef std::int32_t I32 __attribute__((vector_size(64)));
typedef std::int32_t I32Half __attribute__((vector_size(32)));
typedef std::int64_t I64 __attribute__((vector_size(64)));

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
constexpr int kLanes = 64 / static_cast<int>(sizeof(T));

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

// Eight elements as doubles.
KT_HOST_DEVICE F64 load_double(const double* from) { return load<F64>(from); }
KT_HOST_DEVICE F64 load_double(const float* from) {
  F32Half half;
  std::memcpy(&half, from, sizeof(half));
  return __builtin_convertvector(half, F64);
}

KT_HOST_DEVICE void store_double(double* to, F64 x) { store(to, x); }
KT_HOST_DEVICE void store_double(float* to, F64 x) {
  const F32Half half = __builtin_convertvector(x, F32Half);
  std::memcpy(to, &half, sizeof(half));
}

// The integer that stands beside V's scalar in a lane.
template <class V>
using Index = std::conditional_t<sizeof(Scalar<V>) == 4, std::int32_t, std::int64_t>;

// The number of each lane, in the integers that comparisons of V give.
KT_HOST_DEVICE I64 lane_numbers(F64) { return I64{0, 1, 2, 3, 4, 5, 6, 7}; }
KT_HOST_DEVICE I32 lane_numbers(F32) {
  return I32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
}
KT_HOST_DEVICE I64 lanes_below(std::int64_t n) { return lane_numbers(F64{}) < (I64{} + n); }
KT_HOST_DEVICE I32 lanes_below_32(std::int64_t n) {
  return lane_numbers(F32{}) < (I32{} + static_cast<std::int32_t>(n));
}

// Whether any lane of a comparison is true.
template <class M>
KT_HOST_DEVICE bool any_lane(M mask) {
#if defined(__AVX512F__)
  __m512i all;
  std::memcpy(&all, &mask, sizeof(all));
  return _mm512_test_epi64_mask(all, all) != 0;
#elif defined(__AVX2__)
  __m256i half[2];
  std::memcpy(half, &mask, sizeof(half));
  const __m256i all = _mm256_or_si256(half[0], half[1]);
  return _mm256_testz_si256(all, all) == 0;
#else
  std::uint64_t words[8];
  std::memcpy(words, &mask, sizeof(words));
  std::uint64_t any = 0;
  for (int i = 0; i < 8; ++i) any |= words[i];
  return any != 0;
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
#if defined(__SSE2__)
// The same in one instruction for each register: GCC would compare and blend.
template <class Register, class V, class Each>
KT_HOST_DEVICE V by_register(V a, V b, Each each) {
  constexpr int kCount = static_cast<int>(sizeof(V) / sizeof(Register));
  Register x[kCount], y[kCount];
  std::memcpy(x, &a, sizeof(V));
  std::memcpy(y, &b, sizeof(V));
  for (int i = 0; i < kCount; ++i) x[i] = each(x[i], y[i]);
  std::memcpy(&a, x, sizeof(V));
  return a;
}
#if defined(__AVX512F__)
constexpr __mmask16 kAllLanes_ps = 0xffff;
constexpr __mmask8 kAllLanes_pd = 0xff;
// With a mask of all lanes: GCC 12 warns of the unmasked ones' own code.
#define KT_BY_REGISTER(ps_or_pd, type, name)                             \
  by_register<type>(a, b, [](type x, type y) {                           \
    return _mm512_maskz_##name##_##ps_or_pd(kAllLanes_##ps_or_pd, x, y); \
  })
using FloatRegister = __m512;
using DoubleRegister = __m512d;
#elif defined(__AVX__)
#define KT_BY_REGISTER(ps_or_pd, type, name) \
  by_register<type>(a, b, [](type x, type y) { return _mm256_##name##_##ps_or_pd(x, y); })
using FloatRegister = __m256;
using DoubleRegister = __m256d;
#else
#define KT_BY_REGISTER(ps_or_pd, type, name) \
  by_register<type>(a, b, [](type x, type y) { return _mm_##name##_##ps_or_pd(x, y); })
using FloatRegister = __m128;
using DoubleRegister = __m128d;
#endif
KT_HOST_DEVICE F32 larger(F32 a, F32 b) { return KT_BY_REGISTER(ps, FloatRegister, max); }
KT_HOST_DEVICE F32 smaller(F32 a, F32 b) { return KT_BY_REGISTER(ps, FloatRegister, min); }
KT_HOST_DEVICE F64 larger(F64 a, F64 b) { return KT_BY_REGISTER(pd, DoubleRegister, max); }
KT_HOST_DEVICE F64 smaller(F64 a, F64 b) { return KT_BY_REGISTER(pd, DoubleRegister, min); }
#undef KT_BY_REGISTER
KT_HOST_DEVICE F64 root(F64 x) {
  return by_register<DoubleRegister>(x, x, [](DoubleRegister part, DoubleRegister) {
#if defined(__AVX512F__)
    return _mm512_maskz_sqrt_pd(kAllLanes_pd, part);
#elif defined(__AVX__)
    return _mm256_sqrt_pd(part);
#else
    return _mm_sqrt_pd(part);
#endif
  });
}
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
#if defined(__AVX512DQ__)
  __m512i all;
  std::memcpy(&all, &mask, sizeof(all));
  if constexpr (kNarrow) return _mm512_movepi32_mask(all);
  return _mm512_movepi64_mask(all);
#elif defined(__SSE2__)
  __m128i quarter[4];
  std::memcpy(quarter, &mask, sizeof(quarter));
  unsigned bits = 0;
  for (int q = 0; q < 4; ++q) {
    const int found = kNarrow ? _mm_movemask_ps(_mm_castsi128_ps(quarter[q]))
                              : _mm_movemask_pd(_mm_castsi128_pd(quarter[q]));
    bits |= static_cast<unsigned>(found) << (q * (kNarrow ? 4 : 2));
  }
  return bits;
#else
  unsigned bits = 0;
  for (int lane = 0; lane < (kNarrow ? 16 : 8); ++lane) bits |= mask[lane] != 0 ? 1u << lane : 0u;
  return bits;
#endif
}

// The number of the first lane that is true; some lane is.
template <class M>
KT_HOST_DEVICE int first_lane(M mask) {
  return __builtin_ctz(lane_bits(mask));
}

KT_HOST_DEVICE float max_lane(F32 x) {
  typedef float Quarter __attribute__((vector_size(16)));
  Quarter q[4];
  std::memcpy(q, &x, sizeof(q));
  const Quarter four = larger(larger(q[0], q[1]), larger(q[2], q[3]));
  return larger(larger(four[0], four[1]), larger(four[2], four[3]));
}
KT_HOST_DEVICE double max_lane(F64 x) {
  typedef double Quarter __attribute__((vector_size(16)));
  Quarter q[4];
  std::memcpy(q, &x, sizeof(q));
  const Quarter two = larger(larger(q[0], q[1]), larger(q[2], q[3]));
  return larger(two[0], two[1]);
}

// The lanes added up in a fixed tree.
KT_HOST_DEVICE double sum_lanes(F64 x) {
  return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}
// Three of them at once, for the price of little more than one.
KT_HOST_DEVICE void sum_lanes(F64 a, F64 b, F64 c, double* sums) {
  typedef double Half __attribute__((vector_size(32)));
#if defined(__clang__)
#define KT_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else  // GCC before 12 knows no other
  typedef std::int64_t Order __attribute__((vector_size(32)));
#define KT_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Order{__VA_ARGS__})
#endif
  const F64 all[3] = {a, b, c};
  Half folded[3];
  for (int i = 0; i < 3; ++i) {
    Half half[2];
    std::memcpy(half, &all[i], sizeof(half));
    folded[i] = half[0] + half[1];
  }
  const Half ab =
      KT_SHUFFLE(folded[0], folded[1], 0, 4, 1, 5) + KT_SHUFFLE(folded[0], folded[1], 2, 6, 3, 7);
  const Half cc =
      KT_SHUFFLE(folded[2], folded[2], 0, 0, 1, 1) + KT_SHUFFLE(folded[2], folded[2], 2, 2, 3, 3);
#undef KT_SHUFFLE
  sums[0] = ab[0] + ab[2];
  sums[1] = ab[1] + ab[3];
  sums[2] = cc[0] + cc[2];
}
KT_HOST_DEVICE double sum_lanes(F32 x) {
  double sum = 0;
  for (int i = 0; i < kLanes<float>; ++i) sum += static_cast<double>(x[i]);
  return sum;
}

}  // namespace kt::KT_LEVEL
