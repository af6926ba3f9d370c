// Results of counts of pairs of class ids.
#pragma once

#include "results.h"

namespace kt::KT_LEVEL {

// The mean over target classes that occur, of TP / (TP + FP + FN).
struct MeanIoUResult {
  template <class Runner>
  KT_HOST_DEVICE static double value(const Runner& run, const ResultSpec& spec,
                                     const State& state) {
    const std::int64_t classes = spec.classes;
    double sums[2] = {0.0, 0.0};
    run.sum(spec.target_count, sums, [&](std::int64_t i, double* into) {
      const std::int64_t target = spec.targets[i];
      const std::int64_t id = target < 0 ? target + classes : target;
      double hits = 0.0, all = 0.0;
      if (spec.by_class) {
        hits = state_at(state, 0, id);
        all = hits + state_at(state, 1, id) + state_at(state, 2, id);
      } else {
        hits = state_at(state, 0, id * classes + id);
        for (std::int64_t other = 0; other < classes; ++other) {
          all +=
              state_at(state, 0, id * classes + other) + state_at(state, 0, other * classes + id);
        }
        all -= hits;
      }
      const bool occurs = all > 1e-9;
      into[0] += occurs ? hits / (all + spec.epsilon) : 0.0;
      into[1] += occurs ? 1.0 : 0.0;
    });
    return sums[0] / (sums[1] + spec.epsilon);
  }
};

}  // namespace kt::KT_LEVEL
