// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "attention_problem.hpp"

namespace seqmix_test {

template <std::size_t Rank>
void copy_rows(const tensor<Rank>& from, tensor<Rank>& to, std::int64_t from_batch,
               std::int64_t from_row, std::int64_t to_batch, std::int64_t to_row,
               std::int64_t rows) {
  for (std::int64_t t = 0; t < rows; ++t) {
    for (std::int64_t h = 0; h < to.extent(2); ++h) {
      for (std::int64_t x = 0; x < to.extent(3); ++x) {
        to.set({to_batch, to_row + t, h, x}, from[{from_batch, from_row + t, h, x}]);
      }
    }
  }
}

/// Sequence `s` of `p` as a call of its own, on tensors of this layout.
inline attention_problem alone(const attention_problem& p, const sequence_place& s,
                               layout kind = layout::dense) {
  attention_case c = p.c;
  c.B = 1;
  c.T = s.queries;
  c.S = s.keys;
  c.form = call_form::batched;
  c.q = c.k = c.v = c.o = kind;
  attention_problem one(c);
  copy_rows(p.q, one.q, s.batch, s.q_begin, 0, 0, s.queries);
  copy_rows(p.k, one.k, s.batch, s.k_begin, 0, 0, s.keys);
  copy_rows(p.v, one.v, s.batch, s.k_begin, 0, 0, s.keys);
  if (c.between != alibi_between::rows) {
    const auto copy = [&](const tensor<2>& from, tensor<2>& to, std::int64_t begin,
                          std::int64_t rows) {
      for (std::int64_t i = 0; i < rows; ++i) {
        to.set({0, i}, from[{from.extent(0) == 1 ? 0 : s.batch, begin + i}]);
      }
    };
    copy(p.alibi_query, one.alibi_query, s.q_begin, s.queries);
    copy(p.alibi_key, one.alibi_key, s.k_begin, s.keys);
  }
  return one;
}

/// The sequences that offsets describe.
inline std::vector<sequence_place> places(const std::vector<std::int64_t>& q_starts,
                                          const std::vector<std::int64_t>& k_starts) {
  std::vector<sequence_place> all;
  for (std::size_t i = 0; i + 1 < q_starts.size(); ++i) {
    all.push_back({0, q_starts[i], q_starts[i + 1] - q_starts[i], k_starts[i],
                   k_starts[i + 1] - k_starts[i]});
  }
  return all;
}

/// A packed problem with these offsets for queries and keys, and no other rows.
inline attention_problem packed_problem(attention_case c, const std::vector<std::int64_t>& q_starts,
                                        const std::vector<std::int64_t>& k_starts) {
  c.B = 1;
  c.T = q_starts.back();
  c.S = k_starts.back();
  c.form = call_form::packed;
  c.seed = 2;  // no lengths
  attention_problem p(c);
  p.q = tensor<4>(c.types.q, {1, c.T, c.H, c.D}, c.q);
  p.k = tensor<4>(c.types.k, {1, c.S, c.HK, c.D}, c.k);
  p.v = tensor<4>(c.types.v, {1, c.S, c.HK, c.V}, c.v);
  p.o = tensor<4>(c.types.o, {1, c.T, c.H, c.V}, c.o);
  p.lse = tensor<3>(c.lse, {1, c.H, c.T});
  p.q.fill(11);
  p.k.fill(12);
  p.v.fill(13);
  p.q_offsets = index_tensor(q_starts, true);
  p.k_offsets = index_tensor(k_starts, false);
  p.lengths = {};
  p.sequences = places(q_starts, k_starts);
  if (c.between != alibi_between::rows) {
    p.make_indexes(1, c.T, c.S);
  }
  return p;
}

}  // namespace seqmix_test
