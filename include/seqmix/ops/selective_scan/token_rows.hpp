// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/selective_scan/tokens.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// What a scan has of a block of tokens beside B and C, a row of `scan_channels` for each.
template <class C, class Arch>
struct scan_token_rows {
  using V = simd::vec<C, Arch>;
  static constexpr std::int64_t lanes = simd::lanes<C, Arch>;

  C* dt = nullptr;    // delta, and then the step; the gate, once that is used
  C* w = nullptr;     // u, and then dt u
  C* y = nullptr;     // D u, and then the output
  C* bias = nullptr;  // one row, as D
  C* skip = nullptr;  // D

  scan_token_rows() = default;
  scan_token_rows(scratch_layout& layout, std::int64_t block) noexcept
      : dt(layout.take<C>(block * scan_channels)),
        w(layout.take<C>(block * scan_channels)),
        y(layout.take<C>(block * scan_channels)),
        bias(layout.take<C>(scan_channels)),
        skip(layout.take<C>(scan_channels)) {}

  void load_vectors(const selective_scan_problem& p, std::int64_t channel,
                    std::int64_t channels) const noexcept {
    load_channels<C, Arch>(p.bias, channel, channels, bias);
    load_channels<C, Arch>(p.D, channel, channels, skip);
  }

  void load(const selective_scan_problem& p, const scan_window& window) const noexcept {
    load_window<C, Arch>(p.delta, window, dt);
    load_window<C, Arch>(p.u, window, w);
  }

  /// dt, dt u and D u of the register of channels from c on; which range has the exponents of rates
  /// up to `most`.
  decay_range prepare(const selective_scan_problem& p, std::int64_t c, std::int64_t tokens,
                      V most) const noexcept {
    const V add = V::load_aligned(bias + c);
    const V factor = V::load_aligned(skip + c);
    typename V::batch_bool_type near(true);
    typename V::batch_bool_type normal(true);
    for (std::int64_t t = 0; t < tokens; ++t) {
      const std::int64_t at = t * scan_channels + c;
      V step = V::load_aligned(dt + at) + add;
      if (p.softplus) {
        step = scan_softplus<C, Arch>(step);
      }
      const V u = V::load_aligned(w + at);
      step.store_aligned(dt + at);
      (step * u).store_aligned(w + at);
      (p.D.given() ? factor * u : V(C(0))).store_aligned(y + at);
      const V largest = xsimd::abs(step) * most;
      near = near && largest < V(C(0.49));
      normal = normal && largest < V(C(126));
    }
    return xsimd::all(near)     ? decay_range::near
           : xsimd::all(normal) ? decay_range::normal
                                : decay_range::any;
  }

  /// Adds what y holds, gates the outputs and writes them.
  void finish(const selective_scan_problem& p, const scan_window& window) const noexcept {
    if (p.accumulate) {
      over_outputs(p.y, window, [](V out, V held) { return out + held; });
    }
    if (p.z.given()) {
      over_outputs(p.z, window, [](V out, V z) { return out * (z * simd::logistic<C, Arch>(z)); });
    }
    store_window<C, Arch>(p.y, window, y);
  }

 private:
  /// Outputs become f(output, x).
  template <class View, class F>
  void over_outputs(const View& x, const scan_window& window, F&& f) const noexcept {
    load_window<C, Arch>(x, window, dt);
    for (std::int64_t t = 0; t < window.tokens; ++t) {
      for (std::int64_t c = 0; c < window.channels; c += lanes) {
        C* out = y + t * scan_channels + c;
        f(V::load_aligned(out), V::load_aligned(dt + t * scan_channels + c)).store_aligned(out);
      }
    }
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
