#include "group.h"

#include <algorithm>

namespace kt {
namespace {

bool same_view(const View& a, const View& b) {
  return a.data == b.data && a.dtype == b.dtype && a.rank == b.rank &&
         std::equal(a.shape, a.shape + a.rank, b.shape) &&
         std::equal(a.strides, a.strides + a.rank, b.strides);
}

bool same_view(const View* a, const View* b) {
  return a == nullptr || b == nullptr ? a == b : same_view(*a, *b);
}

bool same_dtype(const DType* a, const DType* b) {
  return a == nullptr || b == nullptr ? a == b : *a == *b;
}

}  // namespace

bool same_input(const ElementwiseJob& a, const ElementwiseJob& b) {
  return same_view(a.y_true, b.y_true) && same_view(a.y_pred, b.y_pred) &&
         same_view(a.weight, b.weight) && same_dtype(a.round_true, b.round_true) &&
         same_dtype(a.round_pred, b.round_pred);
}

bool same_input(const RowwiseJob& a, const RowwiseJob& b) {
  return same_view(a.scores, b.scores) && same_view(a.weight, b.weight) &&
         a.row_axes == b.row_axes && a.scores_are_ids == b.scores_are_ids &&
         (!a.has_truth || !b.has_truth || (a.dense == b.dense && same_view(a.truth, b.truth)));
}

bool same_input(const BinnedJob& a, const BinnedJob& b) {
  return same_view(a.y_true, b.y_true) && same_view(a.y_pred, b.y_pred) &&
         same_view(a.weights[0], b.weights[0]) && same_view(a.weights[1], b.weights[1]) &&
         a.labels == b.labels && a.from_logits == b.from_logits && a.top_k == b.top_k &&
         a.class_id == b.class_id && (a.top_k == 0 || same_view(a.top_k_scores, b.top_k_scores));
}

namespace {

// Whether jobs of this kind take a list of definitions.
bool is_listed(const KernelRow& kernel) {
  return kernel.executor == Executor::Elementwise || kernel.executor == Executor::Rowwise;
}

bool is_count(const KernelRow& kernel) {
  return kernel.executor == Executor::Elementwise && active_level().elementwise[kernel.id].counts;
}

template <class Ops, class Op>
std::size_t place_of(Ops& ops, const Op& op) {
  const auto found = std::find(ops.begin(), ops.end(), op);
  if (found != ops.end()) return static_cast<std::size_t>(found - ops.begin());
  ops.push_back(op);
  return ops.size() - 1;
}

template <class Bundles, class TheWork>
auto& bundle_for(Bundles& bundles, TheWork& work, Arena& arena) {
  using Bundle = typename Bundles::value_type::element_type;
  for (auto& bundle : bundles) {
    if (same_input(bundle->job, work.job)) return *bundle;
  }
  bundles.push_back(make_in<Bundle>(arena, &arena));
  bundles.back()->job = work.job;
  return *bundles.back();
}

}  // namespace

Metrics::Metrics(std::vector<const Metric*> metrics) : all(std::move(metrics)) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::size_t lead = 0;
    const Statistics& own = *all[i];  // with a NaN in it, equal to nothing
    while (lead < i && !(static_cast<const Statistics&>(*all[lead]) == own)) ++lead;
    leads.push_back(static_cast<int>(lead));
  }
}

void GroupWork::add(ElementwiseWork& work) {
  Bundle<ElementwiseWork>& bundle = bundle_for(elementwise_, work, arena_);
  bundle.works.emplace_back(&work, place_of(bundle.ops, work.op));
}

void GroupWork::add(RowwiseWork& work) {
  Bundle<RowwiseWork>& bundle = bundle_for(rowwise_, work, arena_);
  if (!bundle.job.has_truth) bundle.job = work.job;
  bundle.works.emplace_back(&work, place_of(bundle.ops, work.op));
}

GroupWork::GroupWork(const Metrics& metrics, const Batch& batch, Arena& arena)
    : metrics_(metrics), arena_(arena), works_(&arena), elementwise_(&arena), rowwise_(&arena) {
  works_.reserve(metrics.size());
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    const bool leads_itself = metrics.leads[i] == static_cast<int>(i);
    works_.push_back(leads_itself ? make_work(*metrics.all[i], batch, arena) : nullptr);
  }
}

bool GroupWork::run() {
  // What computes most goes first: it waits for the memory while it has other things
  // to do, and the others find the tile in the cache.
  for (const bool counts : {false, true}) {
    for (std::size_t i = 0; i < works_.size(); ++i) {
      if (works_[i] == nullptr || is_count(metrics_.all[i]->kernel) != counts) continue;
      const Executor executor = metrics_.all[i]->kernel.executor;
      if (executor == Executor::Elementwise) add(static_cast<ElementwiseWork&>(*works_[i]));
      if (executor == Executor::Rowwise) add(static_cast<RowwiseWork&>(*works_[i]));
    }
  }
  std::pmr::vector<InArena<Pass>> passes(&arena_);
  for (auto& bundle : rowwise_) {
    bundle->list_ops();
    passes.push_back(make_pass(bundle->job, bundle->sums.data(), &bundle->bad, arena_));
  }
  for (auto& bundle : elementwise_) {
    bundle->list_ops();
    passes.push_back(make_pass(bundle->job, bundle->sums.data(), arena_));
  }
  for (std::size_t i = 0; i < works_.size(); ++i) {
    if (works_[i] == nullptr || is_listed(metrics_.all[i]->kernel)) continue;
    passes.push_back(works_[i]->pass(arena_));
  }
  std::pmr::vector<Pass*> all(&arena_);
  for (const auto& pass : passes) all.push_back(pass.get());
  const bool parallel = run_passes(all.data(), static_cast<int>(all.size()));
  for (auto& bundle : elementwise_) {
    for (auto& [work, place] : bundle->works) work->sums = bundle->sums[place];
  }
  for (auto& bundle : rowwise_) {
    for (auto& [work, place] : bundle->works) {
      work->sums = bundle->sums[place];
      // A label that is no class is nothing to the others.
      const auto kernel = static_cast<int>(work->op.kernel);
      if (active_level().rowwise[kernel].needs_label) work->bad = bundle->bad;
    }
  }
  return parallel;
}

void GroupWork::collect(std::size_t member, Addition* addition) {
  const auto lead = static_cast<std::size_t>(metrics_.leads[member]);
  works_[lead]->collect(*metrics_.all[member], addition);
}

}  // namespace kt
