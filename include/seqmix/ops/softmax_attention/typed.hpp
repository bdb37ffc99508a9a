// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/convert.hpp>
#include <seqmix/ops/softmax_attention/problem.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The tensors of a problem with their element types back.
template <class TQ, class TK, class TV, class TO>
struct typed_attention {
  tensor_view<const TQ, 4> q;
  tensor_view<const TK, 4> k;
  tensor_view<const TV, 4> v;
  tensor_view<TO, 4> o;
  tensor_view<const float, 3> k_scale;  // of int8 keys
  tensor_view<const float, 3> v_scale;

  SEQMIX_ALWAYS_INLINE explicit typed_attention(const softmax_attention_problem& p) noexcept
      : q(restore<const TQ>(p.q)),
        k(restore<const TK>(p.k)),
        v(restore<const TV>(p.v)),
        o(restore<TO>(p.o)),
        k_scale(restore<const float>(p.k_scale)),
        v_scale(restore<const float>(p.v_scale)) {}
};

/// Whether elements are integers with scales beside them.
template <class T>
inline constexpr bool is_quantised = std::is_same_v<T, std::int8_t>;

}  // namespace detail

SEQMIX_END_NAMESPACE
