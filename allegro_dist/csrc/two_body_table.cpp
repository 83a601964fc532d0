#include "two_body_table.hpp"

#include "radial.hpp"

namespace allegro_dist {
namespace {

Jet silu(Jet a) {
  const double s = 1.0 / (1.0 + std::exp(-a.value)), slope = s * (1.0 + a.value * (1.0 - s));
  const double curvature = s * (1.0 - s) * (2.0 + a.value * (1.0 - 2.0 * s));
  return {a.value * s, slope * a.first, curvature * a.first * a.first + slope * a.second};
}

std::vector<Jet> times(const std::vector<Jet> &x, const DenseMatrix &weights) {
  std::vector<Jet> y(weights.columns);
  for (int k = 0; k < weights.rows; ++k)
    for (int c = 0; c < weights.columns; ++c) y[c] = y[c] + x[k] * Jet{weights(k, c)};
  return y;
}

}  // namespace

std::vector<double> two_body_features(const FusedModel &model, int pair, double x) {
  const RadialBasis &radial = model.radial;
  std::vector<Jet> h(radial.size);
  if (radial.kind == RadialBasis::bessel)
    bessel_basis(x, radial.size, radial.parameter, radial.wavenumbers.data(), h.data());
  else
    spline_basis(x, radial.size, radial.parameter, h.data());
  for (int k = 0; k < model.num_two_body; ++k) {
    h = times(h, k == 0 ? radial.weights[pair] : model.dense[k].sources[0].weights);
    if (model.dense[k].silu)
      for (Jet &a : h) a = silu(a);
  }
  std::vector<double> out(3 * h.size());
  for (std::size_t c = 0; c < h.size(); ++c) {
    out[c] = h[c].value;
    out[h.size() + c] = h[c].first;
    out[2 * h.size() + c] = h[c].second;
  }
  return out;
}

}  // namespace allegro_dist
