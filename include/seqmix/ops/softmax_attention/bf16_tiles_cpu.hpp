// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/context.hpp>
#include <seqmix/dispatch/registry.hpp>
#include <seqmix/ops/softmax_attention/bf16_tiles.hpp>
#include <seqmix/ops/softmax_attention/tasks.hpp>
#include <string_view>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// How a call is cut into tasks, and where its scratch lies. Nothing in it moves a bit of the
/// result.
template <class Arch>
struct bf16_tiles_plan {
  std::int64_t task_rows = 0;          // query rows of a task
  std::int64_t* task_begin = nullptr;  // [sequences + 1] first task of each sequence
  std::byte* worker_scratch = nullptr;
  std::size_t worker_bytes = 0;
  std::size_t bytes = 0;  // of the whole scratch, slack for alignment included

  /// With a null base only the sizes are computed.
  bf16_tiles_plan(const softmax_attention_problem& p, const context& ctx,
                  std::byte* base) noexcept {
    const int workers = ctx.executor.concurrency();
    std::int64_t longest = 0;
    for (std::int64_t b = 0; b < p.sequences; ++b) {
      const std::int64_t rows = sequence_at(p, b).mask.queries * p.group();
      longest = rows > longest ? rows : longest;
    }
    // More rows than in float: the products are fast enough to make packing felt.
    task_rows = rows_per_task(p, longest, workers, {.strip = tile_side, .least = 4, .most = 1024});
    scratch_layout layout(base);
    task_begin = layout.take<std::int64_t>(p.sequences + 1);
    scratch_layout one;
    const bf16_tile_scratch<Arch> of_one(one, task_rows, p.key_dim(), p.value_dim());
    worker_bytes = one.bytes();
    worker_scratch = layout.take<std::byte>(static_cast<std::int64_t>(worker_bytes) * workers);
    bytes = layout.bytes() + scratch_alignment;
  }

  /// Numbers the tasks; returns how many there are.
  std::int64_t number_tasks(const softmax_attention_problem& p) const noexcept {
    task_begin[0] = 0;
    for (std::int64_t b = 0; b < p.sequences; ++b) {
      const std::int64_t rows = sequence_at(p, b).mask.queries * p.group();
      task_begin[b + 1] = task_begin[b] + p.kv_heads() * ((rows + task_rows - 1) / task_rows);
    }
    return task_begin[p.sequences];
  }
};

/// Softmax attention of bf16 tensors by tiles, as an implementation: `query` and `run`.
template <class TO, class Tiles, class Arch>
struct bf16_tiles_cpu {
  using plan_type = bf16_tiles_plan<Arch>;
  using rows_type = query_rows<bf16, bf16, bf16, TO>;

  static dispatch::offer query(const softmax_attention_problem& p, const context& ctx) {
    dispatch::offer answer;
    answer.target = Tiles::name;
    answer.algorithm = "bf16_tiles";
    if (const char* lacks = lacking(p, ctx.pin.algorithm)) {
      answer.lacks = lacks;
    } else {
      answer.workspace_bytes = plan_type(p, ctx, nullptr).bytes;
    }
    return answer;
  }

  static violation run(const softmax_attention_problem& p, const context& ctx, std::byte* scratch) {
    const plan_type plan(p, ctx, scratch);
    const std::int64_t tasks = plan.number_tasks(p);
    const auto attend = [&](std::int64_t index, int worker) { task(p, plan, index, worker); };
    ctx.executor.run(tasks, attend);
    return {};
  }

 private:
  /// What it cannot do for a call; null when it can.
  static const char* lacking(const softmax_attention_problem& p,
                             std::string_view algorithm) noexcept {
    using feature = softmax_attention_feature;
    const auto needs = [&](feature f) { return p.required.contains(f); };
    if (p.q.type != scalar_type::bf16 || p.k.type != scalar_type::bf16 ||
        p.v.type != scalar_type::bf16 || p.o.type != scalar_type_of<TO>) {
      return "these element types (it has q, k, v of bf16 and o of bf16 or f32)";
    }
    if (needs(feature::score_functor) || needs(feature::mask_functor)) {
      return "functors: only the caller's unit knows their types";
    }
    if (needs(feature::normaliser)) {
      return "this normaliser (it has softmax)";
    }
    if (needs(feature::key_outputs)) {
      return "key_outputs";
    }
    return algorithm.empty() || algorithm == "bf16_tiles"
               ? nullptr
               : "the pinned algorithm (it has bf16_tiles)";
  }

  static void task(const softmax_attention_problem& p, const plan_type& plan, std::int64_t index,
                   int worker) noexcept {
    const std::int64_t b = sequence_of_task(plan.task_begin, p.sequences, index);
    const std::int64_t parts = (plan.task_begin[b + 1] - plan.task_begin[b]) / p.kv_heads();
    const std::int64_t place = index - plan.task_begin[b];
    const rows_type rows(p, b, place % p.kv_heads());
    scratch_layout layout(plan.worker_scratch +
                          plan.worker_bytes * static_cast<std::size_t>(worker));
    const bf16_tile_scratch<Arch> s(layout, plan.task_rows, p.key_dim(), p.value_dim());
    // The last rows see the most keys: they go first, so that the workers end together.
    const std::int64_t begin = (parts - 1 - place / p.kv_heads()) * plan.task_rows;
    const std::int64_t end = begin + plan.task_rows;
    bf16_tile_task<Tiles, Arch>(rows, begin, end < rows.count() ? end : rows.count(), s);
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
