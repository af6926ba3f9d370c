// Metrics whose state is kept by somebody else, in arrays of that one's dtypes (pairs of
// float32, float64, integers): JAX and TensorFlow. An update makes a new state from a
// state; a program says what the arrays hold. There is one program for each
// configuration, known by a key, and it stays until the process ends: compiled code,
// which outlives the metrics it was made from, knows nothing but the key.
#pragma once

#include <memory>
#include <memory_resource>
#include <string>
#include <string_view>
#include <vector>

#include "group.h"
#include "kept_state.h"
#include "metric.h"

namespace kt {

// An array of the state. `to` may be `from`.
struct StateArray {
  const void* from = nullptr;
  void* to = nullptr;
  DType dtype = DType::Float32;
  std::int64_t size = 0;
};

struct ResultArray {
  void* to = nullptr;
  DType dtype = DType::Float32;
  std::int64_t size = 0;
};

// What becomes of labels that are no class, which only the data shows: an error, and
// the new state is not written; or NaN instead of the metric's state, where nobody
// could be told.
enum class BadLabels { Refuse, Poison };

class WorkingState;

// The memory that a state and a batch are in: the host's, or that of a device, with the
// stream of what is done there.
struct Where {
  int device = kHost;
  void* stream = nullptr;
};

class Program {
 public:
  // Where a variable's numbers are: `size` of them, in an array; and, of pairs, in one
  // where the rests are.
  struct Variable {
    int array = 0;
    std::int64_t at = 0;
    std::int64_t size = 0;
    int rest_array = -1;
    std::int64_t rest_at = 0;
  };
  struct Member {
    Metric metric;
    std::vector<Variable> variables;  // Keras's, then those of low halves
  };
  explicit Program(std::vector<Member> members);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  int members() const { return static_cast<int>(members_.size()); }
  int arrays() const { return arrays_; }
  bool takes_values() const { return takes_values_; }  // and no y_true

  // Throws where an update would, for the shapes and dtypes of a batch without data.
  void check(const Batch& batch) const;
  // Whether the additions of the parts of a batch, cut along its first axis, sum up to
  // that of the whole.
  bool splits(const Batch& batch) const;
  void update(const Batch& batch, const StateArray* arrays, int count, BadLabels bad_labels) const;
  // Adds `others` states to that of the arrays, one after the other. Each of the arrays
  // `added`, of which there is one for each of a state's, holds all of them.
  void merge(const StateArray* arrays, const StateArray* added, int count,
             std::int64_t others) const;
  // Writes each member's results.
  void results(const StateArray* arrays, int count, const ResultArray* results) const;
  // The same on a device (cuda/device_program.cpp): launches, and nobody waits for them.
  // Bad labels poison.
  void update_on(const Where& where, const Batch& batch, const StateArray* arrays, int count) const;
  void merge_on(const Where& where, const StateArray* arrays, const StateArray* added, int count,
                std::int64_t others) const;
  void results_on(const Where& where, const StateArray* arrays, int count,
                  const ResultArray* results) const;
  // The number of a member's results; -1 where it is one without axes.
  std::int64_t result_size(int member) const;

 private:
  void check_inputs(const Batch& batch) const;
  void check_arrays(const StateArray* arrays, int count) const;
  void check_added(const StateArray* arrays, const StateArray* added, int count,
                   std::int64_t others) const;
  void check_result(const ResultArray& result, int member) const;
  void store(const StateArray* arrays, int count,
             const std::pmr::vector<WorkingState>& states) const;

  std::vector<Member> members_;
  Metrics metrics_;
  int arrays_ = 0;
  bool takes_values_ = false;
  class OnDevices;
  static std::shared_ptr<OnDevices> make_on_devices(std::size_t members);
  std::shared_ptr<OnDevices> on_devices_;
};

// Where a member's variable, one of Keras's, is in the arrays.
KeptVariable kept_in(const StateArray* arrays, const Program::Member& member, int variable);
// A member's state in memory of its own: next(n) returns the start of n words of 8 bytes.
template <class Next>
State working_state(const Program::Member& member, const StateArray* arrays, Next&& next) {
  State state;
  const auto make = [&](int v) {
    const Program::Variable& place = member.variables[static_cast<std::size_t>(v)];
    State::Variable variable;
    variable.size = place.size;
    void* start = next(place.size);
    if (is_whole(arrays[place.array].dtype)) {
      variable.whole = static_cast<std::int64_t*>(start);
    } else {
      variable.sum = static_cast<double*>(start);
    }
    return variable;
  };
  lay_out(member.metric, static_cast<int>(member.variables.size()), &state, make);
  return state;
}
// The arrays of one of several states that lie one behind the other in `added`.
StateArray one_of(const StateArray& added, std::int64_t size, std::int64_t which);

// Keeps the program, unless there is one of this key.
void define_program(const std::string& key, std::vector<Program::Member> members);
// Throws where there is none.
const Program& find_program(std::string_view key);

}  // namespace kt
