// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/common/int8_rows.hpp>
#include <seqmix/ops/selective_scan/naive.hpp>
#include <seqmix/ops/selective_state_update/problem.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// A block of a state of int8, written from its numbers.
template <class Tag>
void naive_quantise(const double* h, std::int64_t count, std::int8_t* q, std::int64_t step,
                    float& scale) {
  double largest = 0;
  bool finite = true;
  for (std::int64_t n = 0; n < count; ++n) {
    finite = finite && std::isfinite(h[n]);
    largest = std::fmax(largest, std::fabs(h[n]));
  }
  const double factor = largest < least_block ? 0 : 127 / largest;
  scale = finite ? static_cast<float>(factor == 0 ? 0 : largest / 127) : std::nanf("");
  for (std::int64_t n = 0; n < count; ++n) {
    q[n * step] = finite ? static_cast<std::int8_t>(std::nearbyint(h[n] * factor)) : std::int8_t{0};
  }
}

/// `selective_scan` in double from the state of a channel to itself.
template <class Tag>
void naive_update_channel(const selective_state_update_problem& p, sequence_place s,
                          std::int64_t d) {
  const std::int64_t N = p.scan.state_size();
  const std::int64_t block = p.quantised() ? p.block() : N;
  const std::int64_t step = p.state.strides[2];
  const std::int64_t first = s.initial * p.state.strides[0] + d * p.state.strides[1];
  auto* bytes = static_cast<std::int8_t*>(p.state.data) + (p.quantised() ? first : 0);
  const auto scale = [&](std::int64_t n) -> float& {
    const auto& at = p.scale.strides;
    return static_cast<float*>(p.scale.data)[s.initial * at[0] + d * at[1] + n / block * at[2]];
  };
  double h[largest_scan_state] = {};
  for (std::int64_t n = 0; n < N; ++n) {
    if (p.quantised()) {
      h[n] = static_cast<double>(bytes[n * step]) * static_cast<double>(scale(n));
    } else {
      with_real_elements(static_cast<const void*>(p.state.data), p.state.type,
                         [&](const auto* data) { h[n] = widen<double>(data[first + n * step]); });
    }
  }
  // This channel's numbers stand for those of all.
  selective_scan_problem one = p.scan;
  one.final_state = any_out<4>(tensor_view<double, 4>(
      h, {std::int64_t{1}, p.scan.channels(), N, std::int64_t{1}}, {0, 0, 1, 0}));
  one.initial_state = any_view<4>(tensor_view<const double, 4>(
      h, {std::int64_t{1}, p.scan.channels(), N, std::int64_t{1}}, {0, 0, 1, 0}));
  naive_scan_channel<Tag>(one, s, d);
  for (std::int64_t n = 0; n < N; ++n) {
    if (!p.quantised()) {
      with_real_elements(p.state.data, p.state.type,
                         [&]<class T>(T* data) { data[first + n * step] = narrow<T>(h[n]); });
    } else if (n % block == 0) {
      naive_quantise<Tag>(h + n, block, bytes + n * step, step, scale(n));
    }
  }
}

template <class Tag>
void naive_selective_state_update(const selective_state_update_problem& p) {
  for (std::int64_t b = 0; b < p.scan.sequences; ++b) {
    const sequence_place s = sequence_at(p.scan, b);
    for (std::int64_t d = 0; d < p.scan.channels() && !s.skipped(); ++d) {
      naive_update_channel<Tag>(p, s, d);
    }
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
