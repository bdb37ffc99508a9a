// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <seqmix/core/convert.hpp>
#include <seqmix/ops/elementwise_scan/problem.hpp>
#include <vector>

// What the oracles share: element access and the loops around a channel's tokens. Each operator's
// naive.hpp writes its own recurrence, in double.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// What a channel's recurrence sees of one token.
template <class Tag>
struct naive_scan_token {
  const scan_problem& p;
  std::int64_t batch, place, head, channel;

  double in(std::size_t i) const {
    const any_view<5>& x = p.inputs[i];
    double value = 0;
    with_real_elements(x.data, x.type, [&](const auto* data) {
      value = widen<double>(
          data[scan_row_at(x, p.inner_tokens(), batch, place, head) + channel * x.strides[4]]);
    });
    return value;
  }
  /// Entry [channel, n, part] of what does not change over time.
  double parameter(std::size_t i, std::int64_t n = 0, std::int64_t part = 0) const {
    const any_view<3>& x = p.parameters[i];
    double value = 0;
    with_real_elements(x.data, x.type, [&](const auto* data) {
      value = widen<double>(data[channel * x.strides[0] + n * x.strides[1] + part * x.strides[2]]);
    });
    return value;
  }
  void out(double value, std::size_t i = 0) const {
    const any_out<5>& o = p.outputs[i];
    with_real_elements(o.data, o.type, [&]<class T>(T* data) {
      T& element =
          data[scan_row_at(o, p.inner_tokens(), batch, place, head) + channel * o.strides[4]];
      element = narrow<T>(p.accumulate ? widen<double>(element) + value : value);
    });
  }
};

/// Calls `step(h, token)` for every token of every channel in order; h are the numbers of the
/// channel's state, those of `neutral` without an initial state.
template <class Tag, class Step>
void naive_scan(const scan_problem& p, const std::vector<double>& neutral, Step&& step) {
  for (std::int64_t n = 0; n < p.sequences; ++n) {
    const sequence_place s = sequence_at(p, n);
    for (std::int64_t i = 0; !s.skipped() && i < p.heads(); ++i) {
      // Backwards: what the channels of a head share is still to be read until the first is done.
      for (std::int64_t d = p.channels(); d-- > 0;) {
        std::vector<double> h = neutral;
        for (std::int64_t k = 0; p.initial_state.given() && k < p.state_numbers; ++k) {
          const any_view<3>& x = p.initial_state;
          with_real_elements(x.data, x.type, [&](const auto* data) {
            h[static_cast<std::size_t>(k)] = widen<double>(
                data[s.initial * x.strides[0] + scan_state_at(p, x.strides, i, d, k)]);
          });
        }
        for (std::int64_t t = 0; t < s.tokens; ++t) {
          step(h, naive_scan_token<Tag>{p, s.batch, s.place(t), i, d});
        }
        for (std::int64_t k = 0; p.final_state.given() && k < p.state_numbers; ++k) {
          const any_out<3>& x = p.final_state;
          const bool shared = p.head_states && k + 1 < p.state_numbers;
          if (!shared || d == 0) {
            with_real_elements(x.data, x.type, [&]<class T>(T* data) {
              data[s.final * x.strides[0] + scan_state_at(p, x.strides, i, d, k)] =
                  narrow<T>(h[static_cast<std::size_t>(k)]);
            });
          }
        }
      }
    }
  }
}

/// The decayed state: what a factor of zero multiplies is over, whatever it is.
template <class Tag>
double naive_scan_kept(double decay, double h) {
  return decay == 0 ? 0 : decay * h;
}

}  // namespace detail

SEQMIX_END_NAMESPACE
