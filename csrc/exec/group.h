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

// Metrics that are updated together.
struct Metrics {
  std::vector<const Metric*> all;
  // For each the first one with the same statistics, which depend on configuration alone.
  std::vector<int> leads;

  Metrics() = default;
  explicit Metrics(std::vector<const Metric*> metrics);
  std::size_t size() const { return all.size(); }
};

// Whether jobs differ in their definitions only.
bool same_input(const ElementwiseJob& a, const ElementwiseJob& b);
bool same_input(const RowwiseJob& a, const RowwiseJob& b);
bool same_input(const BinnedJob& a, const BinnedJob& b);

class GroupWork {
 public:
  // Settles shapes; throws on bad input. The arena must outlive the work.
  GroupWork(const Metrics& metrics, const Batch& batch, Arena& arena);

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

  const Metrics& metrics_;
  Arena& arena_;
  std::pmr::vector<InArena<Work>> works_;  // null for those with another lead
  std::pmr::vector<InArena<Bundle<ElementwiseWork>>> elementwise_;
  std::pmr::vector<InArena<Bundle<RowwiseWork>>> rowwise_;
};

// The work of one metric or of several on one batch: one needs no plan of who goes with
// whom.
class BatchWork {
 public:
  // Settles shapes; throws on bad input. The arena must outlive the work.
  BatchWork(const Metrics& metrics, const Batch& batch, Arena& arena) : metrics_(metrics) {
    if (metrics.size() == 1) {
      alone_ = &make_work(*metrics.all[0], batch, &room_);
    } else {
      group_ = make_in<GroupWork>(arena, metrics, batch, arena);
    }
  }

  // Returns whether several threads worked.
  bool run() { return alone_ != nullptr ? alone_->run() : group_->run(); }
  // Throws on labels that cannot be used.
  void collect(std::size_t member, Addition* addition) {
    if (alone_ != nullptr) return alone_->collect(*metrics_.all[member], addition);
    group_->collect(member, addition);
  }

 private:
  const Metrics& metrics_;
  AnyWork room_;
  Work* alone_ = nullptr;
  InArena<GroupWork> group_;
};

}  // namespace kt
