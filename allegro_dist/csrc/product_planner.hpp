// The Clebsch-Gordan terms of a tensor product, sorted for kernels: once for each of those who sum over them.
#pragma once

#include "fused_planner.hpp"

namespace allegro_dist {

// Fills num_outputs and the contractions of `plan`. `components` are those of an environment, `inputs` those of the q
// that the product proceeds from; 0: it only starts.
template <class T>
void plan_terms(const TensorProduct &product, int components, int inputs, Arena &memory, ProductPlan<T> &plan);

}  // namespace allegro_dist
