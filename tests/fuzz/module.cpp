// The targets as functions of Python, for the tests: `keras_tally._fuzz_targets`.
#include <pybind11/pybind11.h>

#include <string_view>

#include "targets.h"

namespace {

template <kt::fuzz::Target target>
void run(const pybind11::bytes& given) {
  const std::string_view bytes = given;
  target(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

}  // namespace

PYBIND11_MODULE(_fuzz_targets, m) {
  m.def("batch", &run<kt::fuzz::batch>);
  m.def("expression", &run<kt::fuzz::expression>);
}
