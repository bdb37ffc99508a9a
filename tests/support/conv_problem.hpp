// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <ostream>
#include <seqmix/ops/causal_conv1d/causal_conv1d.hpp>
#include <seqmix/ops/depthwise_conv1d/depthwise_conv1d.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tensor.hpp"
#include "tolerance.hpp"

namespace seqmix_test {

/// Which states a call has.
enum class conv_state {
  none,
  initial,
  final,
  both,
  in_place,
  slots,     // of one pool, permuted, some skipped
  elsewhere  // from entries of one pool to entries of another
};

struct conv_case {
  std::int64_t B = 1, T = 1, D = 8, W = 4;
  std::vector<std::int64_t> offsets{};  // packed when given; T tokens in all
  seqmix::conv_activation activation = seqmix::conv_activation::none;
  bool bias = false, residual = false;
  conv_state state = conv_state::none;
  std::int64_t more = 0;  // inputs of a state beyond W - 1
  bool circular = false;
  layout x = layout::dense, y = layout::dense, weight = layout::dense, states = layout::dense;
  scalar_type x_type = scalar_type::f32, y_type = scalar_type::f32, weight_type = scalar_type::f32,
              bias_type = scalar_type::f32, initial_type = scalar_type::f32,
              final_type = scalar_type::f32;
  std::uint64_t seed = 1;

  std::int64_t sequences() const {
    return offsets.empty() ? B : static_cast<std::int64_t>(offsets.size()) - 1;
  }

  friend std::ostream& operator<<(std::ostream& out, const conv_case& c) {
    out << "{B " << c.B << ", T " << c.T << ", D " << c.D << ", W " << c.W << ", offsets";
    for (const std::int64_t o : c.offsets) {
      out << " " << o;
    }
    return out << ", activation " << static_cast<int>(c.activation) << ", bias " << c.bias
               << ", residual " << c.residual << ", state " << static_cast<int>(c.state)
               << ", more " << c.more << ", circular " << c.circular << ", layouts " << name(c.x)
               << " " << name(c.y) << " " << name(c.weight) << " " << name(c.states) << ", types "
               << seqmix::name(c.x_type) << " " << seqmix::name(c.y_type) << " "
               << seqmix::name(c.weight_type) << " " << seqmix::name(c.bias_type) << " "
               << seqmix::name(c.initial_type) << " " << seqmix::name(c.final_type) << "}";
  }
};

/// The tensors of a case. A pool has two entries more than there are sequences.
struct conv_problem {
  conv_case c;
  tensor<3> x, y, initial, final;
  tensor<2> weight;
  tensor<1> bias, offsets, initial_slots, final_slots, positions;

  explicit conv_problem(const conv_case& the_case)
      : c(the_case),
        x(c.x_type, {c.B, c.T, c.D}, c.x),
        y(c.y_type, {c.B, c.T, c.D}, c.y),
        weight(c.weight_type, {c.D, c.W}, c.weight),
        bias(c.bias_type, {c.D}, c.weight == layout::strided ? layout::strided : layout::dense) {
    x.fill(c.seed);
    weight.fill(c.seed + 1);
    bias.fill(c.seed + 2);
    const std::int64_t n = c.sequences();
    const bool pool = c.state == conv_state::slots || c.state == conv_state::elsewhere;
    const std::int64_t length = c.W - 1 + c.more;
    initial = tensor<3>(c.initial_type, {pool ? n + 2 : n, c.D, length}, c.states);
    initial.fill(c.seed + 3);
    final = tensor<3>(c.final_type, {pool ? n + 3 : n, c.D, length}, c.states);
    if (!c.offsets.empty()) {
      offsets = index_tensor(c.offsets, n % 2 == 0);
    }
    std::vector<std::int64_t> first, second, where;
    for (std::int64_t i = 0; i < n; ++i) {
      first.push_back(i == 1 ? -1 : (i + 2) % (n + 2));
      second.push_back(i == 2 ? -1 : n + 2 - i);
      where.push_back(i * 7 + 2);
    }
    initial_slots = index_tensor(first, n % 2 == 1, layout::strided);
    final_slots = index_tensor(second, true);
    positions = index_tensor(where, false);
  }

  bool packed() const { return !c.offsets.empty(); }
  bool in_place() const { return c.state == conv_state::in_place || c.state == conv_state::slots; }

  seqmix::any_out<3> out_view(const tensor<3>& t) const {
    switch (t.type()) {
      case scalar_type::f64:
        return t.view<double>();
      case scalar_type::f16:
        return t.view<seqmix::f16>();
      case scalar_type::bf16:
        return t.view<seqmix::bf16>();
      default:
        return t.view<float>();
    }
  }

  seqmix::causal_conv1d_options options() const {
    seqmix::causal_conv1d_options o{.activation = c.activation, .residual = c.residual};
    if (c.bias) {
      o.bias = real_view(bias);
    }
    if (packed()) {
      o.varlen.offsets = index_view(offsets);
    }
    if (c.state != conv_state::none && c.state != conv_state::final) {
      o.initial_state = real_view(initial);
    }
    if (in_place()) {
      o.final_state = out_view(initial);
    } else if (c.state != conv_state::none && c.state != conv_state::initial) {
      o.final_state = out_view(final);
    }
    if (c.state == conv_state::slots || c.state == conv_state::elsewhere) {
      o.initial_slots = index_view(initial_slots);
    }
    if (c.state == conv_state::elsewhere) {
      o.final_slots = index_view(final_slots);
    }
    if (c.circular && c.state != conv_state::none) {
      o.state_positions = index_view(positions);
    }
    return o;
  }

  /// Calls f(x, weight, y) with typed views.
  template <class F>
  void with_views(F&& f) const {
    with_type(c.x_type, [&]<class X>(X*) {
      with_type(c.y_type, [&]<class Y>(Y*) {
        const auto with_weight = [&]<class W>(W*) {
          if (packed()) {
            f(x.packed_view<const X>(), weight.view<const W>(), y.packed_view<Y>());
          } else {
            f(x.view<const X>(), weight.view<const W>(), y.view<Y>());
          }
        };
        // A weight's type is erased at once: two stand for all.
        if (c.weight_type == scalar_type::bf16) {
          with_weight(static_cast<seqmix::bf16*>(nullptr));
        } else {
          with_weight(static_cast<float*>(nullptr));
        }
      });
    });
  }
  template <class F>
  static void with_type(scalar_type type, F&& f) {
    switch (type) {
      case scalar_type::f64:
        return f(static_cast<double*>(nullptr));
      case scalar_type::f16:
        return f(static_cast<seqmix::f16*>(nullptr));
      case scalar_type::bf16:
        return f(static_cast<seqmix::bf16*>(nullptr));
      default:
        return f(static_cast<float*>(nullptr));
    }
  }

  void run(const seqmix::context& ctx = {}) const {
    with_views([&](const auto& vx, const auto& vw, const auto& vy) {
      seqmix::causal_conv1d(vx, vw, vy, options(), ctx);
    });
  }

  /// The final states, wherever they are.
  const tensor<3>& states() const { return in_place() ? initial : final; }

  /// What is wrong after `run`, of whose tensors this holds copies from before: empty when nothing.
  std::string verify(const conv_problem& before) const {
    conv_problem expected = before;
    expected.run({.pin = {.implementation = "naive"}});
    if (!y.gaps_untouched() || !initial.gaps_untouched() || !final.gaps_untouched()) {
      return "memory between the elements was written";
    }
    std::string fault;
    std::vector<double> actual, reference;
    y.for_each([&](const tensor<3>::index& i) {
      if (y.untouched(i) != expected.y.untouched(i)) {
        fault = "an output was written, or left out, that should not be";
      } else if (!y.untouched(i)) {
        actual.push_back(y[i]);
        reference.push_back(expected.y[i]);
      }
    });
    if (fault.empty()) {
      fault = compare(actual, reference, tolerance_of(c.y_type), bound::target, 0.5);
    }
    if (fault.empty() && states().all_bits() != expected.states().all_bits()) {
      fault = "the states differ";
    }
    if (fault.empty() && x.all_bits() != before.x.all_bits()) {
      fault = "x was written";
    }
    return fault;
  }
};

}  // namespace seqmix_test
