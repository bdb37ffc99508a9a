// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/any_view.hpp>

// How the numbers of a gate, or of a strength beta, stand for what the recurrence multiplies with.
// Each encoding is a type around a view, so that no two can be taken for each other; a plain view
// of gates is natural logarithms, one of strengths the strengths themselves.

SEQMIX_BEGIN_NAMESPACE

/// A number for each value head, [HV], or for each of its gates, [HV, K]. Any real type, any
/// strides. Zeros when absent.
struct head_parameter : any_view<2> {
  constexpr head_parameter() = default;

  template <view_of<2> X>
  constexpr head_parameter(const X& x) noexcept : any_view<2>(x) {}

  template <view_of<1> X>
  constexpr head_parameter(const X& x) noexcept : any_view<2>(with_unit_axis(as_tensor_view(x))) {}

 private:
  template <class T>
  static constexpr tensor_view<T, 2> with_unit_axis(const tensor_view<T, 1>& x) noexcept {
    return {x.data_handle(), {x.extent(0), 1}, {x.stride(0), std::int64_t{0}}, x.memory()};
  }
};

/// What is made of a number x to get a factor e^g of the state.
enum class gate_encoding {
  log,          ///< g = x
  log2,         ///< e^g = 2^x
  linear,       ///< e^g = x, of either sign
  softplus,     ///< g = -e^a_log softplus(x + bias)
  bounded,      ///< g = lower_bound / (1 + e^(-e^a_log (x + bias)))
  exponential,  ///< g = -e^x
  logsigmoid,   ///< g = -softplus(-x) / tau
};

/// An encoding and its parameters, as plain data.
struct gate_form {
  gate_encoding encoding = gate_encoding::log;
  double constant = 1;  ///< lower_bound, or tau
  head_parameter a_log{};
  head_parameter bias{};
};

/// Of `raw_gate`: g = -e^a_log softplus(x + bias), softplus(y) = log(1 + e^y). Gated delta
/// networks, KDA and state-space models.
struct softplus_activation {
  head_parameter a_log{};
  head_parameter bias{};
  constexpr operator gate_form() const noexcept {
    return {gate_encoding::softplus, 1, a_log, bias};
  }
};

/// Of `raw_gate`: g = lower_bound sigmoid(e^a_log (x + bias)), with a lower bound from -5 to below
/// 0: no gate is stronger than it.
struct bounded_activation {
  double lower_bound = -5;
  head_parameter a_log{};
  head_parameter bias{};
  constexpr operator gate_form() const noexcept {
    return {gate_encoding::bounded, lower_bound, a_log, bias};
  }
};

/// Of `raw_gate`: g = -e^x.
struct exponential_activation {
  constexpr operator gate_form() const noexcept { return {gate_encoding::exponential, 1, {}, {}}; }
};

/// Of `raw_gate`: g = log(sigmoid(x)) / tau, with tau above 0. Gated linear attention has 16.
struct logsigmoid_activation {
  double tau = 16;
  constexpr operator gate_form() const noexcept { return {gate_encoding::logsigmoid, tau, {}, {}}; }
};

/// Gates that are natural logarithms of factors, at most 0: what a plain view is, too.
template <detail::mdspan_like View>
struct log_gate {
  using view_type = View;
  View view;
  constexpr explicit log_gate(const View& v) noexcept : view(v) {}
  constexpr gate_form form() const noexcept { return {}; }
};

/// Gates that are logarithms to base 2, at most 0.
template <detail::mdspan_like View>
struct log2_gate {
  using view_type = View;
  View view;
  constexpr explicit log2_gate(const View& v) noexcept : view(v) {}
  constexpr gate_form form() const noexcept { return {.encoding = gate_encoding::log2}; }
};

/// Gates that are the factors themselves. They may be negative: factors of -1 and 1 keep a parity.
template <detail::mdspan_like View>
struct linear_gate {
  using view_type = View;
  View view;
  constexpr explicit linear_gate(const View& v) noexcept : view(v) {}
  constexpr gate_form form() const noexcept { return {.encoding = gate_encoding::linear}; }
};

/// Gates as a layer's projection leaves them, with the activation that makes logarithms of them:
///
///     raw_gate(view, softplus_activation{.a_log = a, .bias = b})
template <detail::mdspan_like View>
struct raw_gate {
  using view_type = View;
  View view;
  gate_form activation;
  constexpr raw_gate(const View& v, const gate_form& by) noexcept : view(v), activation(by) {}
  constexpr const gate_form& form() const noexcept { return activation; }
};

/// What is made of a number x to get a strength.
enum class beta_encoding {
  plain,            ///< x
  sigmoid,          ///< 1 / (1 + e^-x)
  doubled_sigmoid,  ///< 2 / (1 + e^-x)
};

/// Strengths 1 / (1 + e^-x), between 0 and 1.
template <detail::mdspan_like View>
struct sigmoid_beta {
  using view_type = View;
  View view;
  constexpr explicit sigmoid_beta(const View& v) noexcept : view(v) {}
  static constexpr beta_encoding encoding = beta_encoding::sigmoid;
};

/// Strengths 2 / (1 + e^-x), between 0 and 2: above 1 they turn what is held under a key over.
template <detail::mdspan_like View>
struct doubled_sigmoid_beta {
  using view_type = View;
  View view;
  constexpr explicit doubled_sigmoid_beta(const View& v) noexcept : view(v) {}
  static constexpr beta_encoding encoding = beta_encoding::doubled_sigmoid;
};

namespace detail {

template <class>
inline constexpr bool is_gate = false;
template <class View>
inline constexpr bool is_gate<log_gate<View>> = true;
template <class View>
inline constexpr bool is_gate<log2_gate<View>> = true;
template <class View>
inline constexpr bool is_gate<linear_gate<View>> = true;
template <class View>
inline constexpr bool is_gate<raw_gate<View>> = true;

template <class>
inline constexpr bool is_beta = false;
template <class View>
inline constexpr bool is_beta<sigmoid_beta<View>> = true;
template <class View>
inline constexpr bool is_beta<doubled_sigmoid_beta<View>> = true;

/// A view of rank `Rank`, or a gate around one.
template <class G, std::size_t Rank>
concept gate_of = view_of<G, Rank> || (is_gate<G> && requires {
                    typename G::view_type;
                    requires view_of<typename G::view_type, Rank>;
                  });

/// A view of rank `Rank`, or a strength around one.
template <class B, std::size_t Rank>
concept beta_of = view_of<B, Rank> || (is_beta<B> && requires {
                    typename B::view_type;
                    requires view_of<typename B::view_type, Rank>;
                  });

/// The view in a gate or a strength, or the plain view itself.
template <class X>
constexpr const auto& encoded_view(const X& x) noexcept {
  if constexpr (is_gate<X> || is_beta<X>) {
    return x.view;
  } else {
    return x;
  }
}

template <class G>
constexpr gate_form gate_form_of(const G& gate) noexcept {
  if constexpr (is_gate<G>) {
    return gate.form();
  } else {
    return {};
  }
}

template <class B>
constexpr beta_encoding beta_encoding_of() noexcept {
  if constexpr (is_beta<B>) {
    return B::encoding;
  } else {
    return beta_encoding::plain;
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
