// Energies and edge gradients of a chunk of centers: the whole Allegro model, forward and backward, in cache.
// Compiled once per instruction set (ALLEGRO_ISA names the namespace). phases.hpp has the order of the phases, the
// files in kernel/ compute them, and docs/architecture.md has the formulas.
#include "fused_kernel.hpp"

#include "kernel/contraction.hpp"
#include "kernel/dense.hpp"
#include "kernel/edge_gradients.hpp"
#include "kernel/environment.hpp"
#include "kernel/geometry.hpp"
#include "kernel/projection.hpp"
#include "kernel/two_body.hpp"
#include "phases.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

// The phases by the names that phases.hpp calls them.
template <class T, int L>
class Evaluation {
 public:
  Evaluation(const Plan<T> &plan, const Workspace<T> &work, const Chunk &chunk) : view_(plan, work, chunk) {}

  void geometry() { ALLEGRO_ISA::geometry(view_); }
  void read_table() { ALLEGRO_ISA::read_table(view_); }
  void two_body_forward() {
    read_basis(view_);
    two_body_layers_forward(view_);
  }
  void tensor_forward(int t) {
    environment_forward(view_, t);
    contraction_forward(view_, t);
    project(view_, t);
  }
  void dense_forward(int k) { ALLEGRO_ISA::dense_forward(view_, k); }
  void energies() { ALLEGRO_ISA::energies(view_); }
  void clear_environment_gradient(int t) {
    clear(view_.work.environment_gradient[t], static_cast<long>(view_.D) * view_.chunk.num_atoms * view_.channels);
  }
  void dense_backward(int k) { ALLEGRO_ISA::dense_backward(view_, k); }
  void tensor_backward(const DensePlan<T> &reader) { ALLEGRO_ISA::tensor_backward(view_, reader); }
  template <bool Tables>
  void edge_gradients() {
    ALLEGRO_ISA::edge_gradients<Tables>(view_);
  }
  void two_body_backward() { two_body_layers_backward(view_); }
  void write_gradients() { ALLEGRO_ISA::write_gradients(view_); }

 private:
  ChunkView<T, L> view_;
};

template <class T, int L>
void run(const Plan<T> &plan, const Workspace<T> &work, const Chunk &chunk) {
  Evaluation<T, L> evaluation(plan, work, chunk);
  Phases::run(evaluation, plan);
}

template <class T>
void evaluate(const Plan<T> &plan, const Workspace<T> &work, const Chunk &chunk) {
  switch (plan.l_max) {
    case 0:
      return run<T, 0>(plan, work, chunk);
    case 1:
      return run<T, 1>(plan, work, chunk);
    case 2:
      return run<T, 2>(plan, work, chunk);
    case 3:
      return run<T, 3>(plan, work, chunk);
    default:
      return run<T, 4>(plan, work, chunk);
  }
}

#define ALLEGRO_STRING(x) #x
#define ALLEGRO_NAME(x) ALLEGRO_STRING(x)

}  // namespace

Kernel<float> kernel_float() {
  return {ALLEGRO_NAME(ALLEGRO_ISA), lanes<float>, panel_vectors, false, evaluate<float>};
}
Kernel<double> kernel_double() {
  return {ALLEGRO_NAME(ALLEGRO_ISA), lanes<double>, panel_vectors, false, evaluate<double>};
}

}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
