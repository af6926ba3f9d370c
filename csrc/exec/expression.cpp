#include "expression.h"

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <mutex>
#include <utility>

#include "../tensor/error.h"
#include "level.h"

namespace kt {

const std::vector<OperationRow>& operation_table() {
  static const std::vector<OperationRow> table = {
#define KT_OPERATION(name, definition, arity) {#name, arity, false},
#define KT_FUSED(name, definition, arity) {#name, arity, true},
#include "../operations.def"
  };
  return table;
}

namespace {

int arity_of(Operation operation) {
  return operation_table()[static_cast<std::size_t>(operation)].arity;
}

Operation operation_named(const std::string& name) {
  const std::vector<OperationRow>& table = operation_table();
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (!table[i].fused && name == table[i].name) return static_cast<Operation>(i);
  }
  throw ValueMistake("an expression's step must be one of the operations that keras_tally knows. " +
                     std::string("Received: '") + name.substr(0, 64) + "'");
}

void refuse_more(std::size_t number, int most, const char* what) {
  if (number <= static_cast<std::size_t>(most)) return;
  throw ValueMistake("an expression can have at most " + std::to_string(most) + " " + what +
                     ". Received: " + std::to_string(number));
}

// A value is known by its number: inputs, constants, then what steps compute.
struct Node {
  Operation operation;
  std::array<int, Code::kMaxArity> from = {-1, -1, -1, -1};

  bool operator<(const Node& other) const {
    return std::pair(operation, from) < std::pair(other.operation, other.from);
  }
};

// The steps as a graph in which every value is computed once.
class Graph {
 public:
  explicit Graph(const Expression::Source& source) {
    constexpr std::size_t kMost = 4096;  // written down; computed are fewer
    if (source.inputs < 1) throw ValueMistake("an expression must have inputs.");
    refuse_more(static_cast<std::size_t>(source.inputs), Code::kMaxInputs, "inputs");
    refuse_more(source.steps.size(), kMost, "steps");
    refuse_more(source.constants.size(), kMost, "constants");
    refuse_more(source.outputs.size(), Code::kMaxOutputs, "outputs");
    if (source.outputs.empty()) throw ValueMistake("an expression must have an output.");
    inputs_ = static_cast<int>(source.inputs);
    std::vector<int> values;  // of the source's, ours
    for (int i = 0; i < inputs_; ++i) values.push_back(i);
    for (const double x : source.constants) values.push_back(constant(x));
    const auto value = [&](std::int64_t number) {
      if (number < 0 || number >= static_cast<std::int64_t>(values.size())) {
        throw ValueMistake("an expression's step can use only what was computed before it: " +
                           std::to_string(values.size()) + " values. Received: value " +
                           std::to_string(number));
      }
      return values[static_cast<std::size_t>(number)];
    };
    for (const Expression::Step& step : source.steps) {
      Node node{operation_named(step.operation)};
      if (step.from.size() != static_cast<std::size_t>(arity_of(node.operation))) {
        throw ValueMistake("the operation '" + step.operation + "' takes " +
                           std::to_string(arity_of(node.operation)) +
                           " values. Received: " + std::to_string(step.from.size()));
      }
      for (std::size_t i = 0; i < step.from.size(); ++i) node.from[i] = value(step.from[i]);
      values.push_back(add(node));
    }
    for (const std::int64_t output : source.outputs) outputs_.push_back(value(output));
    for (std::size_t i = 0; i < nodes_.size(); ++i) fuse(static_cast<int>(i));
    for (const int output : outputs_) mark(output);
    refuse_more(constants_.size(), Code::kMaxConstants, "different constants");
  }

  void write(Code* code) const;

 private:
  static constexpr int kFirstConstant = 1000;
  static constexpr int kFirstNode = 10000;
  bool is_node(int value) const { return value >= kFirstNode; }
  const Node& node(int value) const { return nodes_[static_cast<std::size_t>(value - kFirstNode)]; }

  int constant(double x) {
    const auto same = [&](double y) {
      return std::bit_cast<std::uint64_t>(x) == std::bit_cast<std::uint64_t>(y);
    };
    const auto found = std::find_if(constants_.begin(), constants_.end(), same);
    const auto at = static_cast<int>(found - constants_.begin());
    if (found == constants_.end()) constants_.push_back(x);
    return kFirstConstant + at;
  }

  bool is_constant(int value, double x) const {
    return value >= kFirstConstant && !is_node(value) &&
           constants_[static_cast<std::size_t>(value - kFirstConstant)] == x;
  }

  // The value of the node: the one that is known, where there is one.
  int add(Node node) {
    simplify(&node);
    switch (node.operation) {
      case Operation::add:
      case Operation::multiply:
      case Operation::equal:
      case Operation::not_equal:
        if (node.from[1] < node.from[0]) std::swap(node.from[0], node.from[1]);
        break;
      case Operation::copy:
        return node.from[0];
      default:
        break;
    }
    const auto [found, added] =
        known_.try_emplace(node, kFirstNode + static_cast<int>(nodes_.size()));
    if (added) {
      nodes_.push_back(node);
      uses_.push_back(0);
      for (const int from : node.from) {
        if (is_node(from)) ++uses_[static_cast<std::size_t>(from - kFirstNode)];
      }
    }
    return found->second;
  }

  // The same in a cheaper operation.
  void simplify(Node* node) {
    const int x = node->from[0], y = node->from[1];
    switch (node->operation) {
      case Operation::square:
        *node = {Operation::multiply, {x, x, -1, -1}};
        return;
      case Operation::power:
        if (is_constant(y, 2.0)) *node = {Operation::multiply, {x, x, -1, -1}};
        if (is_constant(y, 1.0)) *node = {Operation::copy, {x, -1, -1, -1}};
        if (is_constant(y, -1.0)) *node = {Operation::reciprocal, {x, -1, -1, -1}};
        return;
      case Operation::greater:
        *node = {Operation::less, {y, x, -1, -1}};
        return;
      case Operation::greater_equal:
        *node = {Operation::less_equal, {y, x, -1, -1}};
        return;
      default:
        return;
    }
  }

  // A value that only this one node needs.
  bool is_own(int value, Operation operation) const {
    return is_node(value) && uses_[static_cast<std::size_t>(value - kFirstNode)] == 1 &&
           node(value).operation == operation &&
           std::find(outputs_.begin(), outputs_.end(), value) == outputs_.end();
  }

  // Takes one that comes before into this node.
  void fuse(int i) {
    Node& own = nodes_[static_cast<std::size_t>(i)];
    const int a = own.from[0], b = own.from[1], c = own.from[2];
    const auto take = [&](Operation operation, int value, int second, int third) {
      const Node& taken = node(value);
      own = {operation, {taken.from[0], taken.from[1], second, third}};
    };
    switch (own.operation) {
      case Operation::absolute:
        if (is_own(a, Operation::subtract)) take(Operation::absolute_difference, a, -1, -1);
        return;
      case Operation::multiply: {
        // A square uses its operand twice.
        const bool squares = a == b && is_node(a) && node(a).operation == Operation::subtract &&
                             uses_[static_cast<std::size_t>(a - kFirstNode)] == 2 &&
                             std::find(outputs_.begin(), outputs_.end(), a) == outputs_.end();
        if (squares) {
          take(Operation::squared_difference, a, -1, -1);
        } else if (a != b && is_own(a, Operation::multiply)) {
          take(Operation::multiply_multiply, a, b, -1);
        } else if (a != b && is_own(b, Operation::multiply)) {
          take(Operation::multiply_multiply, b, a, -1);
        }
        return;
      }
      case Operation::add:
        if (a != b && is_own(a, Operation::multiply)) {
          take(Operation::multiply_add, a, b, -1);
        } else if (a != b && is_own(b, Operation::multiply)) {
          take(Operation::multiply_add, b, a, -1);
        }
        return;
      case Operation::subtract:
        if (a != b && is_own(a, Operation::multiply)) take(Operation::multiply_subtract, a, b, -1);
        return;
      case Operation::where:
        if (a == b || a == c) return;
        if (is_own(a, Operation::less)) {
          take(Operation::where_less, a, b, c);
        } else if (is_own(a, Operation::less_equal)) {
          take(Operation::where_less_equal, a, b, c);
        } else if (is_own(a, Operation::equal)) {
          take(Operation::where_equal, a, b, c);
        }
        return;
      default:
        return;
    }
  }

  void mark(int value) {
    if (!is_node(value)) return;
    const auto at = static_cast<std::size_t>(value - kFirstNode);
    if (needed_.empty()) needed_.resize(nodes_.size());
    if (needed_[at]) return;
    needed_[at] = true;
    for (const int from : nodes_[at].from) mark(from);
  }

  int inputs_ = 0;
  std::vector<double> constants_;
  std::vector<Node> nodes_;
  std::vector<int> uses_;
  std::vector<bool> needed_;
  std::vector<int> outputs_;
  std::map<Node, int> known_;
};

// Gives each value a place: an output's, or a slot as long as somebody needs it.
void Graph::write(Code* code) const {
  code->input_count = static_cast<std::uint8_t>(inputs_);
  code->constant_count = static_cast<std::uint8_t>(constants_.size());
  code->output_count = static_cast<std::uint8_t>(outputs_.size());
  std::copy(constants_.begin(), constants_.end(), code->constants);
  std::vector<int> last_use(nodes_.size(), -1), place(nodes_.size(), -1);
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (needed_.empty() || !needed_[i]) continue;
    for (const int from : nodes_[i].from) {
      if (is_node(from))
        last_use[static_cast<std::size_t>(from - kFirstNode)] = static_cast<int>(i);
    }
  }
  for (std::size_t k = outputs_.size(); k-- > 0;) {
    if (is_node(outputs_[k])) {
      place[static_cast<std::size_t>(outputs_[k] - kFirstNode)] =
          Code::kOutputs + static_cast<int>(k);
    }
  }
  const auto operand = [&](int value) {
    if (is_node(value)) return place[static_cast<std::size_t>(value - kFirstNode)];
    return value >= kFirstConstant ? value - kFirstConstant + Code::kConstants : value;
  };
  std::size_t count = 0;
  const auto put = [&](Operation operation, int to, const int* from) {
    if (count < Code::kMaxSteps) {
      Code::Step& step = code->steps[count];
      step.operation = operation;
      step.arity = static_cast<std::uint8_t>(arity_of(operation));
      step.to = static_cast<std::uint8_t>(to);
      for (int i = 0; i < step.arity; ++i)
        step.from[i] = static_cast<std::uint8_t>(operand(from[i]));
    }
    ++count;
  };
  bool busy[Code::kMaxSlots] = {};
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (needed_.empty() || !needed_[i]) continue;
    // Operands that nobody needs afterwards may be written over by their own step: blocks
    // are read before they are written, vector by vector.
    for (const int from : nodes_[i].from) {
      if (!is_node(from)) continue;
      const auto at = static_cast<std::size_t>(from - kFirstNode);
      if (last_use[at] == static_cast<int>(i) && place[at] >= Code::kSlots) {
        busy[place[at] - Code::kSlots] = false;
      }
    }
    if (place[i] < 0) {
      const bool* free = std::find(busy, busy + Code::kMaxSlots, false);
      if (free == busy + Code::kMaxSlots) {
        throw ValueMistake("an expression can hold at most " + std::to_string(Code::kMaxSlots) +
                           " intermediate values at once. Split it into several terms.");
      }
      place[i] = Code::kSlots + static_cast<int>(free - busy);
    }
    if (place[i] >= Code::kSlots) {
      busy[place[i] - Code::kSlots] = true;
      code->slot_count =
          std::max(code->slot_count, static_cast<std::uint8_t>(place[i] - Code::kSlots + 1));
    }
    put(nodes_[i].operation, place[i], nodes_[i].from.data());
  }
  const int columns = 2 * code->output_count + 1 + code->slot_count;
  refuse_more(static_cast<std::size_t>(columns), Code::kMaxColumns,
              "columns: two for each term, one for the weights, one for each intermediate value "
              "that waits");
  // Outputs that no step writes: inputs, constants, and what another output is, too.
  for (std::size_t k = 0; k < outputs_.size(); ++k) {
    const int to = Code::kOutputs + static_cast<int>(k);
    if (operand(outputs_[k]) != to) put(Operation::copy, to, &outputs_[k]);
  }
  refuse_more(count, Code::kMaxSteps, "steps");
  code->step_count = static_cast<std::uint8_t>(count);
}

// Everything that makes a source, as one key.
std::string key_of(const Expression::Source& source) {
  std::string key;
  const auto put = [&](std::int64_t x) { key += std::to_string(x) + ","; };
  put(source.inputs);
  for (const double x : source.constants) {
    put(static_cast<std::int64_t>(std::bit_cast<std::uint64_t>(x)));
  }
  for (const Expression::Step& step : source.steps) {
    key += step.operation + "(";
    for (const std::int64_t from : step.from) put(from);
  }
  key += ";";
  for (const std::int64_t output : source.outputs) put(output);
  return key;
}

}  // namespace

Expression::Expression(const Source& source) {
  Graph(source).write(&code_);
  for (int i = 0; i < code_.constant_count; ++i) {
    std::fill_n(spread_.emplace_back().lanes, 8, code_.constants[i]);
  }
}

std::shared_ptr<const Expression> Expression::make(const Source& source) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<const Expression>> known;
  std::shared_ptr<const Expression> made = std::make_shared<const Expression>(source);
  const std::lock_guard lock(mutex);
  std::erase_if(known, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<const Expression>& kept = known[key_of(source)];
  if (std::shared_ptr<const Expression> found = kept.lock()) return found;
  kept = made;
  return made;
}

void Expression::evaluate(const double* inputs, double* outputs) const {
  active_level().expression_values(*this, inputs, outputs);
}

}  // namespace kt
