// The work of several metrics on one batch. Equal statistics are computed once;
// what reads the same data goes over it together, see pass.h. Every sum is made of
// the same additions as in a metric on its own, so the bits are the same.
#pragma once

#include <memory_resource>
#include <utility>
#include <vector>

#include "metric.h"
#include "work.h"

namespace kt {

// The first of `metrics` with the same statistics, for each of them. It depends on
// configuration alone.
std::vector<int> find_leads(const std::vector<const Metric*>& metrics);

// Whether jobs differ in their definitions only.
bool same_input(const ElementwiseJob& a, const ElementwiseJob& b);
bool same_input(const RowwiseJob& a, const RowwiseJob& b);
bool same_input(const BinnedJob& a, const BinnedJob& b);

class GroupWork {
 public:
  // Settles shapes; throws on bad input. The arena must outlive the work.
  GroupWork(const std::vector<const Metric*>& metrics, const std::vector<int>& leads,
            const Batch& batch, Arena& arena);

  // Returns whether several threads worked.
  bool run();
  // Throws on labels that cannot be used.
  void collect(std::size_t member, Addition* addition);

 private:
  // Jobs that differ in their definitions only, which become a list.
  template <class TheWork>
  struct Bundle {
    decltype(TheWork::job) job;
    std::pmr::vector<decltype(TheWork::op)> ops;
    std::pmr::vector<Sums> sums;
    std::pmr::vector<std::pair<TheWork*, std::size_t>> works;  // and their places in the list
    BadLabel bad;

    explicit Bundle(Arena* arena) : ops(arena), sums(arena), works(arena) {}
    void list_ops() {
      job.ops = ops.data();
      job.op_count = static_cast<int>(ops.size());
      sums.resize(ops.size());
    }
  };

  void add(ElementwiseWork& work);
  void add(RowwiseWork& work);

  const std::vector<const Metric*>& metrics_;
  const std::vector<int>& leads_;
  Arena& arena_;
  std::pmr::vector<InArena<Work>> works_;  // null for those with another lead
  std::pmr::vector<InArena<Bundle<ElementwiseWork>>> elementwise_;
  std::pmr::vector<InArena<Bundle<RowwiseWork>>> rowwise_;
};

}  // namespace kt
