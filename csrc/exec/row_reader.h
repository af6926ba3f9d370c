// Whole rows of a view as T: where they lie if they are dense and evenly spaced,
// else as a converted copy of a few rows at a time.
#pragma once

#include <algorithm>
#include <vector>

#include "walk.h"

namespace kt {

template <class T>
class RowReader {
 public:
  // The last `row_axes` axes of `view` make a row. The view must outlive this.
  RowReader(const Level& level, const View& view, int row_axes)
      : level_(level), view_(view), lead_({&view}, view.shape, view.rank - row_axes) {
    std::int64_t dense = 1;
    in_place_ = view.dtype == kDType<T> && lead_.rank <= 1;
    for (int d = view.rank - 1; d >= view.rank - row_axes; --d) {
      in_place_ &= view.shape[d] == 1 || view.strides[d] == dense;
      dense *= view.shape[d];
    }
    width_ = dense;
    stride_ = lead_.rank == 0 ? width_ : lead_.strides[0][0];
    rows_ = lead_.rank == 0 ? 1 : lead_.shape[0];
    if (!in_place_) {
      stride_ = width_;
      all_ = Walk<1>({&view}, view.shape, view.rank);
    }
  }

  std::int64_t width() const { return width_; }
  // How many rows are worth reading at once.
  std::int64_t group(std::int64_t most) const {
    const std::int64_t fit = kBuffered / std::max<std::int64_t>(1, width_);
    return in_place_ ? most : std::clamp<std::int64_t>(fit, 1, most);
  }

  // n rows from `start` on; valid until the next call.
  const T* read(std::int64_t start, std::int64_t n) {
    if (in_place_) {
      const T* data = reinterpret_cast<const T*>(view_.data) + start * stride_;
      readable_ = stride_ >= 0 ? (rows_ - 1 - start) * stride_ + width_ : width_;
      return data;
    }
    const auto size = static_cast<std::size_t>(n * width_ + kPadding);
    if (buffer_.size() < size) buffer_.resize(size);
    readable_ = n * width_ + kPadding;
    const T* data = fetch(level_, all_, 0, view_, start * width_, n * width_, buffer_.data());
    if (data != buffer_.data()) readable_ = n * width_;
    return data;
  }
  // Of what read() returned: from row to row, and how far on one may read.
  std::int64_t stride() const { return stride_; }
  std::int64_t readable() const { return readable_; }

 private:
  static constexpr std::int64_t kBuffered = 16 * 1024;
  static constexpr std::int64_t kPadding = 16;

  const Level& level_;
  const View& view_;
  Walk<1> lead_, all_;
  bool in_place_ = false;
  std::int64_t width_ = 1, stride_ = 0, rows_ = 1, readable_ = 0;
  std::vector<T> buffer_;
};

}  // namespace kt
