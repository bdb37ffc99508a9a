// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <seqmix/ops/damped_ema/damped_ema.hpp>
#include <seqmix/ops/diagonal_ssm/diagonal_ssm.hpp>
#include <seqmix/ops/hgrn/hgrn.hpp>
#include <seqmix/ops/min_gru/min_gru.hpp>
#include <seqmix/ops/prefix_softmax_scan/prefix_softmax_scan.hpp>
#include <seqmix/ops/rg_lru/rg_lru.hpp>
#include <seqmix/ops/rwkv4/rwkv4.hpp>
#include <string>
#include <vector>

#include "scan_problem.hpp"
#include "support/pool.hpp"

namespace seqmix_test {

constexpr std::int64_t modes = 3;

/// A call of a named scan: tensors over time as rank 4, of which [B, T, D, 1] is used but by heads.
struct named_problem {
  std::vector<tensor<4>> in;
  std::vector<tensor<3>> parameters;
  tensor<4> o;
  tensor<3> initial, final;
  tensor<1> offsets;
  scan_options options;
};

/// Views [B, T, D] of tensors [B, T, D, 1].
template <class T>
seqmix::tensor_view<T, 3> time_view(const tensor<4>& x) {
  const auto v = x.template view<T>();
  return {v.data_handle(),
          {v.extent(0), v.extent(1), v.extent(2)},
          {v.stride(0), v.stride(1), v.stride(2)}};
}
template <class T>
seqmix::tensor_view<T, 2> packed_time_view(const tensor<4>& x) {
  const auto v = x.template view<T>();
  return {v.data_handle(), {v.extent(1), v.extent(2)}, {v.stride(1), v.stride(2)}};
}

inline seqmix::tensor_view<const float, 1> numbers_of(const tensor<3>& x) {
  const auto v = x.view<const float>();
  return {v.data_handle(), {v.extent(0)}, {v.stride(0)}};
}
inline seqmix::tensor_view<const float, 2> modes_of(const tensor<3>& x) {
  const auto v = x.view<const float>();
  return {v.data_handle(), {v.extent(0), v.extent(1)}, {v.stride(0), v.stride(1)}};
}

enum class named {
  hgrn,
  hgrn_factors,
  rg_lru,
  min_gru,
  min_gru_log,
  rwkv4,
  diagonal_ssm,
  zoh_ssm,
  damped_ema
};
constexpr named all_named[] = {named::hgrn,         named::hgrn_factors, named::rg_lru,
                               named::min_gru,      named::min_gru_log,  named::rwkv4,
                               named::diagonal_ssm, named::zoh_ssm,      named::damped_ema};
constexpr const char* name(named n) noexcept {
  constexpr const char* names[] = {"hgrn",  "hgrn_factors", "rg_lru",  "min_gru",   "min_gru_log",
                                   "rwkv4", "diagonal_ssm", "zoh_ssm", "damped_ema"};
  return names[static_cast<int>(n)];
}

constexpr std::int64_t states_of(named n) noexcept {
  return n == named::rwkv4                                 ? 3
         : n == named::diagonal_ssm || n == named::zoh_ssm ? 2 * modes
         : n == named::damped_ema                          ? modes
                                                           : 1;
}

struct named_case {
  named form = named::hgrn;
  std::int64_t B = 1, T = 1, D = 8;
  bool reverse = false, packed = false, initial = false, final = false;
  layout in = layout::dense, o = layout::dense;
  scalar_type in_type = scalar_type::f32, o_type = scalar_type::f32;
  std::uint64_t seed = 1;

  friend std::ostream& operator<<(std::ostream& out, const named_case& c) {
    return out << "{" << name(c.form) << ", B " << c.B << ", T " << c.T << ", D " << c.D
               << (c.reverse ? ", reverse" : "") << (c.packed ? ", packed" : "")
               << (c.initial ? ", initial" : "") << (c.final ? ", final" : "") << ", layouts "
               << name(c.in) << " " << name(c.o) << ", types " << name(c.in_type) << " "
               << name(c.o_type) << ", seed " << c.seed << "}";
  }
};

inline named_problem make_named(named_case c, std::vector<std::int64_t> starts = {}) {
  named_problem p;
  if (c.packed) {
    c.B = 1;
    if (starts.empty()) {
      starts = {0, c.T / 4, c.T / 4, c.T};
    }
    p.offsets = index_tensor(starts, true);
    p.options.varlen.offsets = index_view(p.offsets);
  }
  const std::int64_t N = c.packed ? static_cast<std::int64_t>(starts.size()) - 1 : c.B;
  for (std::uint64_t i = 0; i < 3; ++i) {
    p.in.emplace_back(c.in_type, tensor<4>::index{c.B, c.T, c.D, 1}, c.in);
    p.in.back().fill(c.seed * 10 + i);
  }
  if (c.form == named::hgrn || c.form == named::hgrn_factors) {
    p.in[1].for_each([&](const tensor<4>::index& i) {
      const double x = p.in[1][i];
      p.in[1].set(i, c.form == named::hgrn ? -std::exp(2 * x - 1) : 1 / (1 + std::exp(-2 * x)));
    });
  }
  const bool complex = c.form == named::diagonal_ssm || c.form == named::zoh_ssm;
  const bool has_modes = complex || c.form == named::damped_ema;
  for (std::uint64_t i = 0; i < 5; ++i) {
    const bool single = !has_modes || (complex && i >= 3);
    p.parameters.emplace_back(scalar_type::f32,
                              tensor<3>::index{c.D, single ? 1 : modes, complex && !single ? 2 : 1},
                              layout::padded);
    tensor<3>& x = p.parameters.back();
    x.fill(c.seed * 20 + i);
    x.for_each([&](const tensor<3>::index& at) {
      const double y = x[at];
      const double positive = 1 / (1 + std::exp(-y));
      if (c.form == named::rwkv4 && i == 0) {
        x.set(at, -std::exp(y - 1));
      } else if (c.form == named::damped_ema && i < 2) {
        x.set(at, positive);
      } else if (c.form == named::diagonal_ssm && i == 0) {
        x.set(at, 0.69 * std::tanh(y));
      } else if (c.form == named::zoh_ssm && i == 0) {
        x.set(at, at[2] == 0 ? -positive : 3 * y);
      } else if (c.form == named::zoh_ssm && i == 4) {
        x.set(at, 0.2 * positive);
      }
    });
  }
  const std::int64_t S = states_of(c.form);
  p.o = tensor<4>(c.o_type, {c.B, c.T, c.D, 1}, c.o);
  p.initial = tensor<3>(scalar_type::f32, {N, c.D, S}, layout::strided);
  p.final = tensor<3>(scalar_type::f32, {N, c.D, S}, layout::padded);
  p.initial.fill(c.seed + 5);
  p.initial.for_each([&](const tensor<3>::index& i) {
    const double x = p.initial[i];
    // Sums of weights, and the logarithmic form's states, are positive.
    const bool positive = (c.form == named::rwkv4 && i[2] == 1) || c.form == named::min_gru_log;
    p.initial.set(i, positive ? std::fabs(x) + 0.1 : x);
  });
  p.options.direction = c.reverse ? scan_direction::reverse : scan_direction::forward;
  p.options.tied = c.seed % 2 == 0 || c.form != named::hgrn;
  if (c.form == named::min_gru_log) {
    p.options.candidates = seqmix::min_gru_form::log;
  }
  if (complex) {
    p.options.skip = numbers_of(p.parameters[3]);
  }
  if (c.form == named::zoh_ssm) {
    p.options.step = numbers_of(p.parameters[4]);
  }
  if (c.initial) {
    p.options.initial_state = p.initial.view<const float>();
  }
  if (c.final) {
    p.options.final_state = p.final.view<float>();
  }
  return p;
}

/// Calls f(operator, oracle, arguments...) of a form; the arguments end with the options.
template <class V, class O, class F>
void with_named(named form, const named_problem& p, const V& x, const V& y, const V& z, const O& o,
                F&& f) {
  const auto& par = p.parameters;
  const auto run = [&](const auto& op, const auto& naive, const auto&... arguments) {
    f(op, naive, arguments..., o, p.options);
  };
  switch (form) {
    case named::hgrn:
      return run(seqmix::hgrn, seqmix::naive_hgrn, x, y);
    case named::hgrn_factors:
      return run(seqmix::hgrn, seqmix::naive_hgrn, x, seqmix::linear_gate(y));
    case named::rg_lru:
      return run(seqmix::rg_lru, seqmix::naive_rg_lru, x, y, z, numbers_of(par[0]));
    case named::min_gru:
    case named::min_gru_log:
      return run(seqmix::min_gru, seqmix::naive_min_gru, x, y);
    case named::rwkv4:
      return run(seqmix::rwkv4, seqmix::naive_rwkv4, x, y, numbers_of(par[0]), numbers_of(par[1]));
    case named::diagonal_ssm:
    case named::zoh_ssm:
      return run(seqmix::diagonal_ssm, seqmix::naive_diagonal_ssm, x, par[0].view<const float>(),
                 par[1].view<const float>(), par[2].view<const float>());
    case named::damped_ema:
      return run(seqmix::damped_ema, seqmix::naive_damped_ema, x, modes_of(par[0]),
                 modes_of(par[1]), modes_of(par[2]), modes_of(par[3]));
  }
}

/// The call of a form, by the operator or by the oracle.
template <class V, class O>
void call_named(named form, bool oracle, const named_problem& p, const V& x, const V& y, const V& z,
                const O& o, const seqmix::context& ctx) {
  with_named(form, p, x, y, z, o, [&](const auto& op, const auto& naive, const auto&... arguments) {
    if (oracle) {
      naive(arguments...);
    } else {
      op(arguments..., ctx);
    }
  });
}

template <class I, class O>
void run_named(named form, bool oracle, const named_problem& p, const seqmix::context& ctx = {}) {
  if (p.options.varlen.offsets.given()) {
    call_named(form, oracle, p, packed_time_view<const I>(p.in[0]),
               packed_time_view<const I>(p.in[1]), packed_time_view<const I>(p.in[2]),
               packed_time_view<O>(p.o), ctx);
  } else {
    call_named(form, oracle, p, time_view<const I>(p.in[0]), time_view<const I>(p.in[1]),
               time_view<const I>(p.in[2]), time_view<O>(p.o), ctx);
  }
}

}  // namespace seqmix_test
