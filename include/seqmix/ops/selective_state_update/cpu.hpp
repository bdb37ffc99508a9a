// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <seqmix/core/context.hpp>
#include <seqmix/dispatch/oracle.hpp>
#include <seqmix/ops/selective_scan/token_rows.hpp>
#include <seqmix/ops/selective_state_update/int8_rows.hpp>
#include <seqmix/ops/selective_state_update/naive.hpp>
#include <seqmix/simd/dot.hpp>

// A few tokens are bound by the traffic of the states, which is not to be transposed on its way:
// here a register holds numbers of one channel's state, and a scan's register one of each channel.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Rows of one worker.
template <class C, class Arch>
struct state_update_rows {
  static constexpr std::int64_t block = 8;  // tokens

  std::int64_t width;  // N in whole registers
  scan_token_rows<C, Arch> tokens;
  C* a;  // [channels][width], where A is not read where it lies
  C* h;  // likewise the state
  C* b;  // [block][width], or [channels][width] where each channel has its own
  C* c;
  std::size_t bytes;

  state_update_rows(std::byte* base, const selective_scan_problem& p) noexcept {
    constexpr std::int64_t lanes = simd::lanes<C, Arch>;
    scratch_layout layout(base);
    width = (p.state_size() + lanes - 1) / lanes * lanes;
    tokens = scan_token_rows<C, Arch>(layout, block);
    a = layout.take<C>(scan_channels * width);
    h = layout.take<C>(scan_channels * width);
    b = layout.take<C>((p.own_B ? scan_channels : block) * width);
    c = layout.take<C>((p.own_C ? scan_channels : block) * width);
    bytes = layout.bytes();
  }
};

/// A matrix of rows in memory or in scratch.
template <class C>
struct row_matrix {
  C* data;
  std::int64_t step;

  SEQMIX_ALWAYS_INLINE C* row(std::int64_t i) const noexcept { return data + i * step; }
};

/// Some channels of one sequence through its tokens.
template <class C, class Arch>
class state_update_run {
 public:
  using V = simd::vec<C, Arch>;
  static constexpr std::int64_t lanes = simd::lanes<C, Arch>;

  const selective_state_update_problem& p;
  const sequence_place& s;
  const state_update_rows<C, Arch>& rows;
  std::int64_t group;
  std::int64_t channel;
  std::int64_t channels;

  void run() const noexcept {
    rows.tokens.load_vectors(p.scan, channel, channels);
    const row_matrix<const C> a = rates();
    const row_matrix<C> h = state();
    constexpr std::int64_t block = state_update_rows<C, Arch>::block;
    for (std::int64_t first = 0; first < s.tokens; first += block) {
      const std::int64_t rest = s.tokens - first;
      const scan_window window{s.batch, first, 1, rest < block ? rest : block, channel, channels};
      prepare(window);
      const row_matrix<const C> b = projection(p.scan.B, p.scan.own_B, window, rows.b);
      const row_matrix<const C> c = projection(p.scan.C, p.scan.own_C, window, rows.c);
      for (std::int64_t d = 0; d < channels; d += lanes) {
        for (std::int64_t t = 0; t < window.tokens; ++t) {
          run_token(a, h, b, c, d, t);
        }
      }
      rows.tokens.finish(p.scan, window);
    }
    if (h.data == rows.h) {
      store_state();
    }
  }

 private:
  /// Whether rows of N numbers can be used where they lie.
  bool in_place(scalar_type type, std::int64_t stride) const noexcept {
    return type == scalar_type_of<C> && stride == 1 && p.scan.state_size() == rows.width;
  }

  row_matrix<const C> rates() const noexcept {
    const any_view<3>& x = p.scan.A;
    if (in_place(x.type, x.strides[1])) {
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
    with_real_elements(x.data, x.type, [&](const auto* data) {
      const std::int64_t first =
          own ? channel * x.strides[2]
              : w.batch * x.strides[0] + w.place * x.strides[1] + group * x.strides[2];
      const std::int64_t step = own ? x.strides[2] : x.strides[1];
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

  /// The state where it lies, or a copy, which only the last token's state is written from.
  row_matrix<C> state() const noexcept {
    const any_out<3>& x = p.state;
    if (in_place(x.type, x.strides[2])) {
      return {static_cast<C*>(x.data) + s.initial * x.strides[0] + channel * x.strides[1],
              x.strides[1]};
    }
    const std::int64_t N = p.scan.state_size();
    if (p.quantised()) {
      for_each_block([&](std::int8_t* q, float& scale, C* h, std::int64_t block) {
        int8_block<C, Arch>::read(q, x.strides[2], block, static_cast<C>(scale), h);
      });
      for (std::int64_t i = 0; i < channels; ++i) {
        std::fill(rows.h + i * rows.width + N, rows.h + (i + 1) * rows.width, C(0));
      }
    } else {
      with_real_elements(static_cast<const void*>(x.data), x.type, [&](const auto* data) {
        for (std::int64_t i = 0; i < channels; ++i) {
          simd::load_row<C, Arch>(data + place(i), x.strides[2], 0, N, C(1),
                                  rows.h + i * rows.width, rows.width);
        }
      });
    }
    return {rows.h, rows.width};
  }

  void store_state() const noexcept {
    const any_out<3>& x = p.state;
    if (p.quantised()) {
      for_each_block([&](std::int8_t* q, float& scale, const C* h, std::int64_t block) {
        scale = int8_block<C, Arch>::write(h, block, q, x.strides[2]);
      });
      return;
    }
    with_real_elements(x.data, x.type, [&](auto* data) {
      for (std::int64_t i = 0; i < channels; ++i) {
        simd::store_row<C, Arch>(rows.h + i * rows.width, C(1), data + place(i), x.strides[2], 0,
                                 p.scan.state_size(), rows.width);
      }
    });
  }

  std::int64_t place(std::int64_t i) const noexcept {
    return s.initial * p.state.strides[0] + (channel + i) * p.state.strides[1];
  }

  template <class F>
  void for_each_block(F&& f) const noexcept {
    const auto& at = p.scale.strides;
    auto* q = static_cast<std::int8_t*>(p.state.data);
    const std::int64_t block = p.block();
    auto* scales = static_cast<float*>(p.scale.data) + s.initial * at[0] + channel * at[1];
    for (std::int64_t i = 0; i < channels; ++i) {
      for (std::int64_t k = 0; k < p.scale.extents[2]; ++k) {
        const std::int64_t n = k * block;
        f(q + place(i) + n * p.state.strides[2], scales[i * at[1] + k * at[2]],
          rows.h + i * rows.width + n, block);
      }
    }
  }

  /// Rows of `Ways` channels, side by side, so that their exponentials overlap.
  template <int Ways>
  static SEQMIX_ALWAYS_INLINE void run_channels(const row_matrix<const C>& a,
                                                const row_matrix<C>& h,
                                                const row_matrix<const C>& b,
                                                const row_matrix<const C>& c, const C* dt,
                                                const C* w, std::int64_t width, V* sums) noexcept {
    V steps[Ways];
    V writes[Ways];
    V sum[Ways];
    simd::unroll<Ways>([&](auto i) __attribute__((always_inline)) {
      steps[i] = V(dt[i]);
      writes[i] = V(w[i]);
      sum[i] = V(C(0));
    });
    for (std::int64_t n = 0; n < width; n += lanes) {
      simd::unroll<Ways>([&](auto i) __attribute__((always_inline)) {
        const auto factor =
            decay<decay_range::any, C, Arch>(steps[i], V::load_unaligned(a.row(i) + n));
        C* state = h.row(i) + n;
        const V scaled = factor.scale * V::load_unaligned(state);
        const V next = simd::fma(factor.growth, scaled,
                                 simd::fma(writes[i], V::load_aligned(b.row(i) + n), scaled));
        next.store_unaligned(state);
        sum[i] = simd::fma(V::load_aligned(c.row(i) + n), next, sum[i]);
      });
    }
    simd::unroll<Ways>([&](auto i) __attribute__((always_inline)) { sums[i] = sum[i]; });
  }

  /// One token of the channels of a register: the sums over n of each become a lane.
  void run_token(const row_matrix<const C>& a, const row_matrix<C>& h, const row_matrix<const C>& b,
                 const row_matrix<const C>& c, std::int64_t d, std::int64_t t) const noexcept {
    constexpr int ways = simd::register_count<Arch> >= 32 ? 4 : 2;
    V sums[lanes];
    const std::int64_t at = t * scan_channels + d;
    const std::int64_t count = channels - d < lanes ? channels - d : lanes;
    const C* dt = rows.tokens.dt + at;
    const C* w = rows.tokens.w + at;
    const auto from = [](const auto& x, std::int64_t i) __attribute__((always_inline)) {
      auto part = x;
      part.data += i * x.step;
      return part;
    };
    // Those of all channels are one row, as often as needed.
    const row_matrix<const C> write = p.scan.own_B ? from(b, d) : row_matrix<const C>{b.row(t), 0};
    const row_matrix<const C> read = p.scan.own_C ? from(c, d) : row_matrix<const C>{c.row(t), 0};
    const row_matrix<const C> rate = from(a, d);
    const row_matrix<C> state = from(h, d);
    std::int64_t i = 0;
    for (; i + ways <= count; i += ways) {
      run_channels<ways>(from(rate, i), from(state, i), from(write, i), from(read, i), dt + i,
                         w + i, rows.width, sums + i);
    }
    for (; i < count; ++i) {
      run_channels<1>(from(rate, i), from(state, i), from(write, i), from(read, i), dt + i, w + i,
                      rows.width, sums + i);
    }
    for (; i < lanes; ++i) {
      sums[i] = V(C(0));
    }
    C* y = rows.tokens.y + at;
    (V::load_aligned(y) + simd::detail::sum_each<C, Arch>(sums)).store_aligned(y);
  }
};

/// The CPU implementation "states". Its members are defined outside, so that a program may declare
/// an instantiation `extern` and compile it once.
template <class C, class Arch>
struct selective_state_update_cpu {
  static dispatch::offer query(const selective_state_update_problem& p, const context& ctx);
  static violation run(const selective_state_update_problem& p, const context& ctx,
                       std::byte* base);
};

template <class C, class Arch>
dispatch::offer selective_state_update_cpu<C, Arch>::query(const selective_state_update_problem& p,
                                                           const context& ctx) {
  dispatch::offer answer;
  answer.algorithm = "states";
  answer.target = simd::isa_name<Arch>();
  answer.workspace_bytes = state_update_rows<C, Arch>(nullptr, p.scan).bytes *
                               static_cast<std::size_t>(ctx.executor.concurrency()) +
                           scratch_alignment;
  if (!ctx.pin.algorithm.empty() && ctx.pin.algorithm != "states") {
    answer.lacks = "the pinned algorithm (it has states)";
  }
  return answer;
}

template <class C, class Arch>
violation selective_state_update_cpu<C, Arch>::run(const selective_state_update_problem& p,
                                                   const context& ctx, std::byte* base) {
  const selective_scan_problem& scan = p.scan;
  if (scan.channels() == 0 || scan.u.extents[1] == 0) {
    return {};
  }
  // Channels of one group; groups of one channel each where all tokens share B and C.
  const std::int64_t by_token =
      scan.own_B ? (scan.own_C ? 1 : scan.C.extents[2]) : scan.B.extents[2];
  const std::int64_t per_group = scan.channels() / by_token;
  const std::int64_t blocks = (per_group + scan_channels - 1) / scan_channels;
  const std::size_t worker_bytes = state_update_rows<C, Arch>(nullptr, scan).bytes;
  const auto task = [&](std::int64_t index, int worker) {
    const std::int64_t block = index % blocks;
    const std::int64_t group = index / blocks % by_token;
    const sequence_place s = sequence_at(scan, index / (blocks * by_token));
    if (s.skipped()) {
      return;
    }
    const state_update_rows<C, Arch> rows(base + worker_bytes * static_cast<std::size_t>(worker),
                                          scan);
    const std::int64_t left = per_group - block * scan_channels;
    state_update_run<C, Arch>{p,
                              s,
                              rows,
                              group,
                              group * per_group + block * scan_channels,
                              left < scan_channels ? left : scan_channels}
        .run();
  };
  ctx.executor.run(scan.sequences * by_token * blocks, task);
  return {};
}

template <class C, class Arch>
inline constexpr std::array<dispatch::implementation<selective_state_update_problem>, 2>
    selective_state_update_list{
        {{"states", dispatch::processor::cpu, &selective_state_update_cpu<C, Arch>::query,
          &selective_state_update_cpu<C, Arch>::run},
         dispatch::oracle<selective_state_update_problem, Arch,
                          &naive_selective_state_update<Arch>>}};

}  // namespace detail

SEQMIX_END_NAMESPACE
