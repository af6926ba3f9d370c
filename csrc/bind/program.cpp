#include "program.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>

#include "../tensor/error.h"
#include "calls.h"
#include "intake.h"
#include "plan.h"

namespace py = pybind11;

namespace kt {
namespace {

using Place = std::tuple<int, std::int64_t, std::int64_t, int, std::int64_t>;

// define_program(key, [(plan, [(array, at, size, low_array, low_at), ...]), ...])
void define(const std::string& key, const std::vector<std::pair<py::capsule, std::vector<Place>>>& given) {
  std::vector<Program::Member> members;
  for (const auto& [capsule, places] : given) {
    const Plan* plan = plan_of(capsule.ptr());
    if (plan == nullptr) throw py::error_already_set();
    Program::Member& member = members.emplace_back();
    member.metric = plan->metric;
    member.masked = plan->sees_mask;
    for (const auto& [array, at, size, low_array, low_at] : places) {
      member.variables.push_back({array, at, size, low_array, low_at});
    }
  }
  define_program(key, std::move(members));
}

// A shape and a dtype's name; there is no data.
using Abstract = std::pair<std::vector<std::int64_t>, std::string>;

Inputs read_abstract(unsigned given, const std::vector<Abstract>& inputs) {
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
  const Inputs abstract = read_abstract(given, inputs);
  find_program(key).check(abstract.batch, abstract.masked);
}

bool splits(const std::string& key, unsigned given, const std::vector<Abstract>& inputs) {
  const Inputs abstract = read_abstract(given, inputs);
  return find_program(key).splits(abstract.batch) && find_program(key).splits(abstract.masked);
}

std::vector<std::int64_t> result_sizes(const std::string& key) {
  const Program& program = find_program(key);
  std::vector<std::int64_t> sizes;
  for (int i = 0; i < program.members(); ++i) sizes.push_back(program.result_size(i));
  return sizes;
}

View borrowed(const py::handle& object, const char* argument, Keep* keep) {
  View view;
  if (!borrow(object.ptr(), argument, &view, keep)) {
    throw TypeMistake(std::string("`") + argument + "` must be an array in host memory");
  }
  return view;
}

py::array new_array(DType dtype, const std::vector<py::ssize_t>& shape) {
  switch (dtype) {
    case DType::Float32:
      return py::array_t<float>(shape);
    case DType::Float64:
      return py::array_t<double>(shape);
    case DType::Int32:
      return py::array_t<std::int32_t>(shape);
    default:
      return py::array_t<std::int64_t>(shape);
  }
}

StateArrays borrow_state(const py::list& state, Keep* keep) {
  StateArrays arrays;
  for (const py::handle item : state) {
    const View view = borrowed(item, "state", keep);
    if (!view.contiguous()) throw std::logic_error("a state array with gaps");
    arrays.push_back({view.data, nullptr, view.dtype, view.size()});
  }
  return arrays;
}

// run_program(key, state, y_true, y_pred, sample_weight, masked_weight) -> the new state
py::list run(const std::string& key, const py::list& state, const py::object& y_true,
             const py::object& y_pred, const py::object& sample_weight,
             const py::object& masked_weight) {
  const Program& program = find_program(key);
  Keep keep;
  const py::handle all[] = {y_true, y_pred, sample_weight, masked_weight};
  const unsigned given = (y_true.is_none() ? 0U : kTruth) |
                         (sample_weight.is_none() ? 0U : kWeight) |
                         (masked_weight.is_none() ? 0U : kMaskedWeight);
  int next = 0;
  const Inputs inputs = read_inputs(given, [&](const char* argument) {
    while (all[next].is_none()) ++next;
    return borrowed(all[next++], argument, &keep);
  });
  StateArrays arrays = borrow_state(state, &keep);
  py::list made;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const auto shape = py::cast<std::vector<py::ssize_t>>(state[i].attr("shape"));
    py::array array = new_array(arrays[i].dtype, shape);
    arrays[i].to = array.mutable_data();
    made.append(array);
  }
  unlocked(inputs.batch, [&] {
    program.update(inputs.batch, inputs.masked, arrays.data(), static_cast<int>(arrays.size()),
                   BadLabels::Refuse);
  });
  ++road_counts.pure;
  return made;
}

// run_results(key, state, dtypes) -> an array for each metric
py::list run_results(const std::string& key, const py::list& state,
                     const std::vector<std::string>& dtypes) {
  const Program& program = find_program(key);
  Keep keep;
  const StateArrays arrays = borrow_state(state, &keep);
  ResultArrays results;
  py::list made;
  for (int i = 0; i < program.members(); ++i) {
    const std::int64_t size = program.result_size(i);
    const DType dtype = dtype_named(dtypes.at(static_cast<std::size_t>(i)), "dtypes");
    std::vector<py::ssize_t> shape;
    if (size >= 0) shape.push_back(size);
    py::array array = new_array(dtype, shape);
    results.push_back({array.mutable_data(), dtype, array.size()});
    made.append(array);
  }
  program.results(arrays.data(), static_cast<int>(arrays.size()), results.data());
  return made;
}

}  // namespace

void add_program_functions(py::module_& m) {
  m.def("define_program", &define, py::arg("key"), py::arg("members"));
  m.def("check_program", &check, py::arg("key"), py::arg("given"), py::arg("inputs"));
  m.def("program_splits", &splits, py::arg("key"), py::arg("given"), py::arg("inputs"));
  m.def("result_sizes", &result_sizes, py::arg("key"));
  m.def("run_program", &run, py::arg("key"), py::arg("state"), py::arg("y_true"),
        py::arg("y_pred"), py::arg("sample_weight"), py::arg("masked_weight"));
  m.def("run_results", &run_results, py::arg("key"), py::arg("state"), py::arg("dtypes"));
}

}  // namespace kt
