// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <seqmix/core/workspace.hpp>
#include <seqmix/dispatch/oracle.hpp>
#include <seqmix/ops/rope/naive.hpp>
#include <seqmix/simd/load.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// Scratch of one call; with a null base only the size is computed.
template <class C>
struct rope_scratch {
  double* frequency;         // [dims / 2]
  double* second_frequency;  // [dims / 2] with axes sum
  C* turn;                   // [workers][2][dims / 2], cosines and sines of one token
  std::size_t bytes;

  rope_scratch(std::byte* base, const rope_problem& p, int workers) noexcept {
    scratch_layout layout(base);
    const std::int64_t pairs = p.rotary_dims / 2;
    frequency = layout.take<double>(pairs);
    second_frequency = layout.take<double>(p.axes == rope_axes::sum ? pairs : 0);
    turn = layout.take<C>(2 * pairs * workers);
    bytes = layout.bytes() + scratch_alignment;
  }
};

/// Angles in double, since a float loses the fraction of far positions; one table of cosines and
/// sines per token serves all its heads.
template <class TX, class TO, class Arch>
struct rope_cpu {
  using C = compute_type<TX, TO>;
  static constexpr std::int64_t task_tokens = 16;

  static dispatch::offer query(const rope_problem& p, const context& ctx) noexcept {
    dispatch::offer answer;
    answer.algorithm = "table";
    answer.target = simd::isa_name<Arch>();
    answer.workspace_bytes = rope_scratch<C>(nullptr, p, ctx.executor.concurrency()).bytes;
    if (!ctx.pin.algorithm.empty() && ctx.pin.algorithm != "table") {
      answer.lacks = "the pinned algorithm (it has table)";
    }
    return answer;
  }

  static violation run(const rope_problem& p, const context& ctx, std::byte* base) {
    const std::int64_t pairs = p.rotary_dims / 2;
    const rope_scratch<C> s(base, p, ctx.executor.concurrency());
    if (p.axes == rope_axes::split) {
      fill_frequencies(p.base, pairs / 2, s.frequency);
      fill_frequencies(p.second_base, pairs / 2, s.frequency + pairs / 2);
    } else {
      fill_frequencies(p.base, pairs, s.frequency);
    }
    if (p.axes == rope_axes::sum) {
      fill_frequencies(p.second_base, pairs, s.second_frequency);
    }
    const std::int64_t tokens = p.x.extents[1];
    const std::int64_t tasks = (tokens + task_tokens - 1) / task_tokens;
    const auto task = [&](std::int64_t index, int worker) {
      C* turn = s.turn + 2 * pairs * worker;
      const std::int64_t b = index / tasks;
      const std::int64_t begin = index % tasks * task_tokens;
      for (std::int64_t t = begin; t < tokens && t < begin + task_tokens; ++t) {
        fill_turns(p, s, b, t, turn, turn + pairs);
        turn_token(p, b, t, turn, turn + pairs);
      }
    };
    ctx.executor.run(p.x.size() == 0 ? 0 : p.x.extents[0] * tasks, task);
    return {};
  }

  static void fill_frequencies(double base, std::int64_t pairs, double* frequency) noexcept {
    for (std::int64_t c = 0; c < pairs; ++c) {
      frequency[c] = std::pow(base, -static_cast<double>(c) / static_cast<double>(pairs));
    }
  }

  static void fill_turns(const rope_problem& p, const rope_scratch<C>& s, std::int64_t b,
                         std::int64_t t, C* cosine, C* sine) noexcept {
    const std::int64_t pairs = p.rotary_dims / 2;
    const auto fill = [&](std::int64_t begin, std::int64_t end, auto angle) {
      for (std::int64_t c = begin; c < end; ++c) {
        cosine[c] = static_cast<C>(std::cos(angle(c)));
        sine[c] = static_cast<C>(std::sin(angle(c)));
      }
    };
    const double first = static_cast<double>(rope_position(p, b, t));
    if (p.axes == rope_axes::one) {
      fill(0, pairs, [&](std::int64_t c) { return first * s.frequency[c]; });
      return;
    }
    const double second = static_cast<double>(position_at(p.second_positions, b, t));
    if (p.axes == rope_axes::split) {
      fill(0, pairs / 2, [&](std::int64_t c) { return first * s.frequency[c]; });
      fill(pairs / 2, pairs, [&](std::int64_t c) { return second * s.frequency[c]; });
    } else {
      fill(0, pairs,
           [&](std::int64_t c) { return first * s.frequency[c] + second * s.second_frequency[c]; });
    }
  }

  static void turn_token(const rope_problem& p, std::int64_t b, std::int64_t t, const C* cosine,
                         const C* sine) noexcept {
    const std::int64_t half = p.rotary_dims / 2;
    if (p.axes == rope_axes::split) {
      turn_channels(p, b, t, 0, half, half, cosine, sine);
      turn_channels(p, b, t, half, p.rotary_dims, p.x.extents[3], cosine + half / 2,
                    sine + half / 2);
    } else {
      turn_channels(p, b, t, 0, p.rotary_dims, p.x.extents[3], cosine, sine);
    }
  }

  /// In every head, one rotary embedding of channels [begin, end), and a copy of [end, copy_end).
  SEQMIX_ALWAYS_INLINE static void turn_channels(const rope_problem& p, std::int64_t b,
                                                 std::int64_t t, std::int64_t begin,
                                                 std::int64_t end, std::int64_t copy_end,
                                                 const C* cosine, const C* sine) noexcept {
    using V = simd::vec<C, Arch>;
    constexpr int w = simd::lanes<C, Arch>;
    const auto x = restore<const TX>(p.x);
    const auto o = restore<TO>(p.o);
    const std::int64_t channels = end - begin;
    const std::int64_t pairs = channels / 2;
    const bool dense = p.layout == rope_layout::half_split && x.stride(3) == 1 && o.stride(3) == 1;
    for (std::int64_t h = 0; h < x.extent(2); ++h) {
      const TX* in = &x(b, t, h, begin);
      TO* out = &o(b, t, h, begin);
      std::int64_t c = 0;
      for (; dense && c + w <= pairs; c += w) {
        const V first = simd::load<C, Arch>(in + c);
        const V second = simd::load<C, Arch>(in + c + pairs);
        const V cos = V::load_unaligned(cosine + c);
        const V sin = V::load_unaligned(sine + c);
        simd::store<C, Arch>(first * cos - second * sin, out + c);
        simd::store<C, Arch>(second * cos + first * sin, out + c + pairs);
      }
      for (; c < pairs; ++c) {
        const rope_pair at(p.layout, channels, c);
        const C first = widen<C>(in[at.first * x.stride(3)]);
        const C second = widen<C>(in[at.second * x.stride(3)]);
        out[at.first * o.stride(3)] = narrow<TO>(first * cosine[c] - second * sine[c]);
        out[at.second * o.stride(3)] = narrow<TO>(second * cosine[c] + first * sine[c]);
      }
      for (std::int64_t d = channels; d < copy_end - begin; ++d) {
        out[d * o.stride(3)] = narrow<TO>(widen<C>(in[d * x.stride(3)]));
      }
    }
  }
};

template <class TX, class TO, class Arch>
inline constexpr std::array<dispatch::implementation<rope_problem>, 2> rope_cpu_list{
    {{"table", dispatch::processor::cpu, &rope_cpu<TX, TO, Arch>::query,
      &rope_cpu<TX, TO, Arch>::run},
     dispatch::oracle<rope_problem, Arch, &naive_rope<TX, TO, Arch>>}};

}  // namespace detail

SEQMIX_END_NAMESPACE
