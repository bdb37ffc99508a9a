// SPDX-License-Identifier: Apache-2.0
#include "full_check.hpp"

#include <cuda_runtime_api.h>

#include <seqmix/core/checks.hpp>
#include <seqmix/core/workspace.hpp>

#include "../common/gpu.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

namespace {

struct check_tag {};

bool wanted(const any_view<1>& v, const context& ctx) noexcept {
  return ctx.check == check_level::full && v.given() && v.extents[0] > 0;
}

/// A device vector's copy in host scratch; only measured while the layout has no memory.
any_view<1> read_back(const any_view<1>& v, const context& ctx, detail::scratch_layout& layout,
                      int& status) {
  if (!wanted(v, ctx)) {
    return v;
  }
  const std::size_t width = size_of(v.type);
  const std::int64_t n = v.extents[0];
  std::byte* to = layout.take<std::byte>(n * static_cast<std::int64_t>(width));
  if (to == nullptr || status != cudaSuccess) {
    return v;
  }
  if (v.strides[0] > 0) {
    status = cudaMemcpy2DAsync(to, width, v.data, width * static_cast<std::size_t>(v.strides[0]),
                               width, static_cast<std::size_t>(n), cudaMemcpyDeviceToHost,
                               static_cast<cudaStream_t>(ctx.cuda_stream));
  } else {
    for (std::int64_t i = 0; i < n && status == cudaSuccess; ++i) {
      status = cudaMemcpyAsync(to + static_cast<std::size_t>(i) * width,
                               static_cast<const std::byte*>(v.data) +
                                   i * v.strides[0] * static_cast<std::int64_t>(width),
                               width, cudaMemcpyDeviceToHost,
                               static_cast<cudaStream_t>(ctx.cuda_stream));
    }
  }
  any_view<1> copy = v;
  copy.data = to;
  copy.strides[0] = 1;
  copy.memory = {};
  return copy;
}

}  // namespace

std::size_t full_check_bytes(const softmax_attention_problem& p, const context& ctx) noexcept {
  detail::scratch_layout layout;
  int status = cudaSuccess;
  for (const any_view<1>* v : {&p.q_offsets, &p.k_offsets, &p.k_lengths}) {
    (void)read_back(*v, ctx, layout, status);
  }
  return layout.bytes();
}

detail::violation full_check(const softmax_attention_problem& p, const context& ctx,
                             std::byte* scratch) {
  if (ctx.check != check_level::full || scratch == nullptr) {
    return {};
  }
  detail::scratch_layout layout(scratch);
  int status = cudaSuccess;
  const any_view<1> q_offsets = read_back(p.q_offsets, ctx, layout, status);
  const any_view<1> k_offsets = read_back(p.k_offsets, ctx, layout, status);
  const any_view<1> k_lengths = read_back(p.k_lengths, ctx, layout, status);
  if (status == cudaSuccess) {
    status = cudaStreamSynchronize(static_cast<cudaStream_t>(ctx.cuda_stream));
  }
  if (status != cudaSuccess) {
    return cuda_violation(softmax_attention_problem::operator_name,
                          "reading offsets back (check_level::full)", status);
  }
  detail::contract<check_tag> c{softmax_attention_problem::operator_name};
  if (p.packed) {
    c.offsets("options.varlen.q_offsets", q_offsets, p.q.extents[1], p.max_q, true);
    c.offsets("options.varlen.k_offsets", k_offsets, p.k.extents[1], p.max_k, true);
  }
  if (p.k_lengths.given() && c.holds()) {
    c.lengths(p.packed ? "options.varlen.k_lengths" : "kv.layout.lengths", k_lengths, p.sequences,
              true, [&](std::int64_t b) {
                return p.packed
                           ? detail::index_at(k_offsets, b + 1) - detail::index_at(k_offsets, b)
                           : p.k.extents[1];
              });
  }
  return c.result();
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
