// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "mixers.hpp"
#include "random_weights.hpp"
#include "test_support.hpp"
#include "weights.hpp"

namespace {

using rows_of_double = Eigen::MatrixXd;

double silu(double x) { return x / (1 + std::exp(-x)); }
double softplus(double x) { return std::log1p(std::exp(x)); }

rows_of_double product(const rows_of_double& x, const matrix& w) {
  return x * w.cast<double>().transpose();
}

rows_of_double convolved(const rows_of_double& x, const state_space_weights& w) {
  rows_of_double y(x.rows(), x.cols());
  const Eigen::Index taps = w.conv.cols();
  for (Eigen::Index t = 0; t < x.rows(); ++t) {
    for (Eigen::Index c = 0; c < x.cols(); ++c) {
      auto sum = static_cast<double>(w.conv_bias(c));
      for (Eigen::Index i = 0; i < taps; ++i) {
        const Eigen::Index from = t - taps + 1 + i;
        sum += from < 0 ? 0 : static_cast<double>(w.conv(c, i)) * x(from, c);
      }
      y(t, c) = silu(sum);
    }
  }
  return y;
}

/// Outputs before the last projection, as Mamba's paper has them.
rows_of_double mamba(const model_config& c, const state_space_weights& w, const matrix& y) {
  const Eigen::Index inner = c.inner_width, states = c.state_size, rank = c.dt_rank;
  const rows_of_double xz = product(y.cast<double>(), w.in);
  const rows_of_double x = convolved(xz.leftCols(inner), w);
  const rows_of_double selected = product(x, w.select);
  const rows_of_double steps = product(selected.leftCols(rank), w.steps);
  rows_of_double h = rows_of_double::Zero(inner, states), out(y.rows(), inner);
  for (Eigen::Index t = 0; t < y.rows(); ++t) {
    for (Eigen::Index i = 0; i < inner; ++i) {
      const double dt = softplus(steps(t, i) + static_cast<double>(w.step_bias(i)));
      double sum = static_cast<double>(w.skip(i)) * x(t, i);
      for (Eigen::Index n = 0; n < states; ++n) {
        const double decay = std::exp(dt * static_cast<double>(w.negative_rate(i, n)));
        h(i, n) = decay * h(i, n) + dt * selected(t, rank + n) * x(t, i);
        sum += selected(t, rank + states + n) * h(i, n);
      }
      out(t, i) = sum * silu(xz(t, inner + i));
    }
  }
  return out;
}

/// The same of Mamba-2.
rows_of_double mamba2(const model_config& c, const state_space_weights& w, const matrix& y) {
  const Eigen::Index inner = c.inner_width, states = c.state_size, dim = c.head_dim;
  const Eigen::Index channels = inner + 2 * states;
  const rows_of_double projected = product(y.cast<double>(), w.in);
  const rows_of_double x = convolved(projected.middleCols(inner, channels), w);
  rows_of_double h = rows_of_double::Zero(inner, states), out(y.rows(), inner);
  for (Eigen::Index t = 0; t < y.rows(); ++t) {
    double squares = 0;
    for (Eigen::Index i = 0; i < inner; ++i) {
      const Eigen::Index head = i / dim;
      const double dt =
          softplus(projected(t, inner + channels + head) + static_cast<double>(w.step_bias(head)));
      double sum = static_cast<double>(w.skip(head)) * x(t, i);
      for (Eigen::Index n = 0; n < states; ++n) {
        const double decay = std::exp(dt * static_cast<double>(w.negative_rate(head)));
        h(i, n) = decay * h(i, n) + dt * x(t, inner + n) * x(t, i);
        sum += x(t, inner + states + n) * h(i, n);
      }
      out(t, i) = sum * silu(projected(t, i));
      squares += out(t, i) * out(t, i);
    }
    const double scale =
        1 / std::sqrt(squares / static_cast<double>(inner) + static_cast<double>(c.norm_eps));
    for (Eigen::Index i = 0; i < inner; ++i) {
      out(t, i) *= scale * static_cast<double>(w.output_norm(i));
    }
  }
  return out;
}

}  // namespace

TEST_CASE("state-space layers are what their papers say") {
  const temporary_file file(random_model({"mamba", "mamba2"}));
  const model m(file.path());
  for (std::size_t layer = 0; layer < 2; ++layer) {
    const state_space_weights& w = m.layers[layer].space;
    const mixer_kind kind = m.config.mixers[layer];
    const Eigen::Index length = 150;
    const matrix y = matrix::Random(length, m.config.d_model);
    const rows_of_double expected = (layer == 0 ? mamba : mamba2)(m.config, w, y);
    mixer states = mixer_for(m.config, layer, 1, {});
    mixer_rows rows;
    rows.resize(m.config, length);
    double worst = 0;
    // In one chunk, a single token, and another chunk.
    const std::vector<std::pair<Eigen::Index, Eigen::Index>> chunks{{0, 100}, {100, 1}, {101, 49}};
    for (const auto& [first, count] : chunks) {
      rows.project(kind, m.layers[layer], y.middleRows(first, count), 0, count);
      mix(states, m.config, m.layers[layer], count, rows, {});
      const rows_of_double out = rows.out.topRows(count).cast<double>();
      worst = std::max(worst, (out - expected.middleRows(first, count)).cwiseAbs().maxCoeff());
    }
    INFO("layer " << layer << ": outputs differ by " << worst);
    CHECK(worst < 1e-5 * expected.cwiseAbs().maxCoeff());
  }
}

TEST_CASE("sizes of state-space layers that cannot be are refused") {
  const std::string mamba_file = random_model({"mamba", "mamba"});
  const std::string mamba2_file = random_model({"mamba2", "mamba2"});
  const auto refused = [](const std::string& file, const std::string& from, const std::string& to) {
    return refusal<model>(replaced(file, from, to));
  };
  CHECK(refusal<model>(mamba_file).empty());
  CHECK(refusal<model>(mamba2_file).empty());
  for (const std::string& file : {mamba_file, mamba2_file}) {
    for (const std::string key : {"inner_width", "state_size", "conv_width", "dt_rank"}) {
      const std::string other = key.substr(0, key.size() - 1) + "x";
      CHECK(contains(refused(file, "\"" + key, "\"" + other), "__metadata__ has no " + key));
    }
    CHECK(contains(refused(file, R"(inner_width":"32")", R"(inner_width":"-2")"), R"("-2")"));
    CHECK(contains(refused(file, R"(state_size":"5")", R"(state_size":"0")"), R"(size = "0")"));
    CHECK(contains(refused(file, R"(conv_width":"4")", R"(conv_width":"1")"), R"(width = "1")"));
    CHECK(contains(refused(file, R"(conv_width":"4")", R"(conv_width":"3")"), "conv.weight"));
    CHECK(contains(refused(file, R"(dt_rank":"3")", R"(dt_rank":"x")"), R"(dt_rank = "x")"));
  }
  CHECK(contains(refused(mamba_file, R"(dt_rank":"3")", R"(dt_rank":"0")"), R"(dt_rank = "0")"));
  CHECK(contains(refused(mamba_file, R"(inner_width":"32")", R"(inner_width":"33")"), "[33, 4]"));
  CHECK(contains(refused(mamba_file, R"(state_size":"5")", R"(state_size":"6")"), "[15, 32]"));
  CHECK(contains(refused(mamba2_file, R"(inner_width":"32")", R"(inner_width":"33")"),
                 "mamba2 layers with heads of size 8 and an inner width of 33"));
  CHECK(contains(refused(mamba2_file, R"(state_size":"5")", R"(state_size":"6")"), "[44, 4]"));
  CHECK(contains(refused(mamba_file, "mamba,mamba", "mambo,mamba"), "mixers = "));
  CHECK(contains(refused(mamba2_file, "mamba2,mamba2", "mamba, mamba2"), "mixers = "));
  const temporary_file file(mamba_file);
  CHECK_THROWS_AS(mixer_for(model(file.path()).config, 0, 1, {.half = true}),
                  std::invalid_argument);
}

// Not a check: what the tests of the programs run on.
TEST_CASE("write random weights", "[.][random_weights]") {
  for (const std::string name : {"mamba", "mamba2"}) {
    std::ofstream("random_" + name + ".safetensors", std::ios::binary)
        << random_model({name, name});
  }
}
