// Reads the fused program of an archive (fused_program.py) into a FusedModel.
#pragma once

#include <optional>

#include "fused_model.hpp"
#include "named_tensors.hpp"

namespace allegro_dist {

// Nothing where there is no program. Throws std::runtime_error when a part is missing, has another shape than expected,
// or refers to what is not there.
std::optional<FusedModel> read_program(const NamedTensors &tensors, int num_types);

}  // namespace allegro_dist
