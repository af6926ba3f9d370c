#include "program.h"

#include <pybind11/stl.h>

#include <string>
#include <utility>

#include "../exec/program_api.h"
#include "../tensor/shapes.h"
#include "intake.h"
#include "plan.h"

namespace py = pybind11;

namespace kt {
namespace {

using Place = std::tuple<int, std::int64_t, std::int64_t, int, std::int64_t>;

// define_program(key, [(plan, [(array, at, size, rest_array, rest_at), ...]), ...])
void define(const std::string& key,
            const std::vector<std::pair<py::capsule, std::vector<Place>>>& given) {
  std::vector<Program::Member> members;
  for (const auto& [capsule, places] : given) {
    Program::Member& member = members.emplace_back();
    member.metric = plan_of(capsule.ptr()).members.at(0)->metric;
    for (const auto& [array, at, size, rest_array, rest_at] : places) {
      member.variables.push_back({array, at, size, rest_array, rest_at});
    }
  }
  define_program(key, std::move(members));
}

// A shape and a dtype's name; there is no data.
using Abstract = std::pair<std::vector<std::int64_t>, std::string>;

Batch read_abstract(unsigned given, const std::vector<Abstract>& inputs) {
  std::size_t next = 0;
  return read_inputs(given, [&](const char* argument) {
    const auto& [shape, dtype] = inputs.at(next++);
    View view;
    view.device = 0;  // where nobody reads
    view.dtype = dtype_named(dtype, argument);
    set_shape(&view, argument, shape.data(), shape.size());
    return view;
  });
}

// Throws where an update by arrays of these shapes and dtypes would.
void check(const std::string& key, unsigned given, const std::vector<Abstract>& inputs) {
  find_program(key).check(read_abstract(given, inputs));
}

bool splits(const std::string& key, unsigned given, const std::vector<Abstract>& inputs) {
  return find_program(key).splits(read_abstract(given, inputs));
}

std::vector<std::int64_t> result_sizes(const std::string& key) {
  const Program& program = find_program(key);
  std::vector<std::int64_t> sizes;
  for (int i = 0; i < program.members(); ++i) sizes.push_back(program.result_size(i));
  return sizes;
}

const ProgramApi api = {
    find_program,
    [](const Program& program, const Batch& batch, const StateArray* arrays, int count) {
      program.update(batch, arrays, count, BadLabels::Refuse);
    },
    [](const Program& program, const StateArray* arrays, int count, const ResultArray* results) {
      program.results(arrays, count, results);
    },
    [](const Program& program, int member) { return program.result_size(member); },
};

}  // namespace

void add_program_functions(py::module_& m) {
  m.def("define_program", &define, py::arg("key"), py::arg("members"));
  m.def("check_program", &check, py::arg("key"), py::arg("given"), py::arg("inputs"));
  m.def("program_splits", &splits, py::arg("key"), py::arg("given"), py::arg("inputs"));
  m.def("program_api", [] { return py::capsule(&api, kProgramApiCapsule); });
  m.def("result_sizes", &result_sizes, py::arg("key"));
}

}  // namespace kt
