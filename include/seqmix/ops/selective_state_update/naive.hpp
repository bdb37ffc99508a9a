// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/selective_scan/naive.hpp>
#include <seqmix/ops/selective_state_update/problem.hpp>
#include <vector>

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

/// `selective_scan` in double from each state to itself.
template <class Tag>
void naive_selective_state_update(const selective_state_update_problem& p) {
  const std::int64_t D = p.scan.channels();
  const std::int64_t N = p.scan.state_size();
  std::vector<double> h(static_cast<std::size_t>(D * N));
  for (std::int64_t b = 0; b < p.scan.sequences; ++b) {
    sequence_place s = sequence_at(p.scan, b);
    if (s.skipped()) {
      continue;
    }
    const auto& at = p.state.strides;
    const std::int64_t first = s.initial * at[0];
    const std::int64_t first_scale = s.initial * p.scale.strides[0];
    const auto each = [&](auto&& f) {
      for (std::int64_t i = 0; i < D * N; ++i) {
        f(h[static_cast<std::size_t>(i)], first + i / N * at[1] + i % N * at[2], i);
      }
    };
    const std::int64_t block = p.quantised() ? p.block() : N;
    const auto scale = [&](std::int64_t i) -> float& {
      const auto& to = p.scale.strides;
      return static_cast<float*>(p.scale.data)[first_scale + i / N * to[1] + i % N / block * to[2]];
    };
    auto* bytes = static_cast<std::int8_t*>(p.state.data);
    each([&](double& x, std::int64_t from, std::int64_t i) {
      if (p.quantised()) {
        x = static_cast<double>(bytes[from]) * static_cast<double>(scale(i));
      } else {
        with_real_elements(static_cast<const void*>(p.state.data), p.state.type,
                           [&](const auto* data) { x = widen<double>(data[from]); });
      }
    });
    selective_scan_problem one = p.scan;
    one.initial_state = with_parts_axis<any_view<4>>(any_view<3>(view(h.data(), 1, D, N)));
    one.final_state = with_parts_axis<any_out<4>>(any_out<3>(view(h.data(), 1, D, N)));
    s.initial = s.final = 0;
    for (std::int64_t d = 0; d < D; ++d) {
      naive_scan_channel<Tag>(one, s, d);
    }
    each([&](double& x, std::int64_t to, std::int64_t i) {
      if (!p.quantised()) {
        with_real_elements(p.state.data, p.state.type,
                           [&]<class T>(T* data) { data[to] = narrow<T>(x); });
      } else if (i % block == 0) {
        naive_quantise<Tag>(&x, block, bytes + to, at[2], scale(i));
      }
    });
  }
}

}  // namespace detail

SEQMIX_END_NAMESPACE
