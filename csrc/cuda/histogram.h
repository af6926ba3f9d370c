// A histogram that all blocks fill with integer atomics, so that the order does not
// matter: several copies in each block's shared memory where it is small, which are
// added to the one in global memory at the end; else that one alone.
#pragma once

#include "exact_sum.h"
#include "team.h"

namespace kt::KT_LEVEL {

template <class Thread>
class Histogram {
 public:
  // `bins.copies` copies fit in the shared memory at `shared`.
  KT_HOST_DEVICE Histogram(const Thread& thread, const Bins& bins, const Workspace& workspace,
                           char* shared)
      : thread_(thread), bins_(bins), global_(workspace.bins), shared_(shared) {
    const std::int64_t words = shared_words();
    for (std::int64_t i = thread.index(); i < words; i += kThreads)
      shared_as<std::uint32_t>()[i] = 0;
    thread.sync();
    copy_ = bins.copies == 0 ? 0 : thread.index() % bins.copies;
  }

  // Where there are copies in shared memory.
  KT_HOST_DEVICE void add_shared(int bin) const {
    thread_.add(shared_as<std::uint32_t>() + copy_ * static_cast<int>(bins_.count) + bin, 1u);
  }
  KT_HOST_DEVICE void add(std::int64_t bin) const {
    if (bins_.copies > 0) {
      thread_.add(shared_as<std::uint32_t>() + copy_ * bins_.count + bin, 1u);
    } else {
      thread_.add(global_ + bin, std::uint64_t{1});
    }
  }
  KT_HOST_DEVICE void add(std::int64_t bin, double weight) const {
    std::uint64_t* words = bins_.copies > 0 ? shared_as<std::uint64_t>() : global_;
    add_exactly_to(thread_, words + (copy_ * bins_.count + bin) * bins_.words, bins_.wide, weight);
  }

  // After it, the block's counts are in global memory.
  KT_HOST_DEVICE void flush() const {
    thread_.sync();
    if (bins_.copies == 0) return;
    const std::int64_t size = bins_.count * bins_.words;
    for (std::int64_t i = thread_.index(); i < size; i += kThreads) {
      std::uint64_t sum = 0;
      for (int c = 0; c < bins_.copies; ++c) {
        sum += bins_.words == 1 ? shared_as<std::uint32_t>()[c * size + i]
                                : shared_as<std::uint64_t>()[c * size + i];
      }
      if (sum == 0) continue;
      // Flags are set, numbers are added.
      if (bins_.words > 1 && i % bins_.words == 0) {
        thread_.set(global_ + i, merged_flags(i));
      } else {
        thread_.add(global_ + i, sum);
      }
    }
  }

 private:
  template <class T>
  KT_HOST_DEVICE T* shared_as() const {
    return reinterpret_cast<T*>(shared_);
  }
  KT_HOST_DEVICE std::int64_t shared_words() const {
    return bins_.copies * bins_.count * (bins_.words == 1 ? 1 : 2 * bins_.words);
  }
  KT_HOST_DEVICE std::uint64_t merged_flags(std::int64_t i) const {
    std::uint64_t flags = 0;
    for (int c = 0; c < bins_.copies; ++c) {
      flags |= shared_as<std::uint64_t>()[c * bins_.count * bins_.words + i];
    }
    return flags;
  }

  const Thread& thread_;
  const Bins& bins_;
  std::uint64_t* global_;
  char* shared_;
  int copy_ = 0;
};

// A bin's number, which is 0 again afterwards.
KT_HOST_DEVICE double take_bin(const Bins& bins, const Workspace& workspace, std::int64_t bin) {
  std::uint64_t* words = workspace.bins + bin * bins.words;
  const double out =
      bins.words == 1 ? static_cast<double>(words[0]) : exact_value(words, bins.wide);
  for (int w = 0; w < bins.words; ++w) words[w] = 0;
  return out;
}

}  // namespace kt::KT_LEVEL
