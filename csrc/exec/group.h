// The work of several metrics on one batch. Equal statistics are computed once;
// what reads the same data goes over it together, see pass.h. Every sum is made of
// the same additions as in a metric on its own, so the bits are the same.
#pragma once

#include <memory>
#include <vector>

#include "metric.h"
#include "work.h"

namespace kt {

// The first of `metrics` with the same statistics and the same kind of weights, for
// each of them. It depends on configuration alone.
std::vector<int> find_leads(const std::vector<const Metric*>& metrics,
                            const std::vector<bool>& masked);

class GroupWork {
 public:
  // Settles shapes; throws on bad input. `batches` has one for each metric.
  GroupWork(const std::vector<const Metric*>& metrics, const std::vector<int>& leads,
            const std::vector<const Batch*>& batches);

  // Returns whether several threads worked.
  bool run();
  // Throws on labels that cannot be used.
  void collect(std::size_t member, Addition* addition);

 private:
  // Jobs that differ in their definitions only, which become a list.
  template <class TheWork>
  struct Bundle {
    decltype(TheWork::job) job;
    std::vector<decltype(TheWork::op)> ops;
    std::vector<Sums> sums;
    std::vector<std::pair<TheWork*, std::size_t>> works;  // and their places in the list
    BadLabel bad;
  };

  void add(ElementwiseWork& work);
  void add(RowwiseWork& work);

  const std::vector<const Metric*>& metrics_;
  const std::vector<int>& leads_;
  std::vector<std::unique_ptr<Work>> works_;  // null for those with another lead
  std::vector<std::unique_ptr<Bundle<ElementwiseWork>>> elementwise_;
  std::vector<std::unique_ptr<Bundle<RowwiseWork>>> rowwise_;
};

}  // namespace kt
