// The extension module `keras_tally._native`: registration only.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "../cuda/devices.h"
#include "../exec/float_mode.h"
#include "../exec/level.h"
#include "../exec/metric.h"
#include "../exec/threads.h"
#include "../tensor/error.h"
#include "calls.h"
#include "commit.h"
#include "errors.h"
#include "intake.h"
#include "main_interpreter.h"
#include "plan.h"
#include "program.h"
#include "xla.h"

namespace py = pybind11;

namespace {

py::list kernels() {
  py::list out;
  for (const kt::KernelRow& row : kt::kernel_table()) {
    py::dict entry;
    entry["name"] = row.name;
    static const char* const names[] = {"elementwise", "rowwise",   "columnwise",
                                        "binned",      "tabulated", "expression"};
    entry["executor"] = names[static_cast<int>(row.executor)];
    out.append(entry);
  }
  return out;
}

py::list results() {
  py::list out;
  for (const kt::ResultName& row : kt::result_table()) {
    py::dict entry;
    entry["name"] = row.name;
    entry["shape"] = row.shape;
    out.append(entry);
  }
  return out;
}

// What expressions can be made of, with the number of values that each takes.
std::map<std::string, int> operations() {
  std::map<std::string, int> out;
  for (const kt::OperationRow& row : kt::operation_table()) {
    if (!row.fused) out[row.name] = row.arity;
  }
  return out;
}

std::vector<std::string> levels() {
  std::vector<std::string> names;
  const kt::LevelList& list = kt::usable_levels();
  for (int i = 0; i < list.count; ++i) names.emplace_back(list.levels[i]->name);
  return names;
}

void set_level(const std::string& name) {
  const std::vector<std::string> names = levels();
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return kt::set_active_level(static_cast<int>(i));
  }
  throw kt::ValueMistake("`name` must be one of levels(). Received: name=" + name);
}

int num_threads() {
  kt::follow_torch_threads();
  return kt::num_threads();
}

std::map<std::string, long long> road_counts() {
  const kt::RoadCounts& roads = kt::road_counts;
  return {{"exchange_api", roads.exchange_api},
          {"numpy", roads.numpy},
          {"dlpack", roads.dlpack},
          {"in_place", roads.in_place},
          {"pure", roads.pure},
          {"evaluated", roads.evaluated},
          {"converted", roads.converted},
          {"parallel", roads.parallel},
          {"xla", kt::xla_updates},
          {"cuda", kt::device_counts.updates.load()},
          {"cuda_launches", kt::device_counts.launches.load()},
          {"cuda_allocations", kt::device_counts.allocations.load()}};
}

void set_device_api(const py::object& capsule, bool emulated) {
  const kt::DeviceApi* api = nullptr;
  if (!capsule.is_none()) {
    api = static_cast<const kt::DeviceApi*>(
        PyCapsule_GetPointer(capsule.ptr(), kt::kDeviceApiCapsule));
    if (api == nullptr) throw py::error_already_set();
  }
  kt::set_device_api(api, emulated);
}

double read_bandwidth(const py::object& tensors) {
  double sum = 0;
  for (const py::handle tensor : tensors) {
    kt::Keep keep;
    kt::View view;
    if (!kt::borrow(tensor.ptr(), "tensors", &view, &keep) || !view.contiguous()) {
      throw kt::TypeMistake("`tensors` must be a list of contiguous tensors in host memory");
    }
    sum += kt::active_level().read(view.data, view.size() * kt::item_size(view.dtype));
  }
  return sum;
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  // Of this module alone: other modules that are built with pybind11 keep theirs.
  py::register_local_exception_translator([](std::exception_ptr error) {
    if (error) kt::set_python_error(error);
  });
  m.doc() = "Native kernels of keras-tally. Not a public interface.";
  m.def("kernels", &kernels);
  m.def("results", &results);
  m.def("operations", &operations);
  m.def(
      "check_expression",
      [](const kt::ExpressionTuple& expression) { kt::make_expression(expression); },
      py::arg("expression"));
  m.def("levels", &levels);
  m.def("active_level", [] { return std::string(kt::active_level().name); });
  m.def("set_level", &set_level, py::arg("name"));
  m.def("num_threads", &num_threads);
  m.def("set_num_threads", &kt::set_num_threads, py::arg("count"));
  m.def("set_default_threads", &kt::set_default_threads, py::arg("count"));
  m.def("parallel_threshold", [] { return kt::kParallelThreshold; });
  m.def("road_counts", &road_counts);
  m.def("count_converted", [] { ++kt::road_counts.converted; });
  m.def("set_device_api", &set_device_api, py::arg("capsule"), py::arg("emulated") = false);
  m.def("devices", &kt::device_names);
  m.def("read_bandwidth", &read_bandwidth, py::arg("tensors"));
  m.def("make_plan", &kt::make_plan, py::arg("kernel"), py::arg("result"), py::arg("variables"),
        py::arg("options"), py::call_guard<kt::FloatMode>());
  m.def("make_group", &kt::make_group, py::arg("plans"), py::arg("names"), py::arg("variables"));
  kt::add_program_functions(m);
  m.def("xla_handlers", &kt::xla_handlers);
  m.def("xla_version", &kt::xla_version);
  for (PyMethodDef* methods : {kt::plan_methods(), kt::commit_methods()}) {
    if (PyModule_AddFunctions(m.ptr(), methods) != 0) throw py::error_already_set();
  }
}
