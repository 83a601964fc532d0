// Two-body functions, that is everything that depends on (type pair, r) alone, with two derivatives, for the tables.
#pragma once

#include <vector>

#include "fused_model.hpp"

namespace allegro_dist {

// h_two and its first two derivatives with respect to x = r / cutoff: [3][width of h_two].
std::vector<double> two_body_features(const FusedModel &model, int pair, double x);

}  // namespace allegro_dist
