// From a class's options to a plan.
#include <pybind11/stl.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "../tensor/dlpack.h"
#include "../tensor/error.h"
#include "calls.h"

namespace py = pybind11;

namespace kt {
namespace {

template <class T>
constexpr const char* what_is() {
  if constexpr (std::is_same_v<T, bool>) return "True or False";
  if constexpr (std::is_integral_v<T>) return "an integer of at most 64 bits";
  if constexpr (std::is_floating_point_v<T>) return "a number";
  if constexpr (std::is_same_v<T, std::string>) return "a string";
  return "of another type";
}

// What configures a plan, and which names have been asked for.
class Options {
 public:
  explicit Options(const py::dict& given) : given_(given) {}

  py::object at(const char* name) {
    known_.emplace_back(name);
    return given_.contains(name) ? py::object(given_[name]) : py::none();
  }

  // A name that nobody asks for would be an option without effect.
  void refuse_unknown() const {
    for (const auto& [key, value] : given_) {
      const auto name = py::cast<std::string>(key);
      if (std::find(known_.begin(), known_.end(), name) == known_.end()) {
        throw std::logic_error("unknown option " + name);
      }
    }
  }

 private:
  const py::dict& given_;
  std::vector<std::string> known_;
};

// An option that is there; most are what the user has given as an argument of that name.
template <class T>
bool read(Options& options, const char* name, T* into) {
  const py::object given = options.at(name);
  if (given.is_none()) return false;
  try {
    *into = py::cast<T>(given);
  } catch (const py::cast_error&) {
    const std::string text = std::string("`") + name + "` must be " + what_is<T>() +
                             ". Received: " + py::cast<std::string>(py::repr(given));
    if (std::is_integral_v<T> && py::isinstance<py::int_>(given)) throw ValueMistake(text);
    throw TypeMistake(text);
  }
  return true;
}

template <class E>
E one_of(const std::string& value, std::initializer_list<std::pair<const char*, E>> names) {
  for (const auto& [known, meaning] : names) {
    if (value == known) return meaning;
  }
  throw std::logic_error("unknown option value " + value);
}

void read_thresholds(Options& options, Thresholds* out) {
  std::vector<double> given;
  read(options, "even", &out->even);
  read(options, "first_always_passed", &out->first_always_passed);
  read(options, "double_precision", &out->double_precision);
  if (read(options, "thresholds", &given)) set_thresholds(std::move(given), out);
}

void read_ignored(Options& options, Ignored* out) {
  std::vector<double> given;
  read(options, "ignore_class", &given);
  if (given.size() > Ignored::kMost) throw std::logic_error("too many ids in ignore_class");
  out->count = static_cast<int>(given.size());
  std::copy(given.begin(), given.end(), out->ids);
}

std::shared_ptr<const Expression> read_expression(Options& options, const char* name) {
  ExpressionTuple given;
  return read(options, name, &given) ? make_expression(given) : nullptr;
}

}  // namespace

std::shared_ptr<const Expression> make_expression(const ExpressionTuple& given) {
  Expression::Source source;
  source.inputs = std::get<0>(given);
  source.constants = std::get<1>(given);
  for (auto& [operation, from] : std::get<2>(given)) source.steps.push_back({operation, from});
  source.outputs = std::get<3>(given);
  return Expression::make(source);
}

DType dtype_named(const std::string& name, const char* argument) {
  static const std::pair<const char*, DType> names[] = {
      {"bool", DType::Bool},       {"uint8", DType::UInt8},       {"uint16", DType::UInt16},
      {"uint32", DType::UInt32},   {"uint64", DType::UInt64},     {"int8", DType::Int8},
      {"int16", DType::Int16},     {"int32", DType::Int32},       {"int64", DType::Int64},
      {"float16", DType::Float16}, {"bfloat16", DType::BFloat16}, {"float32", DType::Float32},
      {"float64", DType::Float64},
  };
  for (const auto& [known, dtype] : names) {
    if (name == known) return dtype;
  }
  refuse_dtype(argument, name);
}

py::capsule make_plan(const std::string& kernel, const std::string& result,
                      const py::sequence& variables, const py::dict& given) {
  Options options(given);
  auto member = std::make_shared<Member>();
  Metric& metric = member->metric;
  metric.kernel = find_kernel(kernel);
  metric.result = find_result(result);
  if (read(options, "sizes", &member->sizes)) read(options, "offset", &member->offset);
  std::string name;
  if (read(options, "result_dtype", &name)) member->result_dtype = dtype_named(name, "dtype");
  read(options, "numpy_results", &member->numpy_results);
  member->wrap_result = options.at("wrap_result");

  Params& params = metric.params;
  params.has_threshold = read(options, "threshold", &params.threshold);
  read(options, "label_smoothing", &params.label_smoothing);
  read(options, "epsilon", &metric.epsilon);
  read(options, "smallest_norm", &params.smallest_norm);
  read(options, "alpha", &params.alpha);
  read(options, "gamma", &params.gamma);
  read(options, "balance_classes", &params.balance_classes);
  read(options, "from_logits", &params.from_logits);
  read_ignored(options, &params.ignored);
  read(options, "k", &params.k);
  if (read(options, "last_axis", &name)) {
    metric.last_axis = one_of<LastAxis>(name, {{"mean", LastAxis::Mean}, {"sum", LastAxis::Sum}});
  }
  read(options, "vectors_are_samples", &metric.vectors_are_samples);
  read(options, "find_zero_one_labels", &metric.find_zero_one_labels);
  read(options, "labels_in_scores_dtype", &metric.labels_in_scores_dtype);
  read(options, "threshold_in_scores_dtype", &metric.threshold_in_scores_dtype);
  if (read(options, "value_dtype", &name)) {
    metric.has_value_dtype = true;
    metric.value_dtype = dtype_named(name, "dtype");
  }
  read(options, "axis", &metric.axis);
  read(options, "axes", &metric.axes);
  read(options, "binary_labels", &metric.binary_labels);
  read(options, "columns", &metric.columns);
  read(options, "folded", &metric.folded);
  read(options, "counts_samples", &metric.counts_samples);
  metric.low_of = find_low_of(metric);
  read(options, "aligns_ranks", &metric.aligns_ranks);
  if (read(options, "precision", &name)) {
    metric.has_precision = true;
    metric.precision = dtype_named(name, "dtype");
  }
  read(options, "num_classes", &metric.pairs.classes);
  read(options, "per_class_counts", &metric.pairs.by_class);
  const bool counts_whole = read(options, "whole", &metric.pairs.whole) && metric.pairs.whole;
  metric.pairs.ignored = params.ignored;
  read(options, "dense_labels", &metric.dense_labels);
  read(options, "dense_predicted", &metric.dense_predicted);
  read_thresholds(options, &metric.thresholds);
  read(options, "labels", &metric.labels);
  if (metric.labels < 1) throw ValueMistake("there must be at least one label");
  read(options, "multi_label", &metric.multi_label);
  metric.has_class_id = read(options, "class_id", &metric.class_id);
  read(options, "top_k", &metric.top_k);
  read(options, "poison_on_nan", &metric.poison_on_nan);
  metric.one_threshold =
      metric.thresholds.sorted.size() == 1 && metric.labels == 1 && !metric.poison_on_nan;
  read(options, "label_weights", &metric.label_weights);
  std::vector<std::string> cells;
  read(options, "cells", &cells);
  for (const std::string& cell : cells) {
    metric.cells.push_back(one_of<Cell>(cell, {{"tp", Cell::TruePositives},
                                               {"fp", Cell::FalsePositives},
                                               {"fn", Cell::FalseNegatives},
                                               {"tn", Cell::TrueNegatives}}));
  }
  if (read(options, "curve", &name)) {
    metric.curve =
        one_of<Curve>(name, {{"ROC", Curve::Roc}, {"PR", Curve::Pr}, {"PRGAIN", Curve::PrGain}});
  }
  if (read(options, "summation_method", &name)) {
    metric.summation = one_of<Summation>(name, {{"interpolation", Summation::Interpolation},
                                                {"minoring", Summation::Minoring},
                                                {"majoring", Summation::Majoring},
                                                {"step", Summation::Step}});
  }
  const std::initializer_list<std::pair<const char*, Rate>> rates = {
      {"precision", Rate::Precision}, {"recall", Rate::Recall}, {"specificity", Rate::Specificity}};
  if (read(options, "constrained", &name)) metric.constrained = one_of<Rate>(name, rates);
  if (read(options, "dependent", &name)) metric.dependent = one_of<Rate>(name, rates);
  read(options, "required", &metric.required);
  if (read(options, "average", &name)) {
    metric.average = one_of<Average>(
        name,
        {{"micro", Average::Micro}, {"macro", Average::Macro}, {"weighted", Average::Weighted}});
  }
  read(options, "beta", &metric.beta);
  read(options, "regressors", &metric.regressors);
  read(options, "target_class_ids", &metric.target_class_ids);
  metric.expression = read_expression(options, "expression");
  metric.finalize = read_expression(options, "finalize");
  std::array<std::uintptr_t, Expression::kCompiled> addresses;
  if (read(options, "compiled", &addresses) && metric.expression != nullptr) {
    std::array<Expression::Compiled, Expression::kCompiled> compiled;
    std::transform(addresses.begin(), addresses.end(), compiled.begin(),
                   [](std::uintptr_t at) { return reinterpret_cast<Expression::Compiled>(at); });
    metric.expression->set_compiled(compiled);
  }
  if (metric.expression != nullptr && metric.expression->inputs() != 2) {
    throw ValueMistake("`expression` must have two inputs, y_true and y_pred.");
  }
  if (metric.finalize != nullptr &&
      (metric.expression == nullptr || metric.finalize->outputs() != 1 ||
       metric.finalize->inputs() != metric.expression->outputs() + 1)) {
    throw ValueMistake(
        "`finalize` must make one number of the expression's terms and their count.");
  }
  options.refuse_unknown();
  Plan plan({member});
  plan.whole = counts_whole && member->sizes.empty();
  plan.bind(variables);
  return std::move(plan).as_capsule();
}

}  // namespace kt
