// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <seqmix/ops/rope/problem.hpp>

SEQMIX_BEGIN_NAMESPACE

/// What a `sink_window_cache` stores.
enum class sink_window_keys {
  rotated,    ///< keys turned by their token's place in the stream: each is rotated once
  unrotated,  ///< keys as they came, turned at every read: the definition, and the oracle
};

/// Options of a `sink_window_cache`. Members are only ever appended.
struct sink_window_options {
  std::int64_t sinks = 4;     ///< s, the first tokens, which are never forgotten
  std::int64_t window = 0;    ///< W, the last tokens, the newest among them; must be given
  std::int64_t rollback = 0;  ///< newest tokens that `truncate` can take back, at least
  std::int64_t slack = 0;     ///< more rows, for tokens to come; 0: window + rollback
  rope_options rope{};        ///< layout (must be given), base and rotary_dims
  sink_window_keys keys = sink_window_keys::rotated;
};

/// Options of one `sink_window_cache::attend`, with the meaning that they have for
/// `softmax_attention`. Its other options cannot be given: what is seen is the cache's to say,
/// biases by position have none to go by, and only softmax's parts merge. Members are only ever
/// appended.
struct sink_window_attend_options {
  std::optional<double> scale{};  ///< multiplies q.k; D^-0.5 when absent
  any_view<1> sink_logits{};      ///< [H], one more logit per head in the denominator
  double softcap = 0;             ///< c > 0: scores become c tanh(s / c)
  any_out<3> lse{};               ///< [B, H, n]: natural log-sum-exp
};

SEQMIX_END_NAMESPACE
