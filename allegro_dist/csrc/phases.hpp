// The order in which a chunk is evaluated, whoever computes the phases: vectors of a core (fused_kernel.cpp) or a team
// of threads (team_evaluation.hpp). Internal linkage, as in harmonics.hpp.
//
//   forward    geometry, Y_lm;  table rows (or basis and two-body layers);  per tensor layer: environment ->
//              contraction -> projection -> dense layers of its latent;  readout
//   backward   dense layers from the last: dE/da_k;  at a layer that read s_t: projection and contraction backward;
//              then what the environments ask of h;  at last dE/dY and dE/dr, and from them dE/d(edge vector)
#pragma once

#include "fused_kernel.hpp"
#include "portable.hpp"

namespace allegro_dist {
namespace {

struct Phases {
  template <class Evaluation, class T>
  static ALLEGRO_DEVICE void run(Evaluation &evaluation, const Plan<T> &plan) {
    const bool tables = plan.table_intervals > 0;
    evaluation.geometry();
    if (tables)
      evaluation.read_table();
    else
      evaluation.two_body_forward();
    for (int k = plan.num_two_body; k < plan.num_dense; ++k) {
      if (plan.dense[k].projection >= 0) evaluation.tensor_forward(plan.dense[k].projection);
      evaluation.dense_forward(k);
    }
    evaluation.energies();
    for (int t = 0; t < plan.num_layers; ++t) evaluation.clear_environment_gradient(t);
    for (int k = plan.num_dense - 1; k >= plan.num_two_body; --k) {
      evaluation.dense_backward(k);
      if (plan.dense[k].projection >= 0) evaluation.tensor_backward(plan.dense[k]);
    }
    if (tables) {
      evaluation.template edge_gradients<true>();
    } else {
      evaluation.template edge_gradients<false>();
      evaluation.two_body_backward();
    }
    evaluation.write_gradients();
  }
};

}  // namespace
}  // namespace allegro_dist
