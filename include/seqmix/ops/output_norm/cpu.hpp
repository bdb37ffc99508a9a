// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <seqmix/core/workspace.hpp>
#include <seqmix/dispatch/oracle.hpp>
#include <seqmix/ops/output_norm/naive.hpp>
#include <seqmix/simd/math.hpp>
#include <seqmix/simd/tile.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Scratch of one call; with a null base only the size is computed.
template <class C>
struct output_norm_scratch {
  C* weight;  // [1 or H][step]
  C* bias;    // [1 or H][step]
  C* rows;    // [workers][2][step], values and gate of one row
  std::size_t bytes;

  output_norm_scratch(std::byte* base, const output_norm_problem& p, std::int64_t step,
                      int workers) noexcept {
    scratch_layout layout(base);
    weight = layout.take<C>(p.weight.given() ? p.weight.extents[0] * step : 0);
    bias = layout.take<C>(p.bias.given() ? p.bias.extents[0] * step : 0);
    rows = layout.take<C>(2 * step * workers);
    bytes = layout.bytes() + scratch_alignment;
  }
};

/// Each row is brought to scratch in the compute type, padded to whole registers, so that strides
/// and element types leave no trace in its bits, and `o` may be x.
template <class TX, class TO, class Arch>
struct output_norm_cpu {
  using C = compute_type<TX, TO>;
  using V = simd::vec<C, Arch>;
  static constexpr int w = simd::lanes<C, Arch>;
  static constexpr int chains = 4;  // of additions, to hide their latency
  static constexpr std::int64_t task_tokens = 16;

  static std::int64_t row_step(const output_norm_problem& p) noexcept {
    constexpr std::int64_t unit = chains * w;
    return (p.x.extents[3] + unit - 1) / unit * unit;
  }

  static dispatch::offer query(const output_norm_problem& p, const context& ctx) noexcept {
    dispatch::offer answer;
    answer.algorithm = "rows";
    answer.target = simd::isa_name<Arch>();
    answer.workspace_bytes =
        output_norm_scratch<C>(nullptr, p, row_step(p), ctx.executor.concurrency()).bytes;
    if (!ctx.pin.algorithm.empty() && ctx.pin.algorithm != "rows") {
      answer.lacks = "the pinned algorithm (it has rows)";
    }
    return answer;
  }

  static violation run(const output_norm_problem& p, const context& ctx, std::byte* base) {
    if (p.x.size() == 0) {
      return {};
    }
    const std::int64_t step = row_step(p);
    const output_norm_scratch<C> s(base, p, step, ctx.executor.concurrency());
    load_repeated(p.weight, p.x.extents[3], step, s.weight);
    load_repeated(p.bias, p.x.extents[3], step, s.bias);
    const std::int64_t tokens = p.x.extents[1];
    const std::int64_t tasks = (tokens + task_tokens - 1) / task_tokens;
    const auto task = [&](std::int64_t index, int worker) {
      C* row = s.rows + 2 * step * worker;
      const std::int64_t b = index / tasks;
      const std::int64_t begin = index % tasks * task_tokens;
      for (std::int64_t t = begin; t < tokens && t < begin + task_tokens; ++t) {
        for (std::int64_t h = 0; h < p.x.extents[2]; ++h) {
          norm_row(p, s, b, t, h, step, row, row + step);
        }
      }
    };
    ctx.executor.run(p.x.extents[0] * tasks, task);
    return {};
  }

  /// A row of `n` elements in the compute type; zeros behind it.
  template <class T>
  SEQMIX_ALWAYS_INLINE static void load_row(const T* from, std::int64_t stride, std::int64_t n,
                                            std::int64_t step, C* row) noexcept {
    for (std::int64_t d = 0; d < step; d += w) {
      simd::load_strided<C, Arch>(from, stride, d, n).store_aligned(row + d);
    }
  }

  static void load_repeated(const any_view<2>& v, std::int64_t n, std::int64_t step,
                            C* rows) noexcept {
    const std::int64_t stride = v.extents[1] == 1 ? 0 : v.strides[1];
    for (std::int64_t h = 0; v.given() && h < v.extents[0]; ++h) {
      with_real_elements(v.data, v.type, [&](const auto* data) {
        load_row(data + h * v.strides[0], stride, n, step, rows + h * step);
      });
    }
  }

  /// Sums over a row, in the same order on every call: f(sum, d) adds what it makes of the register
  /// of elements from d on.
  template <class F>
  SEQMIX_ALWAYS_INLINE static C sum(std::int64_t step, F&& f) noexcept {
    V acc[chains];
    simd::unroll<chains>([&](auto i) __attribute__((always_inline)) { acc[i] = V(C(0)); });
    for (std::int64_t d = 0; d < step; d += chains * w) {
      simd::unroll<chains>([&](auto i)
                               __attribute__((always_inline)) { acc[i] = f(acc[i], d + i * w); });
    }
    return xsimd::hadd((acc[0] + acc[1]) + (acc[2] + acc[3]));
  }

  /// Normalised values are (row - shift) factor.
  struct scaling {
    C shift, factor;
  };

  static scaling row_scaling(const output_norm_problem& p, const TX* x, std::int64_t step, C* row,
                             const C* gate) noexcept {
    const std::int64_t n = p.x.extents[3];
    C shift(0);
    if (p.kind == output_norm_kind::layer_norm) {
      // The mean is off by a rounding error of its own magnitude. The mean of the differences from
      // it is off by one of theirs only. What pads the row is kept at the mean.
      const C mean =
          sum(step, [&](V a, std::int64_t d)
                        __attribute__((always_inline)) { return a + V::load_aligned(row + d); }) /
          static_cast<C>(n);
      std::fill(row + n, row + step, mean);
      shift = sum(step,
                  [&](V a, std::int64_t d) __attribute__((always_inline)) {
                    const V difference = V::load_aligned(row + d) - V(mean);
                    difference.store_aligned(row + d);
                    return a + difference;
                  }) /
              static_cast<C>(n);
      std::fill(row + n, row + step, shift);
    }
    const C squares = sum(step, [&](V a, std::int64_t d) __attribute__((always_inline)) {
      const V centred = V::load_aligned(row + d) - V(shift);
      return simd::fma(centred, centred, a);
    });
    if constexpr (std::is_same_v<C, float>) {
      if (!(squares >= 0x1p-100f && squares <= 0x1p100f)) {
        norm_in_double(p, x, row, gate);
        return {0, 1};
      }
    }
    return {shift, static_cast<C>(output_norm_factor(p, static_cast<double>(squares)))};
  }

  /// For rows whose squares leave the range of float: the normalised values in place of `row`.
  /// Zeros and non-finite rows come here, too.
  static void norm_in_double(const output_norm_problem& p, const TX* x, C* row,
                             const C* gate) noexcept {
    const std::int64_t n = p.x.extents[3];
    const std::int64_t stride = p.x.strides[3];
    const bool gates = p.gates(output_gate_place::before_norm);
    const auto value = [&](std::int64_t d) {
      return widen<double>(x[d * stride]) * (gates ? static_cast<double>(gate[d]) : 1);
    };
    double mean = 0;
    if (p.kind == output_norm_kind::layer_norm) {
      for (std::int64_t d = 0; d < n; ++d) {
        mean += value(d);
      }
      mean /= static_cast<double>(n);
    }
    double squares = 0;
    for (std::int64_t d = 0; d < n; ++d) {
      const double centred = value(d) - mean;
      squares += centred * centred;
    }
    const double factor = output_norm_factor(p, squares);
    for (std::int64_t d = 0; d < n; ++d) {
      row[d] = static_cast<C>((value(d) - mean) * factor);
    }
  }

  SEQMIX_ALWAYS_INLINE static V gated(V g, output_gate by) noexcept {
    if (by == output_gate::plain) {
      return g;
    }
    // e^-|g| cannot overflow.
    const V e = simd::exp2<C, Arch>(xsimd::abs(g) * V(C(-1.4426950408889634074)));
    const V sigmoid = xsimd::select(g < V(C(0)), e, V(C(1))) / (V(C(1)) + e);
    return by == output_gate::sigmoid ? sigmoid : g * sigmoid;
  }

  static void norm_row(const output_norm_problem& p, const output_norm_scratch<C>& s,
                       std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t step, C* row,
                       C* gate) noexcept {
    const auto x = restore<const TX>(p.x);
    const auto o = restore<TO>(p.o);
    const std::int64_t n = x.extent(3);
    load_row(&x(b, t, h, 0), x.stride(3), n, step, row);
    if (p.gate_by != output_gate::none) {
      const auto& at = p.gate.strides;
      with_real_elements(p.gate.data, p.gate.type, [&](const auto* data) {
        load_row(data + b * at[0] + t * at[1] + h * at[2], at[3], n, step, gate);
      });
    }
    for (std::int64_t d = 0; p.gates(output_gate_place::before_norm) && d < step; d += w) {
      const V factor_of_x = gated(V::load_aligned(gate + d), p.gate_by);
      factor_of_x.store_aligned(gate + d);
      (V::load_aligned(row + d) * factor_of_x).store_aligned(row + d);
    }
    const bool gates = p.gates(output_gate_place::after_norm);
    const auto [shift, factor] = row_scaling(p, &x(b, t, h, 0), step, row, gate);
    const C* weight =
        p.weight.given() ? s.weight + (p.weight.extents[0] == 1 ? 0 : h * step) : nullptr;
    const C* bias = p.bias.given() ? s.bias + (p.bias.extents[0] == 1 ? 0 : h * step) : nullptr;
    for (std::int64_t d = 0; d < n; d += w) {
      V y = (V::load_aligned(row + d) - V(shift)) * V(factor);
      y = weight != nullptr ? y * V::load_aligned(weight + d) : y;
      y = bias != nullptr ? y + V::load_aligned(bias + d) : y;
      y = gates ? y * gated(V::load_aligned(gate + d), p.gate_by) : y;
      simd::store_strided<C, Arch>(y, &o(b, t, h, 0), o.stride(3), d, n);
    }
  }
};

template <class TX, class TO, class Arch>
inline constexpr std::array<dispatch::implementation<output_norm_problem>, 2> output_norm_cpu_list{
    {{"rows", dispatch::processor::cpu, &output_norm_cpu<TX, TO, Arch>::query,
      &output_norm_cpu<TX, TO, Arch>::run},
     dispatch::oracle<output_norm_problem, Arch, &naive_output_norm<TX, TO, Arch>>}};

}  // namespace detail

SEQMIX_END_NAMESPACE
