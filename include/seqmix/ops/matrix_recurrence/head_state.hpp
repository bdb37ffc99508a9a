// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/tokens.hpp>

// The state of one head between the caller's tensors and the tiles of the recurrence.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Some values of a head's state as the recurrence has it: [key_dim][columns], of whole registers,
/// from the values' `first` on.
template <class C>
struct tile_of_state {
  C* data;
  std::int64_t first;
  std::int64_t columns;
};

/// A head's state in a tensor, or zeros without one. Values past the last are zeros.
template <class C, class Arch>
void load_state(const matrix_recurrence_problem& p, const any_view<4>& x, std::int64_t entry,
                std::int64_t hv, const tile_of_state<C>& tile) noexcept {
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  if (!x.given()) {
    for (std::int64_t i = 0; i < p.key_dim() * tile.columns; ++i) {
      tile.data[i] = C(0);
    }
    return;
  }
  const std::int64_t at = entry * x.strides[0] + hv * x.strides[1];
  with_real_elements(x.data, x.type, [&](const auto* data) __attribute__((always_inline)) {
    const bool whole = x.strides[3] == 1 && tile.first + tile.columns <= p.value_dim();
    for (std::int64_t d = 0; d < p.key_dim(); ++d) {
      const auto* row = data + at + d * x.strides[2];
      C* out = tile.data + d * tile.columns;
      for (std::int64_t i = 0; whole && i < tile.columns; i += w) {
        simd::load<C, Arch>(row + tile.first + i).store_aligned(out + i);
      }
      for (std::int64_t i = 0; !whole && i < tile.columns; i += w) {
        simd::load_strided<C, Arch>(row, x.strides[3], tile.first + i, p.value_dim())
            .store_aligned(out + i);
      }
    }
  });
}

/// What the decays that a tile has not seen yet make of it: a factor for row d.
template <class C>
struct pending_decay {
  const C* factors = nullptr;  // none: 1
  bool per_key = false;

  SEQMIX_ALWAYS_INLINE C operator[](std::int64_t d) const noexcept {
    return factors == nullptr ? C(1) : factors[per_key ? d : 0];
  }
};

template <class C, class Arch>
void store_state(const matrix_recurrence_problem& p, const any_out<4>& x, std::int64_t entry,
                 std::int64_t hv, const tile_of_state<C>& tile,
                 const pending_decay<C>& decay) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr std::int64_t w = simd::lanes<C, Arch>;
  const std::int64_t at = entry * x.strides[0] + hv * x.strides[1];
  with_real_elements(x.data, x.type, [&](auto* out) __attribute__((always_inline)) {
    const bool whole = x.strides[3] == 1 && tile.first + tile.columns <= p.value_dim();
    for (std::int64_t d = 0; d < p.key_dim(); ++d) {
      const V factor(decay[d]);
      auto* row = out + at + d * x.strides[2];
      const C* from = tile.data + d * tile.columns;
      for (std::int64_t i = 0; whole && i < tile.columns; i += w) {
        simd::store<C, Arch>(V::load_aligned(from + i) * factor, row + tile.first + i);
      }
      for (std::int64_t i = 0; !whole && i < tile.columns; i += w) {
        simd::store_strided<C, Arch>(V::load_aligned(from + i) * factor, row, x.strides[3],
                                     tile.first + i, p.value_dim());
      }
    }
  });
}

/// The same as `store_state` within scratch.
template <class C, class Arch>
void settle_state(std::int64_t keys, const tile_of_state<C>& tile, const pending_decay<C>& decay,
                  C* out) noexcept {
  using V = simd::vec<C, Arch>;
  for (std::int64_t d = 0; d < keys; ++d) {
    const V factor(decay[d]);
    for (std::int64_t i = d * tile.columns; i < (d + 1) * tile.columns; i += simd::lanes<C, Arch>) {
      (V::load_aligned(tile.data + i) * factor).store_aligned(out + i);
    }
  }
}

/// The states of one sequence.
template <class Arch>
any_out<4> entries_of(const any_out<5>& x, std::int64_t sequence) noexcept {
  any_out<4> entries;
  entries.data = static_cast<std::byte*>(x.data) +
                 sequence * x.strides[0] * static_cast<std::int64_t>(size_of(x.type));
  entries.type = x.type;
  for (std::size_t a = 0; a < 4; ++a) {
    entries.extents[a] = x.extents[a + 1];
    entries.strides[a] = x.strides[a + 1];
  }
  return entries;
}

template <class C, class Arch>
void load_normaliser(const matrix_recurrence_problem& p, const recurrence_sequence& s,
                     std::int64_t hv, const token_rows<C, Arch>& rows) noexcept {
  for (std::int64_t d = 0; d < rows.keys; ++d) {
    rows.z[d] = C(0);
  }
  const any_view<3>& x = p.initial_normaliser;
  if (x.given()) {
    with_real_elements(x.data, x.type, [&](const auto* data) {
      for (std::int64_t d = 0; d < p.key_dim(); ++d) {
        rows.z[d] = widen<C>(data[s.index * x.strides[0] + hv * x.strides[1] + d * x.strides[2]]);
      }
    });
  }
}

template <class C, class Arch>
void store_normaliser(const matrix_recurrence_problem& p, const recurrence_sequence& s,
                      std::int64_t hv, const token_rows<C, Arch>& rows) noexcept {
  const any_out<3>& x = p.final_normaliser;
  with_real_elements(x.data, x.type, [&]<class T>(T* data) {
    for (std::int64_t d = 0; d < p.key_dim(); ++d) {
      data[s.index * x.strides[0] + hv * x.strides[1] + d * x.strides[2]] = narrow<T>(rows.z[d]);
    }
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
