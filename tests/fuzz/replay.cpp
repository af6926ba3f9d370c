// Runs a target once over each file: `fuzz_replay TARGET FILE...`. For valgrind and
// debuggers; what it lets pass may still be what only a sanitizer sees.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "targets.h"

int main(int argc, char** argv) {
  static const std::map<std::string, kt::fuzz::Target> targets = {
      {"batch", kt::fuzz::batch}, {"expression", kt::fuzz::expression}};
  const auto found = argc > 1 ? targets.find(argv[1]) : targets.end();
  if (found == targets.end()) {
    std::fprintf(stderr, "usage: fuzz_replay batch|expression FILE...\n");
    return 2;
  }
  for (int i = 2; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "%s cannot be read\n", argv[i]);
      return 2;
    }
    // On the heap and no longer than it is, so that reading on is seen.
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    found->second(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }
  std::printf("%s: %d files\n", argv[1], argc - 2);
  return 0;
}
