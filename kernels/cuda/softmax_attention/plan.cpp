// SPDX-License-Identifier: Apache-2.0
#include "plan.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "../common/tensor_map.hpp"
#include "splits.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

namespace {

/// Whether every row of the last axis can be moved in chunks of 16 bytes.
template <class View>
bool rows_in_vectors(const View& v) noexcept {
  constexpr std::int64_t elements = 8;
  bool fits = reinterpret_cast<std::uintptr_t>(v.data) % 16 == 0 && v.strides[3] == 1;
  for (std::size_t axis = 0; axis < 3; ++axis) {
    fits &= v.extents[axis] <= 1 || v.strides[axis] % elements == 0;
  }
  return fits;
}

/// The stride of an axis of one entry may be anything: kernels, which also point at rows that they
/// do not read, are told zero.
template <class View>
void copy_strides(const View& v, std::int64_t* to) noexcept {
  for (std::size_t axis = 0; axis < v.strides.size(); ++axis) {
    to[axis] = v.extents[axis] <= 1 ? 0 : v.strides[axis];
  }
}

index_vector index_of(const any_view<1>& v) noexcept {
  return v.given() ? index_vector{v.data, v.strides[0], v.type == scalar_type::i64}
                   : index_vector{nullptr, 0, false};
}

real_vector real_of(const any_view<1>& v) noexcept {
  return v.given() ? real_vector{v.data, v.strides[0], v.type}
                   : real_vector{nullptr, 0, scalar_type::none};
}

}  // namespace

attention_plan::attention_plan(const softmax_attention_problem& p, const context& ctx,
                               const attention_kernels& kernels) noexcept {
  decode_rows = kernels.decode_rows;
  if (ctx.pin.algorithm == "prefill") {
    decode_rows = 0;
  } else if (ctx.pin.algorithm == "decode") {
    decode_rows = std::numeric_limits<std::int32_t>::max();
  } else if (!ctx.pin.algorithm.empty()) {
    problem = "the pinned algorithm (it has prefill and decode)";
  }
  const std::int64_t queries = p.packed ? p.max_q : p.q.extents[1];
  const bool all_short = queries * p.group() <= decode_rows;
  decode = decode_rows > 0 && (all_short || p.packed);
  prefill = !all_short;
  if (decode_rows == std::numeric_limits<std::int32_t>::max()) {
    prefill = false;
  }
  if (decode && !p.packed) {
    splits = splits_of(p.k.extents[1], queries * p.group());
  }
}

const char* not_in_vectors(const softmax_attention_problem& p) noexcept {
  return !rows_in_vectors(p.q)   ? "q"
         : !rows_in_vectors(p.k) ? "k"
         : !rows_in_vectors(p.v) ? "v"
                                 : nullptr;
}

const char* not_in_boxes(const softmax_attention_problem& p) noexcept {
  const auto mapped = [](const any_view<4>& v) {
    return can_map({v.data,
                    v.type,
                    {v.extents[0], v.extents[1], v.extents[2], v.extents[3]},
                    v.strides.data()});
  };
  const bool written = rows_in_vectors(p.o) && p.value_dim() % 8 == 0;
  return !mapped(p.q) ? "q" : !mapped(p.k) ? "k" : !mapped(p.v) ? "v" : !written ? "o" : nullptr;
}

attention_params params_of(const softmax_attention_problem& p,
                           const attention_plan& plan) noexcept {
  attention_params a{};
  a.q = p.q.data;
  a.k = p.k.data;
  a.v = p.v.data;
  a.o = p.o.data;
  a.lse = p.lse.given() ? p.lse.data : nullptr;
  copy_strides(p.q, a.q_strides);
  copy_strides(p.k, a.k_strides);
  copy_strides(p.v, a.v_strides);
  copy_strides(p.o, a.o_strides);
  copy_strides(p.lse, a.lse_strides);
  a.q_offsets = index_of(p.q_offsets);
  a.k_offsets = index_of(p.k_offsets);
  a.k_lengths = index_of(p.k_lengths);
  a.q_rows = p.q.extents[1];
  a.k_rows = p.k.extents[1];
  // No sequence is longer than the tensors, whatever bound came with it.
  a.max_q = p.packed && p.max_q < a.q_rows ? p.max_q : a.q_rows;
  a.max_k = p.packed && p.max_k < a.k_rows ? p.max_k : a.k_rows;
  a.window_left = p.window.left;
  a.window_right = p.window.right;
  a.sink_tokens = p.sink_tokens;
  a.sink_logits = real_of(p.sink_logits);
  a.alibi_slopes = real_of(p.alibi_slopes);
  a.key_dim = static_cast<std::int32_t>(p.key_dim());
  a.value_dim = static_cast<std::int32_t>(p.value_dim());
  a.sequences = static_cast<std::int32_t>(p.sequences);
  a.heads = static_cast<std::int32_t>(p.heads());
  a.kv_heads = static_cast<std::int32_t>(p.kv_heads());
  a.group = static_cast<std::int32_t>(p.group());
  a.decode_rows = plan.decode_rows;
  a.splits = plan.splits;
  // The kernels take maxima of unscaled scores: the scale's sign, and a zero, go to the queries.
  a.query_factor = p.scale > 0 ? 1.0f : p.scale < 0 ? -1.0f : 0.0f;
  const double scale = p.scale == 0 ? 1.0 : std::abs(p.scale);
  // ALiBi is subtracted from raw products, unless their unit is none that float bears: then a cap
  // beyond all scores has them in natural units.
  const bool bearable = scale > 0x1p-60 && scale < 0x1p60;
  const bool distant = p.alibi_slopes.given() && !(p.softcap > 0) && !bearable;
  a.softcap =
      softcap_curve::of(distant ? std::numeric_limits<double>::infinity() : p.softcap, scale);
  a.scale = static_cast<float>(scale);
  a.scale_log2 = static_cast<float>(scale * std::numbers::log2e);
  a.alibi_unit = static_cast<float>(a.softcap.cap > 0 ? std::numbers::log2e : 1 / scale);
  a.packed = p.packed;
  a.causal = p.causal;
  a.lse_double = p.lse.type == scalar_type::f64;
  a.vectors = not_in_vectors(p) == nullptr;
  a.output_vectors = rows_in_vectors(p.o);
  return a;
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
