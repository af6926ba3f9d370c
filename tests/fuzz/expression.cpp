#include "../../csrc/exec/expression.h"

#include <bit>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../csrc/exec/level.h"
#include "../../csrc/tensor/error.h"
#include "targets.h"

namespace kt::fuzz {
namespace {

// A value of the source by its number: any that is there, or any number at all.
std::int64_t value_number(Bytes& bytes, std::size_t known) {
  const int choice = bytes.number<std::uint8_t>();
  if (choice >= 0xfc) return bytes.number<std::int64_t>();
  return static_cast<std::int64_t>(known == 0 ? 0 : static_cast<std::size_t>(choice) % known);
}

// Every operand is where an operand can be, and every output is written.
void check_code(const Code& code) {
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw std::logic_error(std::string("code with ") + what);
  };
  require(code.step_count <= Code::kMaxSteps, "too many steps");
  require(code.input_count >= 1 && code.input_count <= Code::kMaxInputs, "no such inputs");
  require(code.output_count >= 1 && code.output_count <= Code::kMaxOutputs, "no such outputs");
  require(code.slot_count <= Code::kMaxSlots, "too many slots");
  require(code.constant_count <= Code::kMaxConstants, "too many constants");
  bool written[Code::kOperands] = {};
  for (int i = 0; i < code.input_count; ++i) written[i] = true;
  for (int i = 0; i < code.constant_count; ++i) written[Code::kConstants + i] = true;
  for (int s = 0; s < code.step_count; ++s) {
    const Code::Step& step = code.steps[s];
    const auto operation = static_cast<std::size_t>(step.operation);
    require(operation < operation_table().size(), "an unknown operation");
    require(step.arity == operation_table()[operation].arity, "another arity");
    for (int i = 0; i < step.arity; ++i) {
      require(step.from[i] < Code::kOperands && written[step.from[i]],
              "an operand without a value");
    }
    const bool output = step.to >= Code::kOutputs && step.to < Code::kOutputs + code.output_count;
    const bool slot = step.to >= Code::kSlots && step.to < Code::kSlots + code.slot_count;
    require(output || slot, "a target that cannot be written");
    written[step.to] = true;
  }
  for (int k = 0; k < code.output_count; ++k) {
    require(written[Code::kOutputs + k], "an output that nobody writes");
  }
}

// The source's values, each step as an expression of its own: nothing to share, nothing
// to fuse, no slots.
std::vector<double> step_by_step(const Expression::Source& source,
                                 const std::vector<double>& inputs) {
  std::vector<double> values = inputs;
  values.insert(values.end(), source.constants.begin(), source.constants.end());
  for (const Expression::Step& step : source.steps) {
    Expression::Source one;
    one.inputs = static_cast<std::int64_t>(step.from.size());
    one.steps.push_back({step.operation, {}});
    std::vector<double> operands;
    for (const std::int64_t from : step.from) {
      one.steps[0].from.push_back(static_cast<std::int64_t>(operands.size()));
      operands.push_back(values[static_cast<std::size_t>(from)]);
    }
    one.outputs = {one.inputs};
    double out = 0;
    Expression(one).evaluate(operands.data(), &out);
    values.push_back(out);
  }
  std::vector<double> outputs;
  for (const std::int64_t output : source.outputs) {
    outputs.push_back(values[static_cast<std::size_t>(output)]);
  }
  return outputs;
}

// A power of a constant is computed as what it is: x * x, 1 / x.
bool has_power(const Expression::Source& source) {
  for (const Expression::Step& step : source.steps) {
    if (step.operation == "power") return true;
  }
  return false;
}

}  // namespace

bool same(double a, double b) {
  return (a != a && b != b) || std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

Expression::Source read_source(Bytes& bytes, std::int64_t inputs) {
  Expression::Source source;
  source.inputs = inputs;
  const int constants = bytes.rarely() ? bytes.number<std::uint16_t>() % 5000 : bytes.below(5);
  for (int i = 0; i < constants; ++i) source.constants.push_back(bytes.real());
  const std::size_t given =
      static_cast<std::size_t>(inputs < 0 ? 0 : inputs % 64) + source.constants.size();
  const int steps = bytes.number<std::uint8_t>();
  for (int s = 0; s < steps && !bytes.used_up(); ++s) {
    Expression::Step& step = source.steps.emplace_back();
    const auto& table = operation_table();
    const OperationRow& row = table[bytes.number<std::uint8_t>() % table.size()];
    step.operation = bytes.rarely() ? std::string(1, bytes.number<char>()) : row.name;
    const int arity = bytes.rarely() ? bytes.below(8) : row.arity;
    for (int i = 0; i < arity; ++i) {
      step.from.push_back(value_number(bytes, given + static_cast<std::size_t>(s)));
    }
  }
  const std::size_t values = given + source.steps.size();
  const int outputs = bytes.rarely() ? bytes.below(20) : 1 + bytes.below(3);
  for (int i = 0; i < outputs; ++i) source.outputs.push_back(value_number(bytes, values));
  return source;
}

void expression(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  const std::int64_t inputs = bytes.rarely() ? bytes.number<std::int64_t>() : 1 + bytes.below(4);
  const Expression::Source source = read_source(bytes, inputs);
  std::shared_ptr<const Expression> made;
  try {
    made = Expression::make(source);
  } catch (const ValueMistake&) {
    return;
  }
  check_code(made->code());
  std::vector<double> numbers, outputs(source.outputs.size());
  for (int i = 0; i < made->inputs(); ++i) numbers.push_back(bytes.real());
  const std::vector<double> expected = step_by_step(source, numbers);
  const LevelList& levels = usable_levels();
  for (int l = 0; l < levels.count; ++l) {
    levels.levels[l]->expression_values(*made, numbers.data(), outputs.data());
    for (std::size_t k = 0; k < outputs.size() && !has_power(source); ++k) {
      if (same(outputs[k], expected[k])) continue;
      throw std::logic_error("output " + std::to_string(k) + " is " + std::to_string(outputs[k]) +
                             " and not " + std::to_string(expected[k]) + " at the level " +
                             levels.levels[l]->name);
    }
  }
}

}  // namespace kt::fuzz
