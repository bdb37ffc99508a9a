// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/common/int8_rows.hpp>
#include <seqmix/core/checks.hpp>
#include <seqmix/core/view_of.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class X, class Q, class S>
concept quantised_rows =
    view_of<X, 4> && mutable_view_of<Q, 4> && mutable_view_of<S, 3> &&
    real_scalar<typename X::element_type> && std::same_as<typename Q::element_type, std::int8_t> &&
    std::same_as<typename S::element_type, float>;

template <class Arch, class T>
void quantise_all(const tensor_view<const T, 4>& x, const tensor_view<std::int8_t, 4>& q,
                  const tensor_view<float, 3>& scale) noexcept {
  constexpr std::int64_t most = 1024;
  alignas(64) float row[most];
  const std::int64_t dim = x.extent(3);
  for (std::int64_t b = 0; b < x.extent(0); ++b) {
    for (std::int64_t t = 0; t < x.extent(1); ++t) {
      for (std::int64_t h = 0; h < x.extent(2); ++h) {
        simd::load_row<float, Arch>(&x(b, t, h, 0), x.stride(3), 0, dim, 1.0f, row, dim);
        scale(b, t, h) = int8_block<float, Arch>::write(row, dim, &q(b, t, h, 0), q.stride(3));
      }
    }
  }
}

}  // namespace detail

/// Keys, or values, to int8 with a scale for each token and head: what a `kv_view` of int8 reads.
///
///     scale_bth = max_d |x_bthd| / 127,     q_bthd = x_bthd / scale_bth, to the nearest
///
/// x [B, S, HK, D] of any floating-point type, q the same shape, scale [B, S, HK]; of a pool, pages
/// and rows take the places of B and S. D is 1 to 1024. Any strides. An element is off by at most
/// scale / 2, so that a row is off by at most 0.4 % of its largest magnitude. A row of zeros, or of
/// magnitudes below 2^-119, becomes zeros. A number that is not finite makes its row NaN. Errors:
/// `seqmix::error`, with nothing written. Runs on the host, in one thread.
template <class Arch = simd::default_arch, class X, class Q, class S>
  requires detail::quantised_rows<X, Q, S>
void quantise_rows(const X& x, const Q& q, const S& scale) {
  const auto from = as_tensor_view(x);
  const auto to = as_tensor_view(q);
  const auto scales = as_tensor_view(scale);
  const any_view<4> in(from);
  const any_out<4> out(to);
  const any_out<3> out_scale(scales);
  detail::contract<Arch> c{"quantise_rows"};
  c.tensor("x", in).tensor("q", out).tensor("scale", out_scale);
  c.in_range("x.extent(D)", in.extents[3], 1, 1024);
  c.shape("q", out, in.extents, "[B, S, HK, D]");
  c.shape("scale", out_scale, {in.extents[0], in.extents[1], in.extents[2]}, "[B, S, HK]");
  for (const auto& [argument, memory] : {std::pair{"x", in.memory}, std::pair{"q", out.memory},
                                         std::pair{"scale", out_scale.memory}}) {
    c.require(memory.on_host(), argument, "host memory", "device memory");
  }
  c.no_overlap("q", out, "x", in).no_overlap("scale", out_scale, "x", in);
  c.no_overlap("scale", out_scale, "q", out);
  c.no_self_overlap("q", out).no_self_overlap("scale", out_scale);
  if (const detail::violation broken = c.result()) {
    return detail::report(*broken);
  }
  using T = std::remove_const_t<typename X::element_type>;
  detail::quantise_all<Arch, T>(from, to, scales);
}

SEQMIX_END_NAMESPACE
