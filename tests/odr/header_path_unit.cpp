// SPDX-License-Identifier: Apache-2.0
// Compiled once per instruction set; see header_path_main.cpp.
#include "header_path.hpp"

#include <seqmix/ops/softmax_attention/softmax_attention.hpp>

namespace odr::SEQMIX_ODR_ISA {

std::string attend(const float* q, const float* k, const float* v, float* o) {
  const auto q_view = seqmix::view(q, 1, queries, heads, dim);
  const auto k_view = seqmix::view(k, 1, keys, heads, dim);
  const auto v_view = seqmix::view(v, 1, keys, heads, dim);
  const auto o_view = seqmix::view(o, 1, queries, heads, dim);
  seqmix::softmax_attention(q_view, k_view, v_view, o_view, {.causal = true});
  return seqmix::softmax_attention.explain(q_view, k_view, v_view, o_view, {.causal = true}).target;
}

}  // namespace odr::SEQMIX_ODR_ISA
