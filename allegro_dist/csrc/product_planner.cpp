#include "product_planner.hpp"

#include <map>
#include <numeric>
#include <utility>

namespace allegro_dist {
namespace {

// Terms of one output and path share a weight, and stand together.
template <class T>
Contraction<T> contraction(const std::vector<ProductTerm> &terms, int num_outputs, Arena &memory) {
  std::map<std::pair<int, int>, std::vector<const ProductTerm *>> by_output_and_path;
  for (const ProductTerm &term : terms) by_output_and_path[{term.a, term.path}].push_back(&term);
  Term<T> *const out = memory.allocate<Term<T>>(terms.size());
  TermGroup *const groups = memory.allocate<TermGroup>(by_output_and_path.size());
  int num_terms = 0, num_groups = 0;
  for (const auto &[key, group] : by_output_and_path) {
    const int begin = num_terms;
    for (const ProductTerm *term : group) out[num_terms++] = {term->b, term->c, static_cast<T>(term->value)};
    groups[num_groups++] = {key.first, key.second, begin, num_terms};
  }
  int *const first_group = memory.allocate<int>(num_outputs + 1);
  for (int g = 0; g < num_groups; ++g) ++first_group[groups[g].a + 1];
  std::partial_sum(first_group, first_group + num_outputs + 1, first_group);
  return {num_groups, num_outputs, first_group, groups, out};
}

std::vector<ProductTerm> by_environment(std::vector<ProductTerm> terms) {
  for (ProductTerm &term : terms) std::swap(term.a, term.b);
  return terms;
}

std::vector<ProductTerm> by_adjoint(std::vector<ProductTerm> terms) {
  for (ProductTerm &term : terms) term = {term.c, term.a, term.b, term.path, term.value};
  return terms;
}

}  // namespace

template <class T>
void plan_terms(const FusedModel &model, int t, Arena &memory, ProductPlan<T> &plan) {
  const TensorProduct &product = model.products[t];
  const int components = (model.l_max + 1) * (model.l_max + 1);
  plan.num_outputs = product.num_outputs;
  plan.start = contraction<T>(product.start, product.num_outputs, memory);
  plan.proceed = contraction<T>(product.proceed, product.num_outputs, memory);
  plan.start_by_environment = contraction<T>(by_environment(product.start), components, memory);
  plan.proceed_by_environment = contraction<T>(by_environment(product.proceed), components, memory);
  if (t + 1 == static_cast<int>(model.products.size())) return;  // the last one only starts
  plan.proceed_by_adjoint = contraction<T>(by_adjoint(product.proceed), model.products[t + 1].num_outputs, memory);
}

template void plan_terms(const FusedModel &, int, Arena &, ProductPlan<float> &);
template void plan_terms(const FusedModel &, int, Arena &, ProductPlan<double> &);

}  // namespace allegro_dist
