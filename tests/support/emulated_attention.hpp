// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <seqmix/cuda/softmax_attention/launch.hpp>
#include <seqmix/cuda/softmax_attention/plan.hpp>
#include <seqmix/ops/softmax_attention/call_forms.hpp>
#include <stdexcept>
#include <string>

#include "attention_calls.hpp"
#include "emulated_gpu/hopper.hpp"

// softmax_attention by Hopper's prefill kernel on an emulated GPU, from a problem to its outputs.

namespace seqmix_test {

/// A call's descriptor, checked and completed as the operator does it.
struct described_call {
  template <class Q, class K, class V, class O>
  seqmix::softmax_attention_problem operator()(const Q& q, const K& k, const V& v, const O& o,
                                               const seqmix::softmax_attention_options& options,
                                               const seqmix::kv_layout& layout = {}) const {
    seqmix::softmax_attention_problem p =
        seqmix::detail::describe_attention(q, k, v, o, options, layout);
    seqmix::detail::contract<described_call> c{"softmax_attention"};
    seqmix::detail::check_attention(c, p, options, layout);
    if (const seqmix::detail::violation broken = c.result()) {
      throw *broken;
    }
    return p;
  }
  template <class Q, class TK, class TV, class O>
  seqmix::softmax_attention_problem operator()(
      const Q& q, const seqmix::kv_view<TK, TV>& kv, const O& o,
      const seqmix::softmax_attention_options& options) const {
    return (*this)(q, kv.k, kv.v, o, options, kv.layout);
  }
};

/// Of a call on device tensors: beside their offsets there is the longest length.
template <class T>
seqmix::softmax_attention_problem descriptor_of(attention_problem& p) {
  seqmix::softmax_attention_problem call = with_views<T, T, T, T>(p, described_call{});
  for (const sequence_place& s : p.sequences) {
    call.max_q = std::max(call.max_q, s.queries);
    call.max_k = std::max(call.max_k, s.keys);
  }
  return call;
}

/// The kernel's parameters. Without `decode_rows` it takes sequences of any length.
inline seqmix::cuda::attention_params emulated_params(const seqmix::softmax_attention_problem& call,
                                                      std::int32_t decode_rows = 0) {
  if (const char* tensor = seqmix::cuda::not_in_boxes(call)) {
    throw std::invalid_argument(std::string("the copy engine cannot read or write ") + tensor);
  }
  seqmix::cuda::attention_kernels kernels{};
  kernels.decode_rows = decode_rows;
  seqmix::cuda::attention_params params =
      seqmix::cuda::params_of(call, seqmix::cuda::attention_plan(call, {}, kernels));
  params.mapped = true;
  return params;
}

/// How a call is run.
struct emulation {
  int processors = 2;
  std::uint64_t seed = 1;
  std::int32_t decode_rows = 0;
};

/// Clears the outputs and runs.
template <class T>
void run_emulated(attention_problem& p, const emulation& how = {}) {
  p.clear_outputs();
  this_gpu = {how.processors, how.seed};
  const seqmix::cuda::attention_params params =
      emulated_params(descriptor_of<T>(p), how.decode_rows);
  seqmix::cuda::with_width(seqmix::cuda::attention_widths{}, params, [&]<int W>() {
    return seqmix::cuda::launch_hopper_prefill<T, W>(params, nullptr);
  });
}
inline void run_emulated(attention_problem& p, const emulation& how = {}) {
  p.c.types.q == scalar_type::bf16 ? run_emulated<seqmix::bf16>(p, how)
                                   : run_emulated<seqmix::f16>(p, how);
}

}  // namespace seqmix_test
