// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <seqmix/core/checks.hpp>
#include <seqmix/ops/softmax_attention/kv_view.hpp>
#include <seqmix/ops/softmax_attention/problem.hpp>
#include <string>
#include <utility>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The largest head dimension that is supported and tested.
inline constexpr std::int64_t largest_head_dim = 1024;

/// Checks the contract of a call and completes the descriptor. `p` arrives with its tensors set.
template <class Tag>
violation check_attention(softmax_attention_problem& p, const softmax_attention_options& options,
                          const kv_layout& layout) {
  contract<Tag> c{softmax_attention_problem::operator_name};

  c.tensor("q", p.q).tensor("k", p.k).tensor("v", p.v).tensor("o", p.o);
  c.in_range("q.extent(D)", p.q.extents[3], 1, largest_head_dim);
  c.in_range("v.extent(V)", p.v.extents[3], 1, largest_head_dim);
  const std::int64_t B = p.q.extents[0];
  const std::int64_t H = p.q.extents[2];
  const std::int64_t HK = p.k.extents[2];
  c.shape("k", p.k, {B, p.k.extents[1], HK, p.q.extents[3]}, "[B, S, HK, D]");
  c.shape("v", p.v, {B, p.k.extents[1], HK, p.v.extents[3]}, "[B, S, HK, V]");
  c.shape("o", p.o, {B, p.q.extents[1], H, p.v.extents[3]}, "[B, T, H, V]");
  if (HK == 0 ? H != 0 : H % HK != 0) {
    c.fail("k.extent(HK)", "a divisor of H = " + std::to_string(H), std::to_string(HK));
  }

  if (options.lse.given()) {
    c.tensor("options.lse", options.lse);
    c.shape("options.lse", options.lse, {B, H, p.q.extents[1]},
            p.packed ? "[1, H, total]" : "[B, H, T]");
    c.require(options.lse.type == scalar_type::f32 || options.lse.type == scalar_type::f64,
              "options.lse", "element type f32 or f64", name(options.lse.type));
  }

  p.scale = options.scale.value_or(1.0 / std::sqrt(static_cast<double>(p.q.extents[3])));
  c.require(std::isfinite(p.scale), "options.scale", "a finite number", p.scale);
  c.require(options.window.left >= unbounded, "options.window.left", "unbounded, or at least 0",
            options.window.left);
  c.require(options.window.right >= unbounded, "options.window.right", "unbounded, or at least 0",
            options.window.right);
  c.require(options.sink_tokens >= 0, "options.sink_tokens", "at least 0", options.sink_tokens);
  c.absent("options.sink_logits", options.sink_logits.given());
  c.absent("options.softcap", options.softcap != 0);
  c.absent("options.alibi_slopes", options.alibi_slopes.given());
  c.absent("options.bias", options.bias.given());
  c.absent("kv.layout.block_table", layout.block_table.given());
  c.absent("kv.layout.k_scale", layout.k_scale.given());
  c.absent("kv.layout.v_scale", layout.v_scale.given());

  p.lse = options.lse;
  p.causal = options.causal;
  // Bounds beyond any sequence mean the same as the largest that index arithmetic can bear.
  constexpr std::int64_t far = std::int64_t{1} << 60;
  p.window = {options.window.left < far ? options.window.left : far,
              options.window.right < far ? options.window.right : far};
  p.sink_tokens = options.sink_tokens;
  p.sequences = B;

  if (p.packed) {
    const varlen_options& l = options.varlen;
    c.offsets("options.varlen.q_offsets", l.q_offsets, p.q.extents[1], l.max_q);
    c.offsets("options.varlen.k_offsets", l.k_offsets, p.k.extents[1], l.max_k);
    c.equal("options.varlen.k_offsets", " entries, as q_offsets has", l.q_offsets.extents[0],
            l.k_offsets.extents[0]);
    if (p.q.memory.on_host()) {
      c.same_device("options.varlen.q_offsets", l.q_offsets.memory, "q", p.q.memory);
      c.same_device("options.varlen.k_offsets", l.k_offsets.memory, "q", p.q.memory);
    }
    p.q_offsets = l.q_offsets;
    p.k_offsets = l.k_offsets;
    p.k_lengths = l.k_lengths;
    p.max_q = l.max_q;
    p.max_k = l.max_k;
    p.sequences = l.q_offsets.extents[0] - 1;
  } else {
    c.absent("options.varlen",
             options.varlen.q_offsets.given() || options.varlen.k_offsets.given() ||
                 options.varlen.k_lengths.given(),
             "only with packed tensors of rank 3");
  }
  if (p.k_lengths.given() && c.holds()) {
    const char* argument = p.packed ? "options.varlen.k_lengths" : "kv.layout.lengths";
    if (p.q.memory.on_host()) {
      c.same_device(argument, p.k_lengths.memory, "q", p.q.memory);
    }
    const bool segments_known = p.packed && p.k_offsets.memory.on_host();
    c.lengths(argument, p.k_lengths, p.sequences, [&](std::int64_t b) {
      return segments_known ? index_at(p.k_offsets, b + 1) - index_at(p.k_offsets, b)
                            : p.k.extents[1];
    });
  }

  for (const auto& [argument, memory] :
       {std::pair{"k", p.k.memory}, std::pair{"v", p.v.memory}, std::pair{"o", p.o.memory}}) {
    c.same_device(argument, memory, "q", p.q.memory);
  }
  if (p.lse.given()) {
    c.same_device("options.lse", p.lse.memory, "q", p.q.memory);
    c.no_overlap("options.lse", p.lse, "q", p.q).no_overlap("options.lse", p.lse, "k", p.k);
    c.no_overlap("options.lse", p.lse, "v", p.v).no_overlap("options.lse", p.lse, "o", p.o);
    c.no_self_overlap("options.lse", p.lse);
  }
  c.no_overlap("o", p.o, "q", p.q).no_overlap("o", p.o, "k", p.k).no_overlap("o", p.o, "v", p.v);
  c.no_self_overlap("o", p.o);

  using f = softmax_attention_feature;
  p.required.add(f::causal, p.causal);
  p.required.add(f::window, p.window.left != unbounded || p.window.right != unbounded);
  p.required.add(f::sink_tokens, p.sink_tokens > 0);
  p.required.add(f::grouped_heads, H != HK);
  p.required.add(f::unequal_dims, p.q.extents[3] != p.v.extents[3]);
  p.required.add(f::varlen, p.packed);
  p.required.add(f::key_lengths, p.k_lengths.given());
  p.required.add(f::lse, p.lse.given());
  for (const scalar_type t : {p.q.type, p.k.type, p.v.type, p.o.type}) {
    p.required.add(f::f64, t == scalar_type::f64);
    p.required.add(f::f16, t == scalar_type::f16);
    p.required.add(f::bf16, t == scalar_type::bf16);
    p.required.add(f::mixed_types, t != p.q.type);
  }
  return c.result();
}

}  // namespace detail

SEQMIX_END_NAMESPACE
