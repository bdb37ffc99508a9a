// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <seqmix/cuda/softmax_attention/launch.hpp>
#include <seqmix/cuda/softmax_attention/plan.hpp>
#include <seqmix/cuda/softmax_attention/splits.hpp>
#include <seqmix/ops/softmax_attention/call_forms.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "attention_calls.hpp"
#include "emulated_gpu/hardware.hpp"

// softmax_attention by the kernels for GPUs on an emulated one, from a problem to its outputs.

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

/// Calls `f(T{})` for the type of the problem's elements.
template <class F>
void with_element_type(const attention_problem& p, F&& f) {
  p.c.types.q == scalar_type::bf16 ? f(seqmix::bf16{}) : f(seqmix::f16{});
}

/// Which kernels a call takes and what they are told, as the operator does it for kernels of which
/// decoding takes sequences of up to `decode_rows` rows a KV head.
struct emulated_plan {
  seqmix::cuda::attention_plan plan;
  seqmix::cuda::attention_params params;

  emulated_plan(const seqmix::softmax_attention_problem& call, std::int32_t decode_rows)
      : plan(call, {}, taking(decode_rows)), params(seqmix::cuda::params_of(call, plan)) {}

 private:
  static seqmix::cuda::attention_kernels taking(std::int32_t decode_rows) {
    seqmix::cuda::attention_kernels kernels{};
    kernels.decode_rows = decode_rows;
    return kernels;
  }
};

/// How a call is run.
struct emulation {
  int processors = 2;
  std::uint64_t seed = 1;
  std::int32_t decode_rows = 0;
  bool decode = true;  // else prefill alone
  bool apart = false;  // splits of decoding have blocks of their own
};

/// The parameters of Hopper's prefill kernel. Without `decode_rows` it takes sequences of any
/// length.
inline seqmix::cuda::attention_params hopper_params(const seqmix::softmax_attention_problem& call,
                                                    std::int32_t decode_rows = 0) {
  if (const char* tensor = seqmix::cuda::not_in_boxes(call)) {
    throw std::invalid_argument(std::string("the copy engine cannot read or write ") + tensor);
  }
  seqmix::cuda::attention_params params = emulated_plan(call, decode_rows).params;
  params.mapped = true;
  return params;
}

/// Clears the outputs and runs Hopper's prefill kernel.
inline void run_hopper(attention_problem& p, const emulation& how = {}) {
  p.clear_outputs();
  this_gpu = {.processors = how.processors, .seed = how.seed};
  with_element_type(p, [&]<class T>(T) {
    const seqmix::cuda::attention_params params =
        hopper_params(descriptor_of<T>(p), how.decode_rows);
    seqmix::cuda::with_width(seqmix::cuda::attention_widths{}, params, [&]<int W>() {
      return seqmix::cuda::launch_hopper_prefill<T, W>(params, nullptr);
    });
  });
}

/// The memory from a tensor's first element to its last.
inline std::span<const std::byte> memory_of(const seqmix::any_view<4>& v) {
  if (v.size() == 0) {
    return {};
  }
  const auto width = static_cast<std::int64_t>(seqmix::size_of(v.type));
  std::int64_t first = 0;
  std::int64_t last = 0;
  for (std::size_t axis = 0; axis < 4; ++axis) {
    const std::int64_t way = (v.extents[axis] - 1) * v.strides[axis];
    (way < 0 ? first : last) += way;
  }
  return {static_cast<const std::byte*>(v.data) + first * width,
          static_cast<std::size_t>((last - first + 1) * width)};
}

/// The emulated GPU for the portable kernels: they copy from nowhere but the inputs.
inline emulated_gpu gpu_for(const seqmix::softmax_attention_problem& call, std::uint64_t seed) {
  return {.seed = seed, .readable = {memory_of(call.q), memory_of(call.k), memory_of(call.v)}};
}

/// Clears the outputs and runs the portable kernels, one after the other.
inline void run_portable(attention_problem& p, const emulation& how = {}) {
  p.clear_outputs();
  with_element_type(p, [&]<class T>(T) {
    using seqmix::cuda::portable;
    const seqmix::softmax_attention_problem call = descriptor_of<T>(p);
    this_gpu = gpu_for(call, how.seed);
    emulated_plan planned(call, how.decode_rows);
    std::vector<float> partials;
    if (how.apart) {
      partials.resize(static_cast<std::size_t>(seqmix::cuda::partial_floats(planned.params)));
      planned.params.partials = partials.data();
    }
    seqmix::cuda::with_width(seqmix::cuda::attention_widths{}, planned.params, [&]<int W>() {
      if (planned.plan.prefill) {
        seqmix::cuda::launch_prefill<portable, T, W>(planned.params, nullptr);
      }
      if (planned.plan.decode && how.decode) {
        seqmix::cuda::launch_decode<portable, T, W>(planned.params, nullptr);
      }
      return 0;
    });
    if (how.apart) {
      seqmix::cuda::launch_combine<portable, T>(planned.params, nullptr);
    }
  });
}

}  // namespace seqmix_test
