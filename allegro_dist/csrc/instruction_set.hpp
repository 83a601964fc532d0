// Which instruction set's kernels this machine runs.
#pragma once

#include <string>

namespace allegro_dist {

enum class InstructionSet { baseline, avx2, avx512 };

// The best one for auto. Throws std::invalid_argument for one that is unknown, or that this machine or build lacks.
InstructionSet choose_instruction_set(const std::string &requested);

}  // namespace allegro_dist
