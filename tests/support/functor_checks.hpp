// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>
#include <string>
#include <utility>
#include <vector>

#include "any_mask.hpp"
#include "attention_calls.hpp"
#include "catch.hpp"

namespace seqmix_test {

/// Calls the operator with the functor for whatever form the problem has.
template <class T, class... F>
void call(attention_problem& p, const seqmix::context& ctx, const F&... functors) {
  const seqmix::softmax_attention_options options = p.options();
  p.clear_outputs();
  switch (p.c.form) {
    case call_form::batched:
      return seqmix::softmax_attention(p.q.view<T>(), p.k.view<T>(), p.v.view<T>(), p.o.view<T>(),
                                       functors..., options, ctx);
    case call_form::packed:
      return seqmix::softmax_attention(p.q.packed_view<T>(), p.k.packed_view<T>(),
                                       p.v.packed_view<T>(), p.o.packed_view<T>(), functors...,
                                       options, ctx);
    case call_form::paged:
      return seqmix::softmax_attention(p.q.view<T>(),
                                       seqmix::kv_view(p.k_pool.view<T>(), p.v_pool.view<T>(),
                                                       {.lengths = index_view(p.lengths),
                                                        .block_table = index_view(p.block_table)}),
                                       p.o.view<T>(), functors..., options, ctx);
    default:
      return seqmix::softmax_attention(
          p.q.view<T>(),
          seqmix::kv_view(p.k.view<T>(), p.v.view<T>(), {.lengths = index_view(p.lengths)}),
          p.o.view<T>(), functors..., options, ctx);
  }
}

inline attention_case case_of(std::int64_t T, std::int64_t S, call_form form = call_form::batched) {
  return {.B = 2,
          .T = T,
          .S = S,
          .H = 4,
          .HK = 2,
          .D = 16,
          .V = 12,
          .lse = scalar_type::f32,
          .form = form};
}

/// Every algorithm against the oracle with the same functors.
template <class T, class... F>
void check_against_oracle(const attention_case& which, const F&... functors) {
  attention_case c = which;
  c.types = types_of_all<T>();
  attention_problem p(c);
  call<T>(p, {.pin = pin_of(algorithm::naive)}, functors...);
  const std::vector<double> o = p.o.values();
  const std::vector<double> lse = p.lse.values();
  for (const algorithm how : {algorithm::automatic, algorithm::tiled, algorithm::split_kv}) {
    if (!can_run(p, how)) {
      continue;
    }
    call<T>(p, {.pin = pin_of(how)}, functors...);
    CAPTURE(c, name(how));
    CHECK(compare(p.o.values(), o, tolerance_of(c.types.o)) == "");
    CHECK(compare(p.lse.values(), lse, tolerance_of(scalar_type::f32), bound::target, 1.0) == "");
    CHECK(p.o.gaps_untouched());
  }
}

/// Every tile of every small shape: what is said of it must be true of its pairs.
template <class Mask>
void check_classification(const Mask& mask) {
  static_assert(seqmix::block_attention_mask<Mask>);
  std::int64_t wrong = 0;
  std::int64_t decided = 0;
  for (const auto& [queries, keys] :
       {std::pair{9, 9}, std::pair{5, 12}, std::pair{12, 5}, std::pair{1, 14}, std::pair{14, 14}}) {
    for (int q0 = 0; q0 < queries; ++q0) {
      for (int q1 = q0 + 1; q1 <= queries; ++q1) {
        for (int k0 = 0; k0 < keys; ++k0) {
          for (int k1 = k0 + 1; k1 <= keys; ++k1) {
            bool any = false;
            bool all = true;
            for (int i = q0; i < q1; ++i) {
              for (int j = k0; j < k1; ++j) {
                const bool seen = mask({0, 0, i, j, queries, keys});
                any |= seen;
                all &= seen;
              }
            }
            const auto said = mask.classify({0, 0, 1, q0, q1, k0, k1, queries, keys});
            wrong += (said == seqmix::block_visibility::empty && any) ||
                             (said == seqmix::block_visibility::full && !all)
                         ? 1
                         : 0;
            decided += said != seqmix::block_visibility::partial ? 1 : 0;
          }
        }
      }
    }
  }
  CHECK(wrong == 0);
  CHECK(decided > 0);
}

/// Every form and algorithm; each sequence has numbers of its own.
template <class Mask>
void check_in_calls(const Mask& mask) {
  for (const call_form form :
       {call_form::batched, call_form::packed, call_form::cached, call_form::paged}) {
    for (const auto& [T, S] : {std::pair{5, 400}, std::pair{90, 300}, std::pair{60, 20}}) {
      attention_case c = case_of(T, S, form);
      check_against_oracle<float>(c, any_mask(mask));
      c.causal = true;
      c.sinks = 2;
      c.window = {.left = 200};
      check_against_oracle<float>(c, any_mask(mask));
    }
  }
}

/// Who sees whom, one string for each query: the last `queries` of `keys` places.
template <class Mask>
std::vector<std::string> picture(const Mask& mask, std::int64_t queries, std::int64_t keys,
                                 std::int64_t sequence = 0) {
  std::vector<std::string> rows;
  for (std::int64_t i = 0; i < queries; ++i) {
    std::string row;
    for (std::int64_t j = 0; j < keys; ++j) {
      row += mask({sequence, 0, i, j, queries, keys}) ? 'x' : '.';
    }
    rows.push_back(row);
  }
  return rows;
}

}  // namespace seqmix_test
