// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <seqmix/core/checks.hpp>

SEQMIX_BEGIN_NAMESPACE

/// What a row is divided by. There is no default: weights are trained for one of them.
enum class output_norm_kind {
  unspecified,
  rms,         ///< x / sqrt(mean x^2 + eps)
  layer_norm,  ///< (x - mean x) / sqrt(var x + eps), with the variance's sum divided by D
  srms,        ///< sqrt(D) x / max(||x||_2, eps)
  l2,          ///< x / sqrt(sum x^2 + eps)
};

/// What is made of the gate before it multiplies the normalised row.
enum class output_gate {
  none,     ///< there is no gate
  plain,    ///< g
  sigmoid,  ///< 1 / (1 + e^-g)
  silu,     ///< g / (1 + e^-g)
};

/// Where the gate multiplies.
enum class output_gate_place {
  after_norm,   ///< the normalised row, with its weight and bias
  before_norm,  ///< x: the norm is that of the gated row
};

/// Options of `output_norm`. Members are only ever appended.
struct output_norm_options {
  output_norm_kind kind = output_norm_kind::unspecified;  ///< must be given
  double eps = 1e-6;     ///< see the kind; not negative, and above 0 with layer_norm
  any_view<2> weight{};  ///< [H, D], repeated along axes of extent 1; multiplies
  any_view<2> bias{};    ///< [H, D], repeated along axes of extent 1; added after the weight
  any_view<4> gate{};    ///< [B, T, H, D], packed [1, total, H, D]; see gate_place
  output_gate gate_by = output_gate::none;  ///< given exactly when `gate` is
  output_gate_place gate_place = output_gate_place::after_norm;
};

/// The descriptor of one call.
struct output_norm_problem {
  static constexpr const char* operator_name = "output_norm";

  any_view<4> x;  // [B, T, H, D]
  any_out<4> o;   // [B, T, H, D]
  any_view<2> weight;
  any_view<2> bias;
  any_view<4> gate;
  output_norm_kind kind = output_norm_kind::unspecified;
  output_gate gate_by = output_gate::none;
  output_gate_place gate_place = output_gate_place::after_norm;
  double eps = 0;

  constexpr bool gates(output_gate_place place) const noexcept {
    return gate_by != output_gate::none && gate_place == place;
  }
};

namespace detail {

/// Checks the contract of a call and completes the descriptor.
template <class Tag>
violation check_output_norm(output_norm_problem& p, const output_norm_options& options,
                            bool in_place) {
  contract<Tag> c{output_norm_problem::operator_name};
  c.tensor("x", p.x).tensor("o", p.o);
  c.shape("o", p.o, p.x.extents, "[B, T, H, D]");
  c.require(options.kind == output_norm_kind::rms || options.kind == output_norm_kind::layer_norm ||
                options.kind == output_norm_kind::srms || options.kind == output_norm_kind::l2,
            "options.kind", "rms, layer_norm, srms or l2",
            options.kind == output_norm_kind::unspecified ? "none" : "another value");
  c.require(std::isfinite(options.eps) && options.eps >= 0, "options.eps", "a number of at least 0",
            options.eps);
  // A constant row would be its rounding errors, blown up.
  c.require(options.kind != output_norm_kind::layer_norm || options.eps > 0, "options.eps",
            "a positive number, as options.kind is layer_norm", options.eps);
  const auto real = [&](const char* argument, const auto& v) {
    c.tensor(argument, v);
    c.real(argument, v.type).same_device(argument, v.memory, "x", p.x.memory);
  };
  const auto repeated = [&](const char* argument, const any_view<2>& v) {
    if (!v.given()) {
      return;
    }
    real(argument, v);
    for (std::size_t a = 0; a < 2; ++a) {
      const std::int64_t whole = p.x.extents[a + 2];
      if (v.extents[a] != 1 && v.extents[a] != whole) {
        c.fail(argument,
               "[H, D] = " + shape_text<2>({p.x.extents[2], p.x.extents[3]}) +
                   ", or 1 in place of an extent",
               shape_text(v.extents));
      }
    }
  };
  repeated("options.weight", options.weight);
  repeated("options.bias", options.bias);
  if (options.gate_by == output_gate::none) {
    c.absent("options.gate", options.gate.given(), "options.gate_by is none");
    c.absent("options.gate_place", options.gate_place != output_gate_place::after_norm,
             "options.gate_by is none");
  } else {
    c.require(options.gate_by == output_gate::plain || options.gate_by == output_gate::sigmoid ||
                  options.gate_by == output_gate::silu,
              "options.gate_by", "none, plain, sigmoid or silu", "another value");
    c.require(options.gate_place == output_gate_place::after_norm ||
                  options.gate_place == output_gate_place::before_norm,
              "options.gate_place", "after_norm or before_norm", "another value");
    // The gate of no element at all may be a null pointer.
    c.require(options.gate.given() || p.x.size() == 0, "options.gate",
              "a gate [B, T, H, D], as options.gate_by is given", "none");
    if (options.gate.given()) {
      real("options.gate", options.gate);
      c.shape("options.gate", options.gate, p.x.extents, "[B, T, H, D]");
    }
  }
  c.same_device("o", p.o.memory, "x", p.x.memory);
  if (!in_place) {
    c.no_overlap("o", p.o, "x", p.x);
  }
  c.no_overlap("o", p.o, "options.weight", options.weight);
  c.no_overlap("o", p.o, "options.bias", options.bias);
  c.no_overlap("o", p.o, "options.gate", options.gate);
  c.no_self_overlap("o", p.o);
  p.weight = options.weight;
  p.bias = options.bias;
  p.gate = options.gate;
  p.kind = options.kind;
  p.gate_by = options.gate_by;
  p.gate_place = options.gate_place;
  p.eps = options.eps;
  return c.result();
}

/// What a row's values, less their mean with layer_norm, are multiplied by; `squares` is the sum of
/// their squares. A row of zeros stays one without eps.
SEQMIX_ALWAYS_INLINE double output_norm_factor(const output_norm_problem& p,
                                               double squares) noexcept {
  const auto n = static_cast<double>(p.x.extents[3]);
  if (squares == 0) {
    return 0;
  }
  if (p.kind == output_norm_kind::srms) {
    const double length = std::sqrt(squares);
    return std::sqrt(n) / (length < p.eps ? p.eps : length);
  }
  return 1 / std::sqrt((p.kind == output_norm_kind::l2 ? squares : squares / n) + p.eps);
}

}  // namespace detail

SEQMIX_END_NAMESPACE
