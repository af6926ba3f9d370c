// The loops over plain batches: without weights, a multiple of four elements, in one
// piece and of the usual dtypes of up to 32 bits. Nothing has to be looked up for an
// element, so a thread needs few registers, and twice as many threads hide each other's
// waiting. What else a batch may be, elementwise.h and binned.h do.
#pragma once

#include "binned.h"
#include "elementwise.h"

namespace kt::KT_LEVEL {

constexpr int kPlainQuads = 4;  // of each operand that a thread has in flight

// The same number, of which the compiler knows nothing: so it does not make of it, before
// a loop over definitions, what each of them could use, for which there are no registers.
KT_HOST_DEVICE float opaque(float x) {
#if defined(__CUDA_ARCH__)
  asm volatile("" : "+f"(x));
#endif
  return x;
}

// Calls each(quad of labels, quad of scores) for this thread's.
template <class Launch, class Thread, class Tile>
KT_HOST_DEVICE void for_tiles(const Thread& thread, const Launch& launch, Tile&& tile) {
  const bool unary =
      launch.y_true.data == launch.y_pred.data && launch.y_true.dtype == launch.y_pred.dtype;
  const std::int64_t step = std::int64_t{4} * kThreads * thread.blocks();
  for (std::int64_t start = 4 * (std::int64_t{kThreads} * thread.block() + thread.index());
       start < launch.n; start += kPlainQuads * step) {
    RawQuads<kPlainQuads> y_true, y_pred;
    y_pred.read(launch.y_pred, start, step, launch.n);
    if (unary) {
      y_true = y_pred;
    } else {
      y_true.read(launch.y_true, start, step, launch.n);
    }
    float t[kPlainQuads][4], p[kPlainQuads][4];
    KT_UNROLL
    for (int q = 0; q < kPlainQuads; ++q) {
      widen_raw(y_true.quads[q], launch.y_true.dtype, t[q]);
      widen_raw(y_pred.quads[q], launch.y_pred.dtype, p[q]);
    }
    tile([&](auto&& each) {
      KT_UNROLL
      for (int q = 0; q < kPlainQuads; ++q) {
        if (start + q * step >= launch.n) break;
        KT_UNROLL
        for (int j = 0; j < 4; ++j) each(opaque(t[q][j]), opaque(p[q][j]), j);
      }
    });
  }
}

// Calls use(the definition of that number), which has a plain loop.
template <class Use>
KT_HOST_DEVICE double with_plain_definition(ElementwiseId kernel, Use&& use) {
  switch (kernel) {
#define KT_ELEMENTWISE(name, definition, operands, shapes)                \
  case ElementwiseId::name:                                               \
    if constexpr (has_plain_loop<definition>()) return use(definition()); \
    break;
#include "../kernels.def"
  }
  return 0.0;
}

// A definition's values, summed: of a tile, which for_each goes through.
template <class Def, class ForEach>
KT_HOST_DEVICE double plain_sum(ForEach&& for_each, const Params& params) {
  // A few hits are counted exactly in any type.
  using V = std::conditional_t<Def::kCounts, float, double>;
  V sums[2] = {};
  for_each([&](float t, float p, int j) {
    sums[j % 2] += Def::template value<V>(static_cast<V>(t), static_cast<V>(p), params);
  });
  return static_cast<double>(sums[0] + sums[1]);
}

// So that a product of probabilities does not become 0.
constexpr double kSmallestProbability = 1e-15;

// Of probabilities and hard labels, a tile's sum of logarithms is that of the product,
// which is at least kSmallestProbability to the power of 16. What roundings leave out of it
// is kept.
template <class ForEach>
KT_HOST_DEVICE double plain_crossentropy(ForEach&& for_each, const Params& params) {
  double product = 1.0, rest = 0.0;
  bool hard = params.lowest >= kSmallestProbability && 1.0 - params.highest >= kSmallestProbability;
  for_each([&](float t, float p, int) {
    hard &= (t == 0.0f) | (t == 1.0f);
    const double clipped = clamp(static_cast<double>(p), params.lowest, params.highest);
    const double q = t == 1.0f ? clipped : 1.0 - clipped;
    const double next = product * q;
    rest = ::fma(rest, q, ::fma(product, q, -next));
    product = next;
  });
  if (hard) return -(log_of(product) + rest / product);
  double sum = 0.0;
  KT_NO_UNROLL
  for (int wanted = 0; wanted < 4 * kPlainQuads; ++wanted) {
    float label = 0.0f, score = 0.0f;
    int k = 0;
    for_each([&](float t, float p, int) {
      label = k == wanted ? t : label;
      score = k == wanted ? p : score;
      ++k;
    });
    if (wanted >= k) break;
    sum += BinaryCrossentropy::value<double>(static_cast<double>(label), static_cast<double>(score),
                                             params);
  }
  return sum;
}

template <class Thread>
KT_HOST_DEVICE void plain_elementwise(const Thread& thread, const ElementwiseLaunch& launch) {
  double* columns = reinterpret_cast<double*>(thread.shared());
  const int count = launch.op_count + 2, own = thread.index();
  for (int i = 0; i < count; ++i) columns[i * kThreads + own] = 0.0;
  bool other = false;
  for_tiles(thread, launch, [&](auto&& for_each) {
    for (int op = 0; op < launch.op_count; ++op) {
      const Params& params = launch.ops[op].params;
      const auto kernel = static_cast<ElementwiseId>(launch.ops[op].kernel);
      columns[op * kThreads + own] += with_plain_definition(kernel, [&](auto definition) {
        using Def = decltype(definition);
        if constexpr (std::is_same_v<Def, BinaryCrossentropy>) {
          return plain_crossentropy(for_each, params);
        } else {
          return plain_sum<Def>(for_each, params);
        }
      });
    }
    if (launch.finds_zero_one) {
      for_each([&](float t, float, int) { other |= (t != 0.0f) & (t != 1.0f); });
    }
  });
  columns[(launch.op_count + 1) * kThreads + own] = other ? 1.0 : 0.0;
  commit_sums(thread, launch, columns);
}

template <class Thread>
KT_HOST_DEVICE void plain_cells_of(const Thread& thread, const BinnedLaunch& launch) {
  const float threshold = static_cast<float>(launch.threshold);
  // Fewer than 2^31 of each, since a block has a part of the batch that is no larger.
  int hits = 0, above = 0, labels = 0, all = 0;
  for_tiles(thread, launch, [&](auto&& for_each) {
    for_each([&](float t, float p, int) {
      const bool label = t != 0.0f, passes = p > threshold;
      hits += label & passes ? 1 : 0;
      above += passes ? 1 : 0;
      labels += label ? 1 : 0;
      ++all;
    });
  });
  const double sums[4] = {static_cast<double>(hits), static_cast<double>(above - hits),
                          static_cast<double>(labels - hits),
                          static_cast<double>(all - above - (labels - hits))};
  commit_cells(thread, launch, sums, reinterpret_cast<double*>(thread.shared()));
}

// bin_of() in 32 bits.
KT_HOST_DEVICE int plain_bin(const BinnedLaunch& launch, float score) {
  if (launch.even) {
    const float scaled = EvenBin::scaled<float>(score, static_cast<float>(launch.thresholds - 1));
    const int bin = static_cast<int>(::ceilf(scaled));
    return launch.first_always_passed && bin < 1 ? 1 : bin;
  }
  const float* listed = static_cast<const float*>(launch.listed);
  int low = 0;
  KT_NO_UNROLL
  for (int half = static_cast<int>(launch.padded + 1) / 2; half > 0; half /= 2) {
    low += score > listed[low + half - 1] ? half : 0;
  }
  return low;
}

// One column, and thresholds whose histogram fits into shared memory; which is behind a
// number a warp.
template <class Thread>
KT_HOST_DEVICE void plain_binned(const Thread& thread, const BinnedLaunch& launch) {
  double* scratch = reinterpret_cast<double*>(thread.shared());
  const Histogram<Thread> histogram(thread, launch.bins, launch.workspace,
                                    thread.shared() + kThreads / kWarp * sizeof(double));
  bool nan = false;
  for_tiles(thread, launch, [&](auto&& for_each) {
    for_each([&](float t, float p, int) {
      nan |= p != p;
      histogram.add_shared(2 * plain_bin(launch, p) + (t != 0.0f ? 1 : 0));
    });
  });
  commit_histogram(thread, launch, histogram, nan, scratch);
}

}  // namespace kt::KT_LEVEL
