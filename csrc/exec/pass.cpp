#include "pass.h"

#include <limits>
#include <vector>

#include "threads.h"

namespace kt {
namespace {

// What passes with several definitions hold in the first cache together with
// their buffers.
constexpr std::int64_t kTile = 4096;
constexpr std::int64_t kEnd = std::numeric_limits<std::int64_t>::max();

// The part of a pass that one thread takes.
struct Share {
  Pass* pass;
  std::int64_t at, end;

  // Goes on up to `position`, in elements of y_pred, or as near as steps allow.
  void advance(std::int64_t position) {
    const Chunks& chunks = pass->chunks;
    const std::int64_t wanted = std::min(end, position / pass->width);
    while (at < wanted) {
      const std::int64_t chunk = at / chunks.size, begin = chunk * chunks.size;
      std::int64_t to = std::min(end, begin + chunks.size);
      if (wanted < to) to = begin + (wanted - begin) / pass->step * pass->step;
      if (to <= at) return;
      pass->run(static_cast<int>(chunk), at, to);
      at = to;
    }
  }
};

// The chunks of `pass` that begin in [begin, end), in elements of y_pred.
Share share_of(Pass* pass, std::int64_t begin, std::int64_t end) {
  const std::int64_t size = pass->chunks.size * pass->width;
  const auto first_from = [&](std::int64_t element) {
    const std::int64_t chunk = element / size + (element % size == 0 ? 0 : 1);
    return std::min(pass->units, chunk * pass->chunks.size);
  };
  return {pass, first_from(begin), end < 0 ? pass->units : first_from(end)};
}

}  // namespace

bool run_passes(Pass* const* passes, int count) {
  Pass& first = *passes[0];
  bool threads = false;
  for (int i = 0; i < count; ++i) threads |= passes[i]->worth_threads;
  auto task = [&](int chunk) {
    const std::int64_t begin = chunk * first.chunks.size;
    if (count == 1) {
      return first.run(chunk, begin, std::min(first.units, begin + first.chunks.size));
    }
    // The others' chunks go with those of the first; what is left, with its last.
    const bool last = chunk + 1 == first.chunks.count;
    const std::int64_t from = begin * first.width;
    const std::int64_t to = last ? -1 : from + first.chunks.size * first.width;
    // Without tiles where all of it is one.
    if (last && chunk == 0 && first.units * first.width <= kTile) {
      for (int i = 0; i < count; ++i) share_of(passes[i], 0, -1).advance(kEnd);
      return;
    }
    std::vector<Share> shares;
    for (int i = 0; i < count; ++i) shares.push_back(share_of(passes[i], from, to));
    for (std::int64_t position = from + kTile; !shares.empty(); position += kTile) {
      for (Share& share : shares) share.advance(position);
      std::erase_if(shares, [](const Share& share) { return share.at >= share.end; });
    }
  };
  const bool parallel = run_chunks(
      first.chunks.count, threads,
      [](void* context, int chunk) { (*static_cast<decltype(task)*>(context))(chunk); }, &task);
  for (int i = 0; i < count; ++i) passes[i]->finish();
  return parallel;
}

}  // namespace kt
