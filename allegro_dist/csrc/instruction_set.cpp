#include "instruction_set.hpp"

#include <stdexcept>

namespace allegro_dist {
namespace {

InstructionSet best_of_this_machine() {
#ifdef ALLEGRO_X86_KERNELS
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return InstructionSet::baseline;
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  return has_avx512 ? InstructionSet::avx512 : InstructionSet::avx2;
#else
  return InstructionSet::baseline;
#endif
}

}  // namespace

InstructionSet choose_instruction_set(const std::string &requested) {
  const InstructionSet best = best_of_this_machine();
  if (requested == "auto") return best;
  const char *const names[] = {"baseline", "avx2", "avx512"};
  for (const auto set : {InstructionSet::baseline, InstructionSet::avx2, InstructionSet::avx512})
    if (requested == names[static_cast<int>(set)]) {
      if (set > best) throw std::invalid_argument("instruction_set '" + requested + "': this machine lacks it");
      return set;
    }
  throw std::invalid_argument("instruction_set '" + requested + "': expected auto, avx512, avx2 or baseline");
}

}  // namespace allegro_dist
