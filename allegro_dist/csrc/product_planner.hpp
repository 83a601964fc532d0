// The Clebsch-Gordan terms of a tensor product, sorted for kernels: once for each of those who sum over them.
#pragma once

#include "fused_planner.hpp"

namespace allegro_dist {

// Fills num_outputs and the contractions of tensor layer t's product.
template <class T>
void plan_terms(const FusedModel &model, int t, Arena &memory, ProductPlan<T> &plan);

}  // namespace allegro_dist
