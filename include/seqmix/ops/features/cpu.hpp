// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <seqmix/common/feature_rows.hpp>
#include <seqmix/core/workspace.hpp>
#include <seqmix/dispatch/oracle.hpp>
#include <seqmix/ops/features/naive.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The CPU implementation "rows": each row is brought to scratch in the compute type, mapped there,
/// and written.
template <class TX, class TO, class Arch>
struct features_cpu {
  using C = compute_type<TX, TO>;
  static constexpr int w = simd::lanes<C, Arch>;
  static constexpr std::int64_t task_tokens = 16;

  /// A worker's scratch; with a null base only the size is computed.
  struct rows {
    C* x;
    C* scratch;
    C* o;
    std::size_t bytes;

    rows(std::byte* base, const features_problem& p) noexcept {
      scratch_layout layout(base);
      const std::int64_t K = p.x.extents[3];
      x = layout.take<C>(padded<C, Arch>(K));
      scratch = layout.take<C>(feature_scratch<C, Arch>(p.map, K));
      o = layout.take<C>(padded<C, Arch>(p.o.extents[3]));
      bytes = layout.bytes();
    }
  };

  static dispatch::offer query(const features_problem& p, const context& ctx) noexcept {
    dispatch::offer answer;
    answer.algorithm = "rows";
    answer.target = simd::isa_name<Arch>();
    answer.workspace_bytes =
        rows(nullptr, p).bytes * static_cast<std::size_t>(ctx.executor.concurrency()) +
        scratch_alignment;
    if (!ctx.pin.algorithm.empty() && ctx.pin.algorithm != "rows") {
      answer.lacks = "the pinned algorithm (it has rows)";
    }
    return answer;
  }

  static violation run(const features_problem& p, const context& ctx, std::byte* base) {
    if (p.x.size() == 0) {
      return {};
    }
    const std::size_t bytes = rows(nullptr, p).bytes;
    const std::int64_t tokens = p.x.extents[1];
    const std::int64_t tasks = (tokens + task_tokens - 1) / task_tokens;
    const auto task = [&](std::int64_t index, int worker) {
      const rows r(base + bytes * static_cast<std::size_t>(worker), p);
      const std::int64_t begin = index % tasks * task_tokens;
      for (std::int64_t t = begin; t < tokens && t < begin + task_tokens; ++t) {
        for (std::int64_t h = 0; h < p.x.extents[2]; ++h) {
          map_row(p, r, index / tasks, t, h);
        }
      }
    };
    ctx.executor.run(p.x.extents[0] * tasks, task);
    return {};
  }

 private:
  static void map_row(const features_problem& p, const rows& r, std::int64_t b, std::int64_t t,
                      std::int64_t h) noexcept {
    const auto x = restore<const TX>(p.x);
    const auto o = restore<TO>(p.o);
    const std::int64_t K = x.extent(3);
    const std::int64_t F = o.extent(3);
    for (std::int64_t d = 0; d < K; d += w) {
      simd::load_strided<C, Arch>(&x(b, t, h, 0), x.stride(3), d, K).store_aligned(r.x + d);
    }
    feature_row<C, Arch>{p.map, h, r.x, K, r.scratch, r.o, padded<C, Arch>(F)}.make(p.role, t);
    for (std::int64_t d = 0; d < F; d += w) {
      simd::store_strided<C, Arch>(simd::vec<C, Arch>::load_aligned(r.o + d), &o(b, t, h, 0),
                                   o.stride(3), d, F);
    }
  }
};

template <class TX, class TO, class Arch>
inline constexpr std::array<dispatch::implementation<features_problem>, 2> features_cpu_list{
    {{"rows", dispatch::processor::cpu, &features_cpu<TX, TO, Arch>::query,
      &features_cpu<TX, TO, Arch>::run},
     dispatch::oracle<features_problem, Arch, &naive_features<TX, TO, Arch>>}};

}  // namespace detail

SEQMIX_END_NAMESPACE
