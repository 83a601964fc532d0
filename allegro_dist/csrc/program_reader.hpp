// Reads the fused program of an archive (deploy/fused.py) into a FusedModel.
#pragma once

#include <ATen/core/Dict.h>
#include <ATen/core/ivalue.h>

#include <optional>

#include "fused_model.hpp"

namespace allegro_dist {

// Nothing for an empty program. Throws std::runtime_error when a part is missing or has another shape than expected.
std::optional<FusedModel> read_program(const c10::Dict<c10::IValue, c10::IValue> &program);

}  // namespace allegro_dist
