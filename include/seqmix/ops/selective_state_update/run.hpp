// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/selective_scan/token_rows.hpp>
#include <seqmix/ops/selective_state_update/problem.hpp>
#include <seqmix/ops/selective_state_update/states.hpp>
#include <seqmix/ops/selective_state_update/step.hpp>
#include <seqmix/simd/dot.hpp>

// A few tokens are bound by the traffic of the states, which is not to be transposed on its way:
// here a register holds numbers of one channel's state, and a scan's register one of each channel.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Rows of one worker.
template <class C, class Arch>
struct state_update_rows {
  using V = simd::vec<C, Arch>;
  static constexpr std::int64_t block = 8;  // tokens

  std::int64_t width;  // N in whole registers
  scan_token_rows<C, Arch> tokens;
  C* a;  // [channels][width], where A is not read where it lies
  C* h;  // likewise the state
  C* b;  // [block][width], or [channels][width] where each channel has its own
  C* c;
  C* most;  // [blocks][lanes][lanes], of int8
  std::size_t bytes;

  state_update_rows(std::byte* base, const selective_state_update_problem& p) noexcept {
    constexpr std::int64_t lanes = simd::lanes<C, Arch>;
    scratch_layout layout(base);
    width = (p.scan.state_size() + lanes - 1) / lanes * lanes;
    tokens = scan_token_rows<C, Arch>(layout, block);
    a = layout.take<C>(scan_channels * width);
    h = layout.take<C>(scan_channels * width);
    b = layout.take<C>((p.scan.own_B ? scan_channels : block) * width);
    c = layout.take<C>((p.scan.own_C ? scan_channels : block) * width);
    most = layout.take<C>(p.quantised() ? p.scale.extents[2] * lanes * lanes : 0);
    bytes = layout.bytes();
  }
};

/// A matrix of rows in memory or in scratch.
template <class C>
struct row_matrix {
  C* data;
  std::int64_t step;
};

/// Some channels of some sequences through their tokens.
template <class C, class Arch>
class state_update_run {
 public:
  using V = simd::vec<C, Arch>;
  static constexpr std::int64_t lanes = simd::lanes<C, Arch>;
  static constexpr int ways = simd::register_count<Arch> >= 32 ? 4 : 2;

  state_update_run(const selective_state_update_problem& problem,
                   const state_update_rows<C, Arch>& worker_rows, std::int64_t of_group,
                   std::int64_t first_channel, std::int64_t channel_count) noexcept
      : p(problem),
        rows(worker_rows),
        group(of_group),
        channel(first_channel),
        channels(channel_count) {
    rows.tokens.load_vectors(p.scan, channel, channels);
    a = rates();
  }

  void run(const sequence_place& s) const noexcept {
    const any_out<3>& x = p.state;
    const auto stored = [&]<class T>(T* data) __attribute__((always_inline)) {
      run_tokens(s, stored_states<C, Arch, T>{data + place(s, 0), x.strides[1]});
    };
    if (whole_rows(x.strides[2]) && x.type == scalar_type_of<C>) {
      return stored(static_cast<C*>(x.data));
    }
    if constexpr (std::is_same_v<C, float>) {
      if (whole_rows(x.strides[2]) && s.tokens == 1) {
        if (x.type == scalar_type::bf16) {
          return stored(static_cast<bf16*>(x.data));
        }
        if (x.type == scalar_type::f16) {
          return stored(static_cast<f16*>(x.data));
        }
        if (p.quantised() && p.block() % lanes == 0) {
          return run_token_of_int8(s);
        }
      }
    }
    load_state(s);
    run_tokens(s, stored_states<C, Arch, C>{rows.h, rows.width});
    store_state(s);
  }

 private:
  const selective_state_update_problem& p;
  const state_update_rows<C, Arch>& rows;
  std::int64_t group;
  std::int64_t channel;
  std::int64_t channels;
  row_matrix<const C> a;

  /// Whether rows of N numbers can be used where they lie, of a type that is converted on the way.
  bool whole_rows(std::int64_t stride) const noexcept {
    return stride == 1 && p.scan.state_size() == rows.width;
  }

  std::int64_t place(const sequence_place& s, std::int64_t i) const noexcept {
    return s.initial * p.state.strides[0] + (channel + i) * p.state.strides[1];
  }

  row_matrix<const C> rates() const noexcept {
    const any_view<3>& x = p.scan.A;
    if (x.type == scalar_type_of<C> && whole_rows(x.strides[1])) {
      return {static_cast<const C*>(x.data) + channel * x.strides[0], x.strides[0]};
    }
    with_real_elements(x.data, x.type, [&](const auto* data) {
      for (std::int64_t d = 0; d < channels; ++d) {
        simd::load_row<C, Arch>(data + (channel + d) * x.strides[0], x.strides[1], 0,
                                p.scan.state_size(), C(1), rows.a + d * rows.width, rows.width);
      }
    });
    return {rows.a, rows.width};
  }

  /// B or C: a row for each token, or for each channel.
  row_matrix<const C> projection(const any_view<5>& x, bool own, const scan_window& w,
                                 C* out) const noexcept {
    const std::int64_t first =
        own ? channel * x.strides[2]
            : w.batch * x.strides[0] + w.place * x.strides[1] + group * x.strides[2];
    const std::int64_t step = own ? x.strides[2] : x.strides[1];
    if (x.type == scalar_type_of<C> && whole_rows(x.strides[3])) {
      return {static_cast<const C*>(x.data) + first, step};
    }
    with_real_elements(x.data, x.type, [&](const auto* data) {
      for (std::int64_t i = 0; i < (own ? channels : w.tokens); ++i) {
        simd::load_row<C, Arch>(data + first + i * step, x.strides[3], 0, p.scan.state_size(), C(1),
                                out + i * rows.width, rows.width);
      }
    });
    return {out, rows.width};
  }

  /// The steps in the units of 2^x.
  void prepare(const scan_window& window) const noexcept {
    rows.tokens.load(p.scan, window);
    for (std::int64_t d = 0; d < channels; d += lanes) {
      rows.tokens.prepare(p.scan, d, window.tokens, V(C(0)));
      for (std::int64_t t = 0; t < window.tokens; ++t) {
        C* dt = rows.tokens.dt + t * scan_channels + d;
        (V::load_aligned(dt) * V(C(1.4426950408889634))).store_aligned(dt);
      }
    }
  }

  /// The states as rows of C, zeros behind the last number.
  void load_state(const sequence_place& s) const noexcept {
    const any_out<3>& x = p.state;
    const std::int64_t N = p.scan.state_size();
    if (p.quantised()) {
      for_each_block(s, [&](std::int8_t* q, float& scale, C* h, std::int64_t block) {
        int8_block<C, Arch>::read(q, x.strides[2], block, static_cast<C>(scale), h);
      });
      for (std::int64_t i = 0; i < channels; ++i) {
        for (std::int64_t n = N; n < rows.width; ++n) {
          rows.h[i * rows.width + n] = C(0);
        }
      }
      return;
    }
    with_real_elements(static_cast<const void*>(x.data), x.type, [&](const auto* data) {
      for (std::int64_t i = 0; i < channels; ++i) {
        simd::load_row<C, Arch>(data + place(s, i), x.strides[2], 0, N, C(1),
                                rows.h + i * rows.width, rows.width);
      }
    });
  }

  void store_state(const sequence_place& s) const noexcept {
    const any_out<3>& x = p.state;
    if (p.quantised()) {
      for_each_block(s, [&](std::int8_t* q, float& scale, const C* h, std::int64_t block) {
        scale = int8_block<C, Arch>::write(h, block, q, x.strides[2]);
      });
      return;
    }
    with_real_elements(x.data, x.type, [&](auto* data) {
      for (std::int64_t i = 0; i < channels; ++i) {
        simd::store_row<C, Arch>(rows.h + i * rows.width, C(1), data + place(s, i), x.strides[2], 0,
                                 p.scan.state_size(), rows.width);
      }
    });
  }

  template <class F>
  void for_each_block(const sequence_place& s, F&& f) const noexcept {
    auto* q = static_cast<std::int8_t*>(p.state.data);
    const std::int64_t block = p.block();
    for (std::int64_t i = 0; i < channels; ++i) {
      for (std::int64_t k = 0; k < p.scale.extents[2]; ++k) {
        f(q + place(s, i) + k * block * p.state.strides[2], *scale_of(s, i, k),
          rows.h + i * rows.width + k * block, block);
      }
    }
  }

  float* scale_of(const sequence_place& s, std::int64_t i, std::int64_t k) const noexcept {
    const auto& at = p.scale.strides;
    return static_cast<float*>(p.scale.data) + s.initial * at[0] + (channel + i) * at[1] +
           k * at[2];
  }

  /// All tokens, in blocks; the states are from one to the next where `states` says.
  template <class States>
  void run_tokens(const sequence_place& s, const States& states) const noexcept {
    constexpr std::int64_t block = state_update_rows<C, Arch>::block;
    for (std::int64_t first = 0; first < s.tokens; first += block) {
      const std::int64_t rest = s.tokens - first;
      run_window(
          {s.batch, first, 1, rest < block ? rest : block, channel, channels},
          [&](const auto& x, std::int64_t d, std::int64_t count, V* sums)
              __attribute__((always_inline)) { step_group(x, states.from(d), count, sums); });
    }
  }

  /// Calls step(rows of channels from d on, d, count, sums), by `lanes` channels, for each token.
  template <class F>
  SEQMIX_ALWAYS_INLINE void run_window(const scan_window& window, F&& step) const noexcept {
    prepare(window);
    const row_matrix<const C> b = projection(p.scan.B, p.scan.own_B, window, rows.b);
    const row_matrix<const C> c = projection(p.scan.C, p.scan.own_C, window, rows.c);
    for (std::int64_t d = 0; d < channels; d += lanes) {
      const std::int64_t count = channels - d < lanes ? channels - d : lanes;
      for (std::int64_t t = 0; t < window.tokens; ++t) {
        const std::int64_t at = t * scan_channels;
        // Those of all channels are one row, as often as needed.
        const step_rows<C> all{a.data,
                               a.step,
                               b.data + (p.scan.own_B ? 0 : t * b.step),
                               p.scan.own_B ? b.step : 0,
                               c.data + (p.scan.own_C ? 0 : t * c.step),
                               p.scan.own_C ? c.step : 0,
                               rows.tokens.dt + at,
                               rows.tokens.w + at};
        V sums[lanes];
        step(all.from(d), d, count, sums);
        for (std::int64_t i = count; i < lanes; ++i) {
          sums[i] = V(C(0));
        }
        C* y = rows.tokens.y + at + d;
        (V::load_aligned(y) + simd::detail::sum_each<C, Arch>(sums)).store_aligned(y);
      }
    }
    rows.tokens.finish(p.scan, window);
  }

  /// Calls f(ways, shared, registers) with constants. Rows of 16 numbers are what most models have.
  template <class F>
  SEQMIX_ALWAYS_INLINE void with_shape(const step_rows<C>& x, std::int64_t numbers,
                                       std::int64_t count, F&& f) const noexcept {
    constexpr auto usual = 16 / static_cast<int>(lanes);
    const auto each = [&](auto shared, auto registers) __attribute__((always_inline)) {
      std::int64_t i = 0;
      for (; i + ways <= count; i += ways) {
        f(i, std::integral_constant<int, ways>{}, shared, registers);
      }
      for (; i < count; ++i) {
        f(i, std::integral_constant<int, 1>{}, shared, std::integral_constant<int, 0>{});
      }
    };
    if (x.b_step != 0 || x.c_step != 0) {
      each(std::false_type{}, std::integral_constant<int, 0>{});
    } else if (numbers == usual * lanes) {
      each(std::true_type{}, std::integral_constant<int, usual>{});
    } else {
      each(std::true_type{}, std::integral_constant<int, 0>{});
    }
  }

  template <class States>
  SEQMIX_ALWAYS_INLINE void step_group(const step_rows<C>& x, const States& states,
                                       std::int64_t count, V* sums) const noexcept {
    with_shape(
        x, rows.width, count,
        [&](std::int64_t i, auto n, auto shared, auto registers) __attribute__((always_inline)) {
          V sum[n];
          simd::unroll<n>([&](auto k) __attribute__((always_inline)) { sum[k] = V(C(0)); });
          step_channels<n, shared, registers, C, Arch>(x.from(i), states.from(i), 0, rows.width,
                                                       sum);
          simd::unroll<n>([&](auto k) __attribute__((always_inline)) { sums[i + k] = sum[k]; });
        });
  }

  void run_token_of_int8(const sequence_place& s) const noexcept {
    run_window({s.batch, 0, 1, 1, channel, channels},
               [&](const auto& x, std::int64_t d, std::int64_t count, V* sums)
                   __attribute__((always_inline)) { step_int8_group(s, x, d, count, sums); });
  }

  /// The blocks' largest numbers are found for a register of channels at a time, and then the new
  /// numbers, which lie in the first cache, are rounded.
  SEQMIX_ALWAYS_INLINE void step_int8_group(const sequence_place& s, const step_rows<C>& x,
                                            std::int64_t d, std::int64_t count,
                                            V* sums) const noexcept {
    const std::int64_t block = p.block();
    const std::int64_t blocks = p.scale.extents[2];
    auto* q = static_cast<std::int8_t*>(p.state.data) + place(s, d);
    with_shape(
        x, block, count,
        [&](std::int64_t i, auto n, auto shared, auto registers) __attribute__((always_inline)) {
          V sum[n];
          simd::unroll<n>([&](auto j) __attribute__((always_inline)) { sum[j] = V(C(0)); });
          for (std::int64_t k = 0; k < blocks; ++k) {
            int8_states<n, Arch> states{q + i * p.state.strides[1],
                                        p.state.strides[1],
                                        rows.h + i * rows.width,
                                        rows.width,
                                        {},
                                        {}};
            simd::unroll<n>([&](auto j) __attribute__((always_inline)) {
              states.scale[j] = V(*scale_of(s, d + i + j, k));
              states.most[j] = V(C(0));
            });
            step_channels<n, shared, registers, C, Arch>(x.from(i), states, k * block,
                                                         (k + 1) * block, sum);
            simd::unroll<n>([&](auto j) __attribute__((always_inline)) {
              states.most[j].store_aligned(rows.most + (k * lanes + i + j) * lanes);
            });
          }
          simd::unroll<n>([&](auto j) __attribute__((always_inline)) { sums[i + j] = sum[j]; });
        });
    for (std::int64_t k = 0; k < blocks; ++k) {
      V most[lanes];
      for (std::int64_t i = 0; i < lanes; ++i) {
        most[i] = i < count ? V::load_aligned(rows.most + (k * lanes + i) * lanes) : V(C(0));
      }
      const int8_factors<C, Arch> to(
          simd::fold_each<C, Arch>(most, &simd::larger_magnitude<C, Arch>));
      alignas(64) C factor[lanes];
      alignas(64) C scale[lanes];
      to.factor.store_aligned(factor);
      to.scale.store_aligned(scale);
      const bool finite = xsimd::all(to.finite);
      for (std::int64_t i = 0; i < count; ++i) {
        C* h = rows.h + i * rows.width + k * block;
        *scale_of(s, d + i, k) = scale[i];
        if (!finite && std::isnan(scale[i])) {
          factor[i] = C(0);
          for (std::int64_t n = 0; n < block; ++n) {
            h[n] = C(0);
          }
        }
        int8_block<C, Arch>::round_row(h, block, factor[i], q + i * p.state.strides[1] + k * block);
      }
    }
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
