// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <seqmix/ops/softmax_attention/check_tensors.hpp>
#include <seqmix/ops/softmax_attention/kv_view.hpp>
#include <string>
#include <utility>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The largest head dimension that is supported and tested.
inline constexpr std::int64_t largest_head_dim = 1024;

template <class Tag>
void check_shapes(contract<Tag>& c, const softmax_attention_problem& p) {
  const auto [B, T, H, D] = p.q.extents;
  const std::int64_t outer = p.paged() ? p.k.extents[0] : B;
  const std::int64_t S = p.k.extents[1];
  const std::int64_t HK = p.k.extents[2];
  const std::int64_t V = p.v.extents[3];
  c.tensor("q", p.q).tensor("k", p.k).tensor("v", p.v).tensor("o", p.o);
  c.in_range("q.extent(D)", D, 1, largest_head_dim);
  c.in_range("v.extent(V)", V, 1, largest_head_dim);
  c.shape("k", p.k, {outer, S, HK, D}, p.paged() ? "[pages, page, HK, D]" : "[B, S, HK, D]");
  c.shape("v", p.v, {outer, S, HK, V}, p.paged() ? "[pages, page, HK, V]" : "[B, S, HK, V]");
  c.require(!p.paged() || S > 0, "k.extent(page)", "at least 1", S);
  c.shape("o", p.o, {B, T, H, V}, "[B, T, H, V]");
  if (HK == 0 ? H != 0 : H % HK != 0) {
    c.fail("k.extent(HK)", "a divisor of H = " + std::to_string(H), std::to_string(HK));
  }
  if (p.lse.given()) {
    c.tensor("options.lse", p.lse);
    c.shape("options.lse", p.lse, {B, H, T}, p.packed ? "[1, H, total]" : "[B, H, T]");
    c.require(p.lse.type == scalar_type::f32 || p.lse.type == scalar_type::f64, "options.lse",
              "element type f32 or f64", name(p.lse.type));
  }
}

/// What a normaliser takes, and what goes with it.
template <class Tag>
void check_normaliser(contract<Tag>& c, const softmax_attention_options& options) {
  using weights = attention_weights;
  const attention_normaliser& how = options.normaliser;
  c.require(how.weights >= weights::softmax && how.weights <= weights::none,
            "options.normaliser.weights", "one of the enumerators", static_cast<int>(how.weights));
  c.require(std::isfinite(how.shift), "options.normaliser.shift", "a finite number", how.shift);
  c.require(how.sharpen >= 0 && how.sharpen <= 1024, "options.normaliser.sharpen", "0 to 1024",
            how.sharpen);
  c.absent("options.normaliser.shift", how.shift != 0 && how.weights != weights::sigmoid,
           "only with sigmoid weights");
  c.absent("options.normaliser.sharpen", how.sharpen != 0 && how.weights != weights::softplus,
           "only with softplus weights");
  c.absent("options.normaliser.mean",
           how.mean && how.weights != weights::relu && how.weights != weights::none,
           "only with weights of relu or none");
  c.absent("options.sink_logits", options.sink_logits.given() && how.weights != weights::softmax,
           "only with softmax weights");
  const bool summed =
      how.weights == weights::softmax || (how.weights == weights::softplus && how.sharpen == 0);
  c.absent("options.lse", options.lse.given() && !summed,
           "only with weights of softmax, or of softplus without sharpen: others have no sum");
}

template <class Tag>
void check_options(contract<Tag>& c, const softmax_attention_options& options, double scale) {
  c.require(std::isfinite(scale), "options.scale", "a finite number", scale);
  c.require(options.window.left >= unbounded, "options.window.left", "unbounded, or at least 0",
            options.window.left);
  c.require(options.window.right >= unbounded, "options.window.right", "unbounded, or at least 0",
            options.window.right);
  c.require(options.sink_tokens >= 0, "options.sink_tokens", "at least 0", options.sink_tokens);
  c.require(std::isfinite(options.softcap) && options.softcap >= 0, "options.softcap",
            "a finite number, 0 for none", options.softcap);
  check_normaliser(c, options);
}

/// The table of a paged cache, where its shape and type are in order and the lengths hold: each
/// entry in use names a page. Contents on a device cannot be read here.
template <class Tag>
void check_pages(contract<Tag>& c, const softmax_attention_problem& p) {
  if (!p.block_table.memory.on_host() || !p.k_lengths.memory.on_host()) {
    return;
  }
  const std::int64_t pages = p.k.extents[0];
  for (std::int64_t b = 0; c.holds() && b < p.sequences; ++b) {
    const std::int64_t length = index_at(p.k_lengths, b);
    for (std::int64_t n = 0; c.holds() && n * p.page < length; ++n) {
      const std::int64_t entry = index_at(p.block_table, b, n);
      if (entry < 0 || entry >= pages) {
        c.fail("kv.layout.block_table",
               "pages in [0, " + std::to_string(pages) + ") wherever keys are in use",
               "entry " + shape_text(std::array{b, n}) + " = " + std::to_string(entry));
      }
    }
  }
}

template <class Tag>
void check_block_table(contract<Tag>& c, const softmax_attention_problem& p, bool host) {
  constexpr const char* argument = "kv.layout.block_table";
  const any_view<2>& table = p.block_table;
  c.tensor(argument, table);
  c.require(!host || table.memory.on_host(), argument, "host memory, beside host tensors",
            device_text(table.memory).c_str());
  c.equal(argument, " rows, one for each sequence", p.sequences, table.extents[0]);
  c.require(table.type == scalar_type::i32 || table.type == scalar_type::i64, argument,
            "element type i32 or i64", name(table.type));
  c.require(p.k_lengths.type != scalar_type::none, "kv.layout.lengths",
            "lengths, beside a block table", "none");
}

/// Index vectors of packed sequences and of caches. The CPU reads them where they lie, so that
/// beside host tensors they are on the host.
template <class Tag>
void check_sequences(contract<Tag>& c, const softmax_attention_problem& p,
                     const varlen_options& varlen) {
  const bool host = p.q.memory.on_host();
  if (p.packed) {
    c.offsets("options.varlen.q_offsets", p.q_offsets, p.q.extents[1], p.max_q, host);
    c.offsets("options.varlen.k_offsets", p.k_offsets, p.k.extents[1], p.max_k, host);
    c.equal("options.varlen.k_offsets", " entries, as q_offsets has", p.q_offsets.extents[0],
            p.k_offsets.extents[0]);
  } else {
    c.absent("options.varlen",
             varlen.q_offsets.given() || varlen.k_offsets.given() || varlen.k_lengths.given(),
             "only with packed tensors of rank 3");
  }
  if (p.paged()) {
    check_block_table(c, p, host);
  }
  if ((p.k_lengths.given() || p.paged()) && c.holds()) {
    const bool segments_known = p.packed && p.k_offsets.memory.on_host();
    c.lengths(p.packed ? "options.varlen.k_lengths" : "kv.layout.lengths", p.k_lengths, p.sequences,
              host, [&](std::int64_t b) {
                return segments_known ? index_at(p.k_offsets, b + 1) - index_at(p.k_offsets, b)
                                      : p.key_capacity();
              });
  }
  if (p.paged() && c.holds()) {
    check_pages(c, p);
  }
}

template <class Tag>
void check_memory(contract<Tag>& c, const softmax_attention_problem& p) {
  c.same_device("k", p.k.memory, "q", p.q.memory).same_device("v", p.v.memory, "q", p.q.memory);
  c.same_device("o", p.o.memory, "q", p.q.memory);
  c.no_overlap("o", p.o, "q", p.q).no_overlap("o", p.o, "k", p.k).no_overlap("o", p.o, "v", p.v);
  c.no_self_overlap("o", p.o);
  if (p.lse.given()) {
    c.same_device("options.lse", p.lse.memory, "q", p.q.memory);
    c.no_overlap("options.lse", p.lse, "q", p.q).no_overlap("options.lse", p.lse, "k", p.k);
    c.no_overlap("options.lse", p.lse, "v", p.v).no_overlap("options.lse", p.lse, "o", p.o);
    c.no_self_overlap("options.lse", p.lse);
  }
}

constexpr dispatch::feature_set<softmax_attention_feature> required_features(
    const softmax_attention_problem& p) noexcept {
  using f = softmax_attention_feature;
  dispatch::feature_set<f> required;
  required.add(f::causal, p.causal);
  required.add(f::window, p.window.left != unbounded || p.window.right != unbounded);
  required.add(f::sink_tokens, p.sink_tokens > 0);
  required.add(f::grouped_heads, p.heads() != p.kv_heads());
  required.add(f::unequal_dims, p.key_dim() != p.value_dim());
  required.add(f::varlen, p.packed);
  required.add(f::key_lengths, p.k_lengths.given());
  required.add(f::lse, p.lse.given());
  required.add(f::sink_logits, p.sink_logits.given());
  required.add(f::softcap, p.softcap > 0);
  required.add(f::alibi_slopes, p.alibi_slopes.given());
  required.add(f::bias, p.bias.given());
  required.add(f::alibi_index, p.alibi.given());
  required.add(f::relative_bias, p.relative_bias.given());
  required.add(f::score_functor, p.score != nullptr);
  required.add(f::mask_functor, p.mask != nullptr);
  required.add(f::paged, p.paged());
  required.add(f::normaliser, p.normaliser.weights != attention_weights::softmax);
  required.add(f::log_length, p.log_length);
  required.add(f::key_outputs, p.wants_keys());
  for (const scalar_type t : {p.q.type, p.k.type, p.v.type, p.o.type}) {
    required.add(f::f64, t == scalar_type::f64);
    required.add(f::f16, t == scalar_type::f16);
    required.add(f::bf16, t == scalar_type::bf16);
    required.add(f::quantised_kv, t == scalar_type::i8);
    required.add(f::mixed_types, t != p.q.type);
  }
  return required;
}

/// Completes a descriptor whose tensors, `packed` and `k_lengths` are set, and checks the contract.
template <class Tag>
void check_attention(contract<Tag>& c, softmax_attention_problem& p,
                     const softmax_attention_options& options, const kv_layout& layout) {
  // Bounds beyond any sequence mean the same as the largest that index arithmetic can bear.
  constexpr std::int64_t far = std::int64_t{1} << 60;
  p.lse = options.lse;
  p.scale = options.scale.value_or(1.0 / std::sqrt(static_cast<double>(p.key_dim())));
  p.causal = options.causal;
  p.window = {options.window.left < far ? options.window.left : far,
              options.window.right < far ? options.window.right : far};
  p.sink_tokens = options.sink_tokens;
  p.sink_logits = options.sink_logits;
  p.softcap = options.softcap;
  p.alibi_slopes = options.alibi_slopes;
  p.bias = options.bias;
  p.normaliser = options.normaliser;
  p.log_length = options.log_length;
  p.key_outputs = options.key_outputs;
  p.alibi = options.alibi;
  p.relative_bias = options.relative_bias;
  p.block_table = layout.block_table;
  p.k_scale = layout.k_scale;
  p.v_scale = layout.v_scale;
  p.page = p.paged() ? p.k.extents[1] : 0;
  p.sequences = p.q.extents[0];
  if (p.packed) {
    p.q_offsets = options.varlen.q_offsets;
    p.k_offsets = options.varlen.k_offsets;
    p.max_q = options.varlen.max_q;
    p.max_k = options.varlen.max_k;
    p.sequences = p.q_offsets.extents[0] - 1;
  }
  p.required = required_features(p);

  check_shapes(c, p);
  check_options(c, options, p.scale);
  check_sequences(c, p, options.varlen);
  check_memory(c, p);
  check_scales(c, p);
  check_score_terms(c, p);
  check_key_outputs(c, p);
}

}  // namespace detail

SEQMIX_END_NAMESPACE
