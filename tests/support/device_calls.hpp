// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <vector>

#include "attention_calls.hpp"
#include "device_residence.hpp"

namespace seqmix_test {

/// The types of calls on device tensors, which all have one.
template <class T>
constexpr attention_types device_types_of() noexcept {
  attention_types types = types_of_all<T>();
  types.rounded_weights = true;
  return types;
}

/// Whether a row has the same bits in every layout. Not in prefill on sm_90, whose copy engine
/// reads some layouts, for a kernel of its own.
inline bool same_bits_in_every_layout() {
  int major = 0;
  cuda_check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0),
             "cudaDeviceGetAttribute");
  return major != 9;
}

/// An ordinary case of the kernels' smaller head dimension.
template <class T>
attention_case device_case(std::int64_t queries, std::int64_t keys, call_form form) {
  attention_case c{.B = 3,
                   .T = queries,
                   .S = keys,
                   .H = 4,
                   .HK = 2,
                   .D = 64,
                   .V = 64,
                   .causal = true,
                   .lse = scalar_type::f32,
                   .form = form};
  c.types = device_types_of<T>();
  return c;
}

/// Calls `f(tensors..., options)` of a problem whose four tensors have one type.
template <class T, class F>
auto with_device_views(attention_problem& p, F&& f) {
  return with_views<T, T, T, T>(p, std::forward<F>(f));
}

/// softmax_attention on tensors of device 0: `run` takes the problem there, waits, and brings the
/// outputs back. Inputs that the call changed are an error.
template <class T>
attention_calls device_calls_for() {
  return {device_types_of<T>(),
          [](attention_problem& p, const seqmix::context& ctx) {
            device_residence there(p);
            with_device_views<T>(p,
                                 [&](const auto&... a) { seqmix::softmax_attention(a..., ctx); });
            there.fetch_outputs();
            if (!there.inputs_unchanged()) {
              throw std::runtime_error("the call wrote to an input or around it");
            }
          },
          [](attention_problem& p, const seqmix::context& ctx) {
            const device_residence there(p);
            return with_device_views<T>(p, [&](const auto&... a) {
              return seqmix::softmax_attention.workspace_bytes(a..., ctx);
            });
          },
          [](attention_problem& p, const seqmix::context& ctx) {
            const device_residence there(p);
            return with_device_views<T>(
                p, [&](const auto&... a) { return seqmix::softmax_attention.explain(a..., ctx); });
          }};
}

/// The calls for every element type that the CUDA kernels have.
inline std::vector<attention_calls> device_calls() {
  return {device_calls_for<seqmix::bf16>(), device_calls_for<seqmix::f16>()};
}

}  // namespace seqmix_test
