// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/common/int8_rows.hpp>

// States of some channels where they lie, as a step of one token reads and writes them: load(i, n)
// and store(i, n, x) of a register of channel i.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Rows of a type that registers are converted to and from.
template <class C, class Arch, class T>
struct stored_states {
  using V = simd::vec<C, Arch>;

  T* data;
  std::int64_t step;

  SEQMIX_ALWAYS_INLINE stored_states from(std::int64_t i) const noexcept {
    return {data + i * step, step};
  }
  SEQMIX_ALWAYS_INLINE V load(std::int64_t i, std::int64_t n) const noexcept {
    return simd::load<C, Arch>(data + i * step + n);
  }
  SEQMIX_ALWAYS_INLINE void store(std::int64_t i, std::int64_t n, V x) const noexcept {
    simd::store<C, Arch>(x, data + i * step + n);
  }
};

/// A block of `Ways` channels of int8. The new numbers go to rows of floats, as the block's scale
/// is not known before the last of them.
template <int Ways, class Arch>
struct int8_states {
  using V = simd::vec<float, Arch>;

  const std::int8_t* q;
  std::int64_t q_step;
  float* h;
  std::int64_t h_step;
  V scale[Ways];
  V most[Ways];

  SEQMIX_ALWAYS_INLINE V load(std::int64_t i, std::int64_t n) const noexcept {
    return simd::load_bytes<Arch>(q + i * q_step + n) * scale[i];
  }
  SEQMIX_ALWAYS_INLINE void store(std::int64_t i, std::int64_t n, V x) noexcept {
    x.store_aligned(h + i * h_step + n);
    most[i] = simd::larger_magnitude<float, Arch>(most[i], xsimd::abs(x));
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
