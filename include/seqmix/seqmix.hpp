// SPDX-License-Identifier: Apache-2.0
#pragma once

// Everything but the opt-in headers: <seqmix/openmp.hpp> and <seqmix/interop/...>.
#include <seqmix/core/version.hpp>
#include <seqmix/ops/delta_rule/delta_rule.hpp>
#include <seqmix/ops/dplr_delta_rule/dplr_delta_rule.hpp>
#include <seqmix/ops/features/features.hpp>
#include <seqmix/ops/gated_delta_rule/gated_delta_rule.hpp>
#include <seqmix/ops/gated_linear_attention/gated_linear_attention.hpp>
#include <seqmix/ops/kda/kda.hpp>
#include <seqmix/ops/lightning_attention/lightning_attention.hpp>
#include <seqmix/ops/linear_attention/linear_attention.hpp>
#include <seqmix/ops/merge_attention/merge_attention.hpp>
#include <seqmix/ops/output_norm/output_norm.hpp>
#include <seqmix/ops/retention/retention.hpp>
#include <seqmix/ops/rope/rope.hpp>
#include <seqmix/ops/rwkv7/rwkv7.hpp>
#include <seqmix/ops/selective_scan/selective_scan.hpp>
#include <seqmix/ops/selective_state_update/selective_state_update.hpp>
#include <seqmix/ops/softmax_attention/alibi.hpp>
#include <seqmix/ops/softmax_attention/kv_cache.hpp>
#include <seqmix/ops/softmax_attention/masks.hpp>
#include <seqmix/ops/softmax_attention/named_attention.hpp>
#include <seqmix/ops/softmax_attention/paged_kv_cache.hpp>
#include <seqmix/ops/softmax_attention/position_scores.hpp>
#include <seqmix/ops/softmax_attention/relative_position.hpp>
#include <seqmix/ops/softmax_attention/sink_window_cache.hpp>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>
