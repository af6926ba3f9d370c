// From the state to the results. A runner says how the loops are run: one step after
// the other on the CPU, by the threads of a block on a GPU.
#pragma once

#include "../defs/results.h"

namespace kt::KT_LEVEL {

struct Serial {
  // f(i, sums) adds to kCount sums.
  template <int kCount, class F>
  KT_HOST_DEVICE void sum(std::int64_t n, double (&sums)[kCount], F&& f) const {
    for (std::int64_t i = 0; i < n; ++i) f(i, sums);
  }
  // The sum of slice(make(i), make(i + 1)).
  template <class Make, class Slice>
  KT_HOST_DEVICE double slices(std::int64_t n, Make&& make, Slice&& slice) const {
    double sum = 0.0;
    auto low = make(std::int64_t{0});
    for (std::int64_t i = 1; i < n; ++i) {
      const auto high = make(i);
      sum += slice(low, high);
      low = high;
    }
    return sum;
  }
  // The largest f(i), at least 0.
  template <class F>
  KT_HOST_DEVICE double largest(std::int64_t n, F&& f) const {
    double best = 0.0;
    for (std::int64_t i = 0; i < n; ++i) {
      const double x = f(i);
      best = x > best ? x : best;
    }
    return best;
  }
  template <class F>
  KT_HOST_DEVICE void each(std::int64_t n, F&& f) const {
    for (std::int64_t i = 0; i < n; ++i) f(i);
  }
};

template <Result>
struct ResultRow;
#define KT_RESULT(row_name, definition, row_shape)                \
  template <>                                                     \
  struct ResultRow<Result::row_name> {                            \
    using Definition = definition;                                \
    static constexpr ResultShape kShape = ResultShape::row_shape; \
  };
#include "../results.def"

template <class Definition, class Runner, class Put>
KT_HOST_DEVICE void finish_columns(const Runner& run, const ResultSpec& spec, const State& state,
                                   Put&& put) {
  const std::int64_t columns = state.variables[Definition::kVariable].size;
  const bool each = spec.average == Average::None;
  double sums[3] = {0.0, 0.0, 0.0};
  run.sum(columns, sums, [&](std::int64_t c, double* into) {
    const Score score = Definition::column(spec, state, c);
    if (each) put(c, Definition::adjusted(spec, state, score.value));
    into[0] += score.value;
    into[1] += score.weight;
    into[2] += score.value * score.weight;
  });
  if (each) return;
  run.each(1, [&](std::int64_t) {
    const double mean = Definition::average(spec, {sums[0], sums[1], sums[2]}, columns);
    put(0, Definition::adjusted(spec, state, mean));
  });
}

// Calls put(i, result).
template <Result kResult, class Runner, class Put>
KT_HOST_DEVICE void finish_row(const Runner& run, const ResultSpec& spec, const State& state,
                               Put&& put) {
  using Row = ResultRow<kResult>;
  using Definition = typename Row::Definition;
  if constexpr (Row::kShape == ResultShape::Scalar) {
    const double x = Definition::value(run, spec, state);
    run.each(1, [&](std::int64_t) { put(0, x); });
  } else if constexpr (Row::kShape == ResultShape::PerEntry) {
    run.each(state.variables[0].size,
             [&](std::int64_t i) { put(i, Definition::value(spec, state, i)); });
  } else {
    finish_columns<Definition>(run, spec, state, put);
  }
}

// On the CPU.
template <class Put>
void finish(Result result, const ResultSpec& spec, const State& state, Put&& put) {
  switch (result) {
#define KT_RESULT(name, ...) \
  case Result::name:         \
    return finish_row<Result::name>(Serial(), spec, state, put);
#include "../results.def"
    case Result::expression:
      return;  // by an interpreter
  }
}

}  // namespace kt::KT_LEVEL
