// Several threads that update metrics of their own over shared inputs, all with work for
// the pool, while others change its size, make expressions and switch the SIMD level.
// Every state must be the one that a single thread computes. For ThreadSanitizer and
// valgrind, without Python's own threads: `thread_updates [UPDATES] [ELEMENTS]`.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#if defined(__unix__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "../../csrc/exec/level.h"
#include "../../csrc/exec/metric.h"
#include "../../csrc/exec/threads.h"
#include "../../csrc/exec/work.h"

namespace {

using namespace kt;

View matrix(const std::vector<float>& data, std::int64_t columns) {
  View view;
  view.data = reinterpret_cast<const char*>(data.data());
  view.rank = columns == 0 ? 1 : 2;
  const auto size = static_cast<std::int64_t>(data.size());
  view.shape[0] = columns == 0 ? size : size / columns;
  view.shape[1] = columns;
  view.strides[0] = std::max<std::int64_t>(1, columns);
  view.strides[1] = 1;
  return view;
}

struct Case {
  Metric metric;
  Batch batch;
  std::vector<std::int64_t> sizes;  // of the state's variables
};

// The state as bits, after one update after the other.
std::vector<std::uint64_t> updated(const Case& c, int updates) {
  std::vector<std::vector<double>> numbers;
  State state;
  for (const std::int64_t size : c.sizes) {
    State::Variable& variable = state.variables[state.count++];
    variable.size = size;
    numbers.emplace_back(static_cast<std::size_t>(size));
    variable.sum = numbers.back().data();
  }
  for (int i = 0; i < updates; ++i) {
    AnyWork room;
    Addition addition;
    Work& work = make_work(c.metric, c.batch, &room);
    work.run();
    work.collect(c.metric, &addition);
    commit(addition, state);
  }
  std::vector<std::uint64_t> bits;
  for (const std::vector<double>& variable : numbers) {
    for (const double x : variable) bits.push_back(std::bit_cast<std::uint64_t>(x));
  }
  return bits;
}

Expression::Source absolute_error_and_constant(double constant) {
  return {2, {constant}, {{"subtract", {0, 1}}, {"absolute", {3}}, {"multiply", {4, 2}}}, {5}};
}

}  // namespace

int main(int argc, char** argv) {
  const int updates = argc > 1 ? std::atoi(argv[1]) : 10;
  const std::int64_t elements = argc > 2 ? std::atoll(argv[2]) : 2 * kParallelThreshold;
  std::vector<float> labels, scores;
  std::uint32_t random = 1;
  for (std::int64_t i = 0; i < elements; ++i) {
    random = random * 1664525u + 1013904223u;
    scores.push_back(static_cast<float>(random >> 8) / 16777216.0f);
    labels.push_back(static_cast<float>(random >> 31));
  }
  const auto make = [&](const char* kernel, std::int64_t columns, std::vector<std::int64_t> sizes) {
    Case c;
    c.metric.kernel = find_kernel(kernel);
    c.batch.y_true = matrix(labels, columns);
    c.batch.y_pred = matrix(scores, columns);
    c.sizes = std::move(sizes);
    return c;
  };
  std::vector<Case> cases;
  cases.push_back(make("squared_error", 0, {1, 1}));
  cases.push_back(make("binary_crossentropy", 0, {1, 1}));
  cases.back().batch.sample_weight = cases.back().batch.y_pred;
  cases.back().batch.has_weight = true;
  cases.push_back(make("categorical_crossentropy", 8, {1, 1}));
  cases.push_back(make("squared_deviations", 8, {1, 8, 8, 8, 8}));
  cases.back().metric.columns = 8;
  cases.back().metric.counts_samples = true;
  cases.push_back(make("confusion", 0, {50, 50}));
  cases.back().metric.cells = {Cell::TruePositives, Cell::FalsePositives};
  cases.back().metric.thresholds.even = true;
  std::vector<double> thresholds;
  for (int i = 0; i < 50; ++i) thresholds.push_back(i / 49.0);
  set_thresholds(thresholds, &cases.back().metric.thresholds);
  cases.push_back(make("confusion_matrix", 0, {4}));
  cases.back().metric.pairs.classes = 2;
  cases.push_back(make("expression", 0, {1, 1}));
  cases.back().metric.expression = Expression::make(absolute_error_and_constant(3.0));

  set_num_threads(1);
  std::vector<std::vector<std::uint64_t>> expected;
  for (const Case& c : cases) expected.push_back(updated(c, updates));

  set_num_threads(3);
  std::atomic<int> wrong{0};
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    threads.emplace_back([&, i] {
      if (updated(cases[i], updates) == expected[i]) return;
      std::fprintf(stderr, "%s differs\n", cases[i].metric.kernel.name);
      ++wrong;
    });
  }
  std::thread settings([&] {
    for (int i = 0; !done.load(); ++i) {
      set_num_threads(2 + i % 3);
      set_active_level(i % usable_levels().count);
      for (int k = 0; k < 4; ++k) Expression::make(absolute_error_and_constant(k));
      std::this_thread::yield();
    }
  });
  for (std::thread& thread : threads) thread.join();
  done = true;
  settings.join();

#if defined(__unix__)
  // A child has none of the pool's threads, and makes its own.
  const pid_t child = fork();
  if (child == 0) _exit(updated(cases[0], updates) == expected[0] ? 0 : 1);
  int status = 1;
  if (waitpid(child, &status, 0) != child || status != 0) {
    std::fprintf(stderr, "the child ended with %d\n", status);
    ++wrong;
  }
#endif
  std::printf("%zu metrics, %d updates of %lld elements each: %d wrong\n", cases.size(), updates,
              static_cast<long long>(elements), wrong.load());
  return wrong == 0 ? 0 : 1;
}
