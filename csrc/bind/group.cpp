#include "group.h"

#include <algorithm>
#include <vector>

#include "../exec/group.h"
#include "../exec/scratch.h"
#include "../tensor/error.h"
#include "calls.h"
#include "errors.h"
#include "intake.h"
#include "plan.h"

namespace py = pybind11;

namespace kt {
namespace {

constexpr const char* kCapsule = "keras_tally.group";

struct Group {
  std::vector<py::object> kept;  // the plans, as Python holds them
  std::vector<const Plan*> plans;
  std::vector<const Metric*> metrics;
  std::vector<int> leads;
  std::vector<py::object> names;
  std::vector<py::object> fields;  // the variable's `__dict__`
};

Group* group_of(PyObject* capsule) {
  return static_cast<Group*>(PyCapsule_GetPointer(capsule, kCapsule));
}

struct Packed {
  double* high = nullptr;
  std::int64_t row = 0;  // of high halves, and of low ones behind them
  int place = kHost;
};

bool borrow_packed(PyObject* tensor, Packed* packed, Keep* keep) {
  std::int64_t both = 0;
  packed->high = borrow_numbers<double>(tensor, DType::Float64, &both, keep, &packed->place);
  packed->row = both / 2;
  return packed->high != nullptr;
}

// On a device: as few launches as the members' inputs allow, and no waiting.
bool add_batch_on(int device, const Group& group, const Batch& batch, PyObject* tensor, Keep* keep,
                  Arena& arena) {
  Packed packed;
  if (!borrow_packed(tensor, &packed, keep) || !same_place(device, packed.place)) return false;
  DeviceUpdate update(device, current_stream(tensor, device));
  const std::size_t count = group.metrics.size();
  std::pmr::vector<InArena<Work>> works(&arena);
  for (std::size_t i = 0; i < count; ++i) {
    const Plan& plan = *group.plans[i];
    State state;
    lay_out(plan, packed.high, packed.row, &state);
    works.push_back(make_work(plan.metric, batch, arena));
    update.add(plan.metric, *works.back(), plan.constants.on(device, plan.metric), state);
  }
  update.run();
  return true;
}

// Adds to all members' states, or throws and adds to none; false, and nothing
// added, when the state cannot be borrowed.
bool add_batch(const Group& group, const Batch& batch, PyObject* tensor, Keep* keep) {
  const std::size_t count = group.metrics.size();
  ScratchArena scratch;
  Arena& arena = *scratch;
  const int place = place_of(batch);
  if (place == kSeveralPlaces) return false;
  if (place != kHost) return add_batch_on(place, group, batch, tensor, keep, arena);
  GroupWork work(group.metrics, group.leads, batch, arena);
  std::pmr::vector<Addition> additions(count, &arena);
  bool parallel = false;
  unlocked(batch, [&] {
    parallel = work.run();
    for (std::size_t i = 0; i < count; ++i) work.collect(i, &additions[i]);
  });
  // With the interpreter's lock held, as for a single metric.
  Packed packed;
  if (!borrow_packed(tensor, &packed, keep) || !same_place(place, packed.place)) return false;
  for (std::size_t i = 0; i < count; ++i) {
    State state;
    lay_out(*group.plans[i], packed.high, packed.row, &state);
    if (!commit_high(additions[i], state)) commit(additions[i], state);
  }
  road_counts.parallel += parallel ? 1 : 0;
  return true;
}

// update_group(group, y_true, y_pred, sample_weight[, unmasked]) -> bool, as update().
PyObject* update_group(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 4 && count != 5) throw TypeMistake("update_group() takes 4 or 5 arguments");
    Group* group = group_of(args[0]);
    if (group == nullptr) return nullptr;
    PyObject* tracker = nullptr;
    if (in_stateless_scope(&tracker)) Py_RETURN_FALSE;
    if (count == 4 && has_mask(args[2], tracker)) Py_RETURN_FALSE;
    Keep keep;
    Batch batch;
    if (!borrow_batch(2, args[1], args[2], args[3], &batch, &keep)) Py_RETURN_FALSE;
    const Values values(group->fields);
    if (!values.complete() || !add_batch(*group, batch, values.tensors()[0], &keep)) {
      Py_RETURN_FALSE;
    }
    ++road_counts.in_place;
    Py_RETURN_TRUE;
  });
}

// update_group_into(group, state, y_true, y_pred, sample_weight): adds to the given array.
PyObject* update_group_into(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 5) throw TypeMistake("update_group_into() takes 5 arguments");
    Group* group = group_of(args[0]);
    if (group == nullptr) return nullptr;
    Keep keep;
    Batch batch;
    const char* unread = nullptr;
    if (!borrow_batch(2, args[2], args[3], args[4], &batch, &keep, &unread)) refuse_unread(unread);
    if (!add_batch(*group, batch, args[1], &keep)) {
      throw std::logic_error("the state is not a contiguous float64 array where the inputs are");
    }
    ++road_counts.pure;
    Py_RETURN_NONE;
  });
}

PyObject* results_of(const Group& group, PyObject* tensor) {
  Keep keep;
  Packed packed;
  if (!borrow_packed(tensor, &packed, &keep)) Py_RETURN_NONE;
  const DLPackExchangeAPI* api = exchange_api_of(Py_TYPE(tensor));
  py::dict results;
  for (std::size_t i = 0; i < group.plans.size(); ++i) {
    const Plan& plan = *group.plans[i];
    State state;
    lay_out(plan, packed.high, packed.row, &state);
    const auto result = py::reinterpret_steal<py::object>(
        packed.place == kHost ? Finished(plan, state).as_tensor(api)
                              : finished_on(packed.place, plan, state, tensor));
    if (!result) throw py::error_already_set();
    results[group.names[i]] = result;
  }
  return results.release().ptr();
}

// result_group(group) -> dict by name, or None when Python must take the general road.
PyObject* result_group(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 1) throw TypeMistake("result_group() takes 1 argument");
    Group* group = group_of(args[0]);
    if (group == nullptr) return nullptr;
    PyObject* tracker = nullptr;
    if (in_stateless_scope(&tracker)) Py_RETURN_NONE;
    const Values values(group->fields);
    if (!values.complete()) Py_RETURN_NONE;
    return results_of(*group, values.tensors()[0]);
  });
}

// result_group_from(group, state) -> dict by name of the given state array, or None.
PyObject* result_group_from(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 2) throw TypeMistake("result_group_from() takes 2 arguments");
    Group* group = group_of(args[0]);
    if (group == nullptr) return nullptr;
    return results_of(*group, args[1]);
  });
}

// reset_group(group) -> bool: zeroes the whole variable in place.
PyObject* reset_group(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return translated([&]() -> PyObject* {
    if (count != 1) throw TypeMistake("reset_group() takes 1 argument");
    Group* group = group_of(args[0]);
    if (group == nullptr) return nullptr;
    PyObject* tracker = nullptr;
    if (in_stateless_scope(&tracker)) Py_RETURN_FALSE;
    const Values values(group->fields);
    Keep keep;
    Packed packed;
    if (!values.complete() || !borrow_packed(values.tensors()[0], &packed, &keep)) {
      Py_RETURN_FALSE;
    }
    if (packed.place == kHost) {
      std::fill_n(packed.high, 2 * packed.row, 0.0);
    } else {
      clear_on(packed.place, current_stream(values.tensors()[0], packed.place), packed.high,
               static_cast<std::size_t>(2 * packed.row) * sizeof(double));
    }
    Py_RETURN_TRUE;
  });
}

PyMethodDef kGroupMethods[] = {
    entry_point("update_group", update_group,
                "update_group(group, y_true, y_pred, sample_weight[, unmasked]) -> bool"),
    entry_point("update_group_into", update_group_into,
                "update_group_into(group, state, y_true, y_pred, sample_weight)"),
    entry_point("result_group", result_group, "result_group(group) -> dict or None"),
    entry_point("result_group_from", result_group_from,
                "result_group_from(group, state) -> dict or None"),
    entry_point("reset_group", reset_group, "reset_group(group) -> bool"),
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyMethodDef* group_methods() { return kGroupMethods; }

py::capsule make_group(const py::sequence& plans, const py::sequence& names,
                       const py::sequence& variables) {
  auto group = std::make_unique<Group>();
  for (const py::handle capsule : plans) {
    const Plan* plan = plan_of(capsule.ptr());
    if (plan == nullptr) throw py::error_already_set();
    if (plan->inputs != 2 || plan->sizes.empty()) {
      throw std::logic_error("a plan that cannot be part of a group");
    }
    group->kept.push_back(py::reinterpret_borrow<py::object>(capsule));
    group->plans.push_back(plan);
    group->metrics.push_back(&plan->metric);
  }
  for (const py::handle name : names) {
    group->names.push_back(py::reinterpret_borrow<py::object>(name));
  }
  if (variables.size() != 1) throw std::logic_error("a group has one variable");
  group->fields.push_back(variables[0].attr("__dict__"));
  group->leads = find_leads(group->metrics);
  return py::capsule(group.release(), kCapsule,
                     [](PyObject* capsule) { delete group_of(capsule); });
}

}  // namespace kt
