// What a fuzzer gives, read as numbers. Where the bytes end, all numbers are 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace kt::fuzz {

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}

  bool used_up() const { return at_ == end_; }

  template <class T>
  T number() {
    T out{};
    const auto left = static_cast<std::size_t>(end_ - at_);
    const std::size_t taken = left < sizeof(T) ? left : sizeof(T);
    if (taken > 0) std::memcpy(&out, at_, taken);
    at_ += taken;
    return out;
  }

  int below(int n) { return number<std::uint8_t>() % n; }
  bool flag() { return below(2) == 1; }
  // For what only somebody hostile does.
  bool rarely() { return number<std::uint8_t>() >= 0xf0; }

  // A number as people choose them, or any.
  std::int64_t integer() {
    const int choice = number<std::uint8_t>();
    return choice < 0xf0 ? choice % 16 - 3 : number<std::int64_t>();
  }
  double real() {
    const int choice = number<std::uint8_t>();
    return choice < 0xf0 ? (choice % 32 - 8) / 8.0 : number<double>();
  }

 private:
  const std::uint8_t* at_;
  const std::uint8_t* end_;
};

}  // namespace kt::fuzz
