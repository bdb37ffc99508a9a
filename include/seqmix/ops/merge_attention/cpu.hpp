// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <seqmix/core/workspace.hpp>
#include <seqmix/dispatch/oracle.hpp>
#include <seqmix/ops/merge_attention/naive.hpp>
#include <seqmix/simd/fma.hpp>
#include <seqmix/simd/load.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// One pass over the parts of a row, registers of channels innermost.
template <class TA, class TB, class TO, class Arch>
struct merge_attention_cpu {
  using C = compute_type<TA, TB, TO>;
  static constexpr std::int64_t task_tokens = 16;

  static std::size_t scratch_bytes(const merge_attention_problem& p, int workers) noexcept {
    scratch_layout layout;
    layout.take<C>(p.parts() * workers);
    return layout.bytes() + scratch_alignment;
  }

  static dispatch::offer query(const merge_attention_problem& p, const context& ctx) noexcept {
    dispatch::offer answer;
    answer.algorithm = "rows";
    answer.target = simd::isa_name<Arch>();
    answer.workspace_bytes = scratch_bytes(p, ctx.executor.concurrency());
    if (!ctx.pin.algorithm.empty() && ctx.pin.algorithm != "rows") {
      answer.lacks = "the pinned algorithm (it has rows)";
    }
    return answer;
  }

  static violation run(const merge_attention_problem& p, const context& ctx, std::byte* scratch) {
    const std::int64_t tokens = p.o.extents[1];
    const std::int64_t tasks = (tokens + task_tokens - 1) / task_tokens;
    const auto task = [&](std::int64_t index, int worker) {
      C* weights = reinterpret_cast<C*>(scratch) + p.parts() * worker;
      const std::int64_t begin = index % tasks * task_tokens;
      for (std::int64_t t = begin; t < tokens && t < begin + task_tokens; ++t) {
        for (std::int64_t h = 0; h < p.o.extents[2]; ++h) {
          merge(p, {p, index / tasks, t, h}, weights);
        }
      }
    };
    ctx.executor.run(p.o.extents[0] * tasks, task);
    return {};
  }

 private:
  static void merge(const merge_attention_problem& p, const merge_row<TA, TB>& row,
                    C* weights) noexcept {
    using V = simd::vec<C, Arch>;
    constexpr int w = simd::lanes<C, Arch>;
    constexpr double none = -std::numeric_limits<double>::infinity();
    double maximum = none;
    for (std::int64_t part = 0; part < p.parts(); ++part) {
      const double lse = row.lse(part);
      maximum = lse <= maximum ? maximum : lse;  // keeps NaN
    }
    double sum = 0;
    for (std::int64_t part = 0; part < p.parts(); ++part) {
      const double lse = row.lse(part);
      const double weight = lse == none ? 0 : std::exp(lse - maximum);
      weights[part] = static_cast<C>(weight);
      sum += weight;
    }
    const double scale = sum == 0 ? 0 : 1 / sum;
    for (std::int64_t part = 0; part < p.parts(); ++part) {
      weights[part] = static_cast<C>(static_cast<double>(weights[part]) * scale);
    }
    const auto o = restore<TO>(p.o);
    TO* out = &o(row.b, row.t, row.h, 0);
    for (std::int64_t c = 0; c < o.extent(3); c += w) {
      V acc(C(0));
      for (std::int64_t part = 0; part < p.parts(); ++part) {
        if (row.lse(part) != none) {  // a part that saw nothing may hold anything
          row.values(part, [&](const auto* v, std::int64_t stride) {
            acc = simd::fma(V(weights[part]),
                            simd::load_strided<C, Arch>(v, stride, c, o.extent(3)), acc);
          });
        }
      }
      simd::store_strided<C, Arch>(acc, out, o.stride(3), c, o.extent(3));
    }
    write_lse(p.lse, row.b, row.h, row.t, sum == 0 ? none : maximum + std::log(sum));
  }
};

template <class TA, class TB, class TO, class Arch>
inline constexpr std::array<dispatch::implementation<merge_attention_problem>, 2>
    merge_attention_cpu_list{
        {{"rows", dispatch::processor::cpu, &merge_attention_cpu<TA, TB, TO, Arch>::query,
          &merge_attention_cpu<TA, TB, TO, Arch>::run},
         dispatch::oracle<merge_attention_problem, Arch,
                          &naive_merge_attention<TA, TB, TO, Arch>>}};

}  // namespace detail

SEQMIX_END_NAMESPACE
