// The training step's kernels, compiled once per instruction set (ALLEGRO_ISA names the namespace).
// docs/architecture.md has the formulas.
#include "training_kernel.hpp"

#include "training_backward.hpp"
#include "training_forward.hpp"

namespace allegro_dist {
namespace ALLEGRO_ISA {
namespace {

// Calls body<l_max>().
template <class Body>
void with_l_max(int l_max, const Body &body) {
  switch (l_max) {
    case 0:
      return body.template operator()<0>();
    case 1:
      return body.template operator()<1>();
    case 2:
      return body.template operator()<2>();
    case 3:
      return body.template operator()<3>();
    default:
      return body.template operator()<4>();
  }
}

template <class T>
void forward(const TrainingPlan<T> &plan, const TrainingChunk<T> &chunk, const TrainingScratch<T> &scratch) {
  with_l_max(plan.l_max, [&]<int L>() { TrainingForward<T, L>(plan, chunk, scratch).run(); });
}

template <class T>
void backward(const TrainingPlan<T> &plan, const TrainingChunk<T> &chunk, const LossGradient<T> &loss,
              const TrainingScratch<T> &scratch) {
  with_l_max(plan.l_max, [&]<int L>() { TrainingBackward<T, L>(plan, chunk, loss, scratch).run(); });
}

#define ALLEGRO_STRING(x) #x
#define ALLEGRO_NAME(x) ALLEGRO_STRING(x)

}  // namespace

TrainingKernel<float> training_kernel_float() {
  return {ALLEGRO_NAME(ALLEGRO_ISA), lanes<float>, panel_vectors, forward<float>, backward<float>};
}
TrainingKernel<double> training_kernel_double() {
  return {ALLEGRO_NAME(ALLEGRO_ISA), lanes<double>, panel_vectors, forward<double>, backward<double>};
}

}  // namespace ALLEGRO_ISA
}  // namespace allegro_dist
