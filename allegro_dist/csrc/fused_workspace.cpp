// The memory in which a kernel works on a chunk.
#include <algorithm>

#include "fused_planner.hpp"

namespace allegro_dist {

template <class T>
Workspace<T> make_workspace(const Plan<T> &plan, const Kernel<T> &kernel, int edges, int atoms, Arena &memory) {
  const auto rounded_up = [](std::size_t count, std::size_t unit) { return (count + unit - 1) / unit * unit; };
  const std::size_t e = rounded_up(edges, row_tile * kernel.lanes);
  const std::size_t components = (plan.l_max + 1) * (plan.l_max + 1), channels = plan.num_channels;
  const std::size_t rows = components * atoms + row_tile;  // products write whole tiles
  std::size_t widest = channels, outputs = components;
  for (int k = 0; k < plan.num_dense; ++k) widest = std::max<std::size_t>(widest, plan.dense[k].width);
  for (int t = 0; t < plan.num_layers; ++t) outputs = std::max<std::size_t>(outputs, plan.tensor[t].num_outputs);

  Workspace<T> work;
  const auto array = [&](std::size_t count) { return memory.allocate<T>(count); };
  work.edge_capacity = static_cast<int>(e);
  work.atom_capacity = atoms;
  work.values = array(e * plan.values_stride);
  work.gradients = array(e * plan.gradients_stride);
  if (plan.table_intervals > 0)
    work.slopes = array(e * plan.slopes_stride);
  else
    work.basis_slope = array(e * plan.dense[0].width);
  work.latent_gradient = array(e * widest);
  work.harmonics = array(e * components);
  work.harmonics_gradient = array(e * (kernel.team ? components : rounded_up(components, kernel.lanes)));
  work.direction = array(3 * e);
  work.length = memory.allocate<double>(e);
  work.reduced = memory.allocate<double>(e);
  work.pair = memory.allocate<int>(e);
  work.sums = array(rows * widest);
  for (int t = 0; t < plan.num_layers; ++t) {
    work.environment[t] = array(rows * channels);
    work.environment_gradient[t] = array(rows * channels);
    if (plan.tensor[t].source >= 0) work.mixed_gradient[t] = array(rows * plan.dense[plan.tensor[t].source].width);
    for (int step = 0; step <= t; ++step)
      work.adjoint[t][step] = array(plan.tensor[t - step].num_outputs * channels * atoms);
  }
  work.adjoint_gradient_stride = kernel.team ? outputs * channels : 0;
  for (T *&gradient : work.adjoint_gradient) gradient = array(outputs * channels * (kernel.team ? atoms : 1));
  if (kernel.team) {
    work.center = memory.allocate<int>(e);
    work.partial_sums = array(e * team_helpers * components);
    if (!plan.table_intervals) work.basis = array(e * 2 * plan.basis_size);
    return work;
  }
  std::size_t asked = (plan.num_layers + 1) * channels;
  for (int t = 0; t < plan.num_layers; ++t)
    if (plan.tensor[t].source >= 0) asked += plan.dense[plan.tensor[t].source].width;
  work.asked = array(asked * components);
  if (plan.table_intervals > 0) {
    work.knot = memory.allocate<int>(e);
    work.order = memory.allocate<int>(2 * e);
    work.fraction = array(e);
    work.per_r = array(e);
    work.hermite = array(e * hermite_weights);
  }
  return work;
}

template Workspace<float> make_workspace(const Plan<float> &, const Kernel<float> &, int, int, Arena &);
template Workspace<double> make_workspace(const Plan<double> &, const Kernel<double> &, int, int, Arena &);

}  // namespace allegro_dist
