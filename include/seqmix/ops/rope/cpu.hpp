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
  double* frequency;  // [dims / 2]
  C* turn;            // [workers][2][dims / 2], cosines and sines of one token
  std::size_t bytes;

  rope_scratch(std::byte* base, std::int64_t pairs, int workers) noexcept {
    scratch_layout layout(base);
    frequency = layout.take<double>(pairs);
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
    answer.workspace_bytes =
        rope_scratch<C>(nullptr, p.rotary_dims / 2, ctx.executor.concurrency()).bytes;
    if (!ctx.pin.algorithm.empty() && ctx.pin.algorithm != "table") {
      answer.lacks = "the pinned algorithm (it has table)";
    }
    return answer;
  }

  static violation run(const rope_problem& p, const context& ctx, std::byte* base) {
    const std::int64_t pairs = p.rotary_dims / 2;
    const rope_scratch<C> s(base, pairs, ctx.executor.concurrency());
    for (std::int64_t c = 0; c < pairs; ++c) {
      s.frequency[c] =
          std::pow(p.base, -2.0 * static_cast<double>(c) / static_cast<double>(p.rotary_dims));
    }
    const std::int64_t tokens = p.x.extents[1];
    const std::int64_t tasks = (tokens + task_tokens - 1) / task_tokens;
    const auto task = [&](std::int64_t index, int worker) {
      C* turn = s.turn + 2 * pairs * worker;
      const std::int64_t b = index / tasks;
      const std::int64_t begin = index % tasks * task_tokens;
      for (std::int64_t t = begin; t < tokens && t < begin + task_tokens; ++t) {
        const double position = static_cast<double>(rope_position(p, b, t));
        for (std::int64_t c = 0; c < pairs; ++c) {
          turn[c] = static_cast<C>(std::cos(position * s.frequency[c]));
          turn[pairs + c] = static_cast<C>(std::sin(position * s.frequency[c]));
        }
        turn_token(p, b, t, turn, turn + pairs);
      }
    };
    ctx.executor.run(p.x.size() == 0 ? 0 : p.x.extents[0] * tasks, task);
    return {};
  }

  static void turn_token(const rope_problem& p, std::int64_t b, std::int64_t t, const C* cosine,
                         const C* sine) noexcept {
    using V = simd::vec<C, Arch>;
    constexpr int w = simd::lanes<C, Arch>;
    const auto x = restore<const TX>(p.x);
    const auto o = restore<TO>(p.o);
    const std::int64_t pairs = p.rotary_dims / 2;
    const bool dense = p.layout == rope_layout::half_split && x.stride(3) == 1 && o.stride(3) == 1;
    for (std::int64_t h = 0; h < x.extent(2); ++h) {
      const TX* in = &x(b, t, h, 0);
      TO* out = &o(b, t, h, 0);
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
        const rope_pair at(p, c);
        const C first = widen<C>(in[at.first * x.stride(3)]);
        const C second = widen<C>(in[at.second * x.stride(3)]);
        out[at.first * o.stride(3)] = narrow<TO>(first * cosine[c] - second * sine[c]);
        out[at.second * o.stride(3)] = narrow<TO>(second * cosine[c] + first * sine[c]);
      }
      for (std::int64_t d = p.rotary_dims; d < x.extent(3); ++d) {
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
