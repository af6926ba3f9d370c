// Which SIMD levels were compiled, which this processor can run, which is used.
#include <atomic>

#include "level.h"

namespace kt {

namespace baseline {
extern const Level kLevel;
}
#if defined(KT_HAVE_X86_LEVELS)
namespace x86_64_v3 {
extern const Level kLevel;
}
namespace x86_64_v4 {
extern const Level kLevel;
}
#endif

namespace {

LevelList find_levels() {
  LevelList list = {{&baseline::kLevel}, 1};
#if defined(KT_HAVE_X86_LEVELS)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi2")) {
    list.levels[list.count++] = &x86_64_v3::kLevel;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd")) {
      list.levels[list.count++] = &x86_64_v4::kLevel;
    }
  }
#endif
  return list;
}

std::atomic<const Level*> current{nullptr};

}  // namespace

const LevelList& usable_levels() {
  static const LevelList list = find_levels();
  return list;
}

const Level& active_level() {
  const Level* level = current.load(std::memory_order_relaxed);
  if (level == nullptr) {
    const LevelList& list = usable_levels();
    level = list.levels[list.count - 1];
    current.store(level, std::memory_order_relaxed);
  }
  return *level;
}

void set_active_level(int index) { current.store(usable_levels().levels[index]); }

}  // namespace kt
