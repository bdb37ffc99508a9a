// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>

// softmax_attention under the names of its published forms. Each takes the same arguments and
// options in the same three forms of the call, has `.explain` and `.workspace_bytes`, and refuses a
// call that is not what its name says. The oracle is `naive_softmax_attention` with the same
// options.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// A name of softmax_attention as a function object.
template <class Name>
struct named_attention : attention_forms<run_call, Name> {
  static constexpr attention_forms<explain_call, Name> explain{};
  static constexpr attention_forms<measure_call, Name> workspace_bytes{};
};

struct sliding_window_name : plain_name {
  static constexpr const char* name = "sliding_window_attention";
  template <class Tag>
  static void check(contract<Tag>& c, const softmax_attention_options& options) {
    c.require(options.window.left != unbounded || options.window.right != unbounded,
              "options.window", "a bound on the left or the right", "none");
  }
};

struct sink_name : plain_name {
  static constexpr const char* name = "sink_attention";
  template <class Tag>
  static void check(contract<Tag>& c, const softmax_attention_options& options) {
    c.require(options.sink_tokens > 0 || options.sink_logits.given(), "options.sink_tokens",
              "at least 1, or options.sink_logits", "neither");
    c.require(options.sink_tokens == 0 || options.window.left != unbounded, "options.window.left",
              "a bound, without which every key before it is visible as sinks are", "unbounded");
  }
};

/// A name that stands for a rule of its own.
template <attention_weights Rule>
struct weights_name {
  static softmax_attention_options complete(softmax_attention_options options,
                                            std::int64_t /*key_dim*/) {
    options.normaliser.weights = Rule;
    return options;
  }
  template <class Tag>
  static void check(contract<Tag>& c, const softmax_attention_options& options) {
    const attention_weights given = options.normaliser.weights;
    c.absent("options.normaliser.weights", given != attention_weights::softmax && given != Rule,
             "the operator's name says which");
  }
};

struct sigmoid_name : weights_name<attention_weights::sigmoid> {
  static constexpr const char* name = "sigmoid_attention";
};

struct relu_name : weights_name<attention_weights::relu> {
  static constexpr const char* name = "relu_attention";
};

struct softplus_name : weights_name<attention_weights::softplus> {
  static constexpr const char* name = "softplus_attention";
  static softmax_attention_options complete(softmax_attention_options options,
                                            std::int64_t key_dim) {
    options.normaliser.weights = attention_weights::softplus;
    options.log_length = true;
    if (!options.scale) {
      options.scale = std::log(static_cast<double>(key_dim));
    }
    return options;
  }
};

}  // namespace detail

/// Sliding-window attention: softmax over the keys with `i + off - left <= j <= i + off + right`.
/// `options.window` must bound one side; a causal window of w tokens is `.causal = true, .window =
/// {.left = w - 1}`. Work follows the visible pairs.
struct sliding_window_attention_fn : detail::named_attention<detail::sliding_window_name> {};
inline constexpr sliding_window_attention_fn sliding_window_attention{};

/// Attention with sinks: the first `options.sink_tokens` keys stay visible outside the window,
/// which must be bounded on the left, or each head has a learned logit `options.sink_logits` more
/// in its denominator, or both.
///
/// Paper: Xiao et al., "Efficient Streaming Language Models with Attention Sinks", 2023.
struct sink_attention_fn : detail::named_attention<detail::sink_name> {};
inline constexpr sink_attention_fn sink_attention{};

/// Sigmoid attention: `o_i = sum_j v_j / (1 + e^-(s_ij + b))` with b = `options.normaliser.shift`,
/// about -log S. No row has a sum: partial results over disjoint keys add up, and there is no
/// log-sum-exp and no sink logit.
///
/// Paper: Ramapuram et al., "Theory, Analysis, and Best Practices for Sigmoid Self-Attention",
/// 2024.
struct sigmoid_attention_fn : detail::named_attention<detail::sigmoid_name> {};
inline constexpr sigmoid_attention_fn sigmoid_attention{};

/// Softplus attention with length scale:
///
///     a_ij = log(1 + e^(scale log(n_i) q_i.k_j)),   p_ij = a_ij / sum_j a_ij,   o_i = sum_j p_ij
///     v_j
///
/// n_i is the number of keys that row i sees, and scale is log D unless given; queries and keys are
/// meant to have norm 1. `options.normaliser.sharpen = p`, 15 in the paper, re-weights each row by
/// `max(n_i p_ij - 1, 0)^p`. The log-sum-exp, without sharpen, is the logarithm of the row's sum of
/// a_ij: `merge_attention` merges by it.
///
/// Paper: Gao et al., "Softplus Attention with Re-weighting Boosts Length Extrapolation in
/// Large Language Models", 2025.
struct softplus_attention_fn : detail::named_attention<detail::softplus_name> {};
inline constexpr softplus_attention_fn softplus_attention{};

/// ReLU attention: `o_i = sum_j max(s_ij, 0) v_j`, over n_i, the number of visible keys, with
/// `options.normaliser.mean`. No log-sum-exp, no sink logits.
///
/// Paper: Wortsman et al., "Replacing softmax with ReLU in Vision Transformers", 2023.
struct relu_attention_fn : detail::named_attention<detail::relu_name> {};
inline constexpr relu_attention_fn relu_attention{};

SEQMIX_END_NAMESPACE
