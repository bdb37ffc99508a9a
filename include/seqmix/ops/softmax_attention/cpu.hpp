// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <seqmix/dispatch/oracle.hpp>
#include <seqmix/ops/softmax_attention/naive.hpp>
#include <seqmix/ops/softmax_attention/plan.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The CPU implementation "flash": for each sequence by itself the tiled algorithm, or split-KV
/// when few rows share a key-value head. `query` and `run` are defined outside, so that a program
/// may declare an instantiation `extern` and compile it once.
template <class TQ, class TK, class TV, class TO, class Arch, class Score = void, class Mask = void>
struct flash_attention_cpu {
  using C = compute_type<TQ, TK, TV, TO>;
  using terms_type = std::conditional_t<std::is_void_v<Score> && std::is_void_v<Mask>,
                                        score_terms<C, Arch>, functor_terms<C, Arch, Score, Mask>>;
  using plan_type = attention_plan<C, Arch>;
  using rows_type = query_rows<TQ, TK, TV, TO>;

  static dispatch::offer query(const softmax_attention_problem& p, const context& ctx);
  static violation run(const softmax_attention_problem& asked, const context& ctx,
                       std::byte* scratch);

 private:
  static void write_key_outputs(const softmax_attention_problem& p, const context& ctx,
                                const plan_type& plan) {
    const std::int64_t blocks = (plan.longest + split_kv_block - 1) / split_kv_block;
    const std::int64_t heads = key_output_heads(p);
    const auto scratch_of = [&](int worker) {
      scratch_layout layout(plan.worker_scratch +
                            plan.worker_bytes * static_cast<std::size_t>(worker));
      return key_output_scratch<C, Arch>(layout, p);
    };
    const auto sum_block = [&](std::int64_t index, int worker) {
      const std::int64_t b = index / (p.kv_heads() * blocks);
      const rows_type rows(p, b, index / blocks % p.kv_heads());
      const std::int64_t from = index % blocks * split_kv_block;
      const std::int64_t keys = rows.sequence.mask.keys;
      if (from < keys) {
        const std::int64_t to = from + split_kv_block < keys ? from + split_kv_block : keys;
        const key_output_scratch<C, Arch> s = scratch_of(worker);
        sum_key_weights<terms_type, C, Arch>(rows, from, to, s);
        store_key_weights<C, Arch>(rows, from, to, s.sums,
                                   plan.key_scores + b * heads * plan.longest, plan.longest);
      }
    };
    ctx.executor.run(p.sequences * p.kv_heads() * blocks, sum_block);
    const auto write_head = [&](std::int64_t index, int worker) {
      const std::int64_t b = index / heads;
      const C* scores = plan.key_scores + index * plan.longest;
      if (p.key_outputs.scores.given()) {
        write_key_scores<C, Arch>(p, b, index % heads, scores);
      }
      if (p.key_outputs.top.given()) {
        select_top<C, Arch>(scores, sequence_at(p, b).mask.keys, scratch_of(worker).best,
                            p.key_outputs.top.extents[2], p.key_outputs.top, b, index % heads);
      }
    };
    ctx.executor.run(p.sequences * heads, write_head);
  }

  static void task(const softmax_attention_problem& p, const plan_type& plan, std::int64_t index,
                   int worker) noexcept {
    const std::int64_t b = sequence_of_task(plan.task_begin, p.sequences, index);
    const std::int64_t parts = (plan.task_begin[b + 1] - plan.task_begin[b]) / p.kv_heads();
    const std::int64_t head = (index - plan.task_begin[b]) % p.kv_heads();
    const std::int64_t part = (index - plan.task_begin[b]) / p.kv_heads();
    const rows_type rows(p, b, head);
    scratch_layout layout(plan.worker_scratch +
                          plan.worker_bytes * static_cast<std::size_t>(worker));
    if (plan.cut(p, b).split) {
      const split_scratch<C, Arch> s(layout, rows.count(), p.key_dim(), p.value_dim());
      split_task<terms_type, C, Arch>(rows, part, s);
      if (parts == 1) {
        finish_split<terms_type, C, Arch>(rows, s);
      } else {
        store_partial<C, Arch>(s, rows.count(), p.value_dim(), partial_of(p, plan, b, head, part));
      }
    } else {
      // The last rows see the most keys: they go first, so that the workers end together.
      const std::int64_t begin = (parts - 1 - part) * plan.task_rows;
      const std::int64_t end = begin + plan.task_rows;
      const flash_scratch<C, Arch> s(layout, plan.task_rows, p.key_dim(), p.value_dim());
      flash_task<terms_type, C, Arch>(rows, plan.passes, begin,
                                      end < rows.count() ? end : rows.count(), s);
    }
  }

  static C* partial_of(const softmax_attention_problem& p, const plan_type& plan, std::int64_t b,
                       std::int64_t head, std::int64_t granule) noexcept {
    const sequence_cut c = plan.cut(p, b);
    return plan.partials + plan.partial_begin[b] +
           (head * c.granules + granule) * c.rows * partial_width(p.value_dim());
  }

  static void merge_task(const softmax_attention_problem& p, const plan_type& plan, std::int64_t b,
                         std::int64_t head) noexcept {
    if (plan.partial_begin[b] == plan.partial_begin[b + 1]) {
      return;
    }
    const rows_type rows(p, b, head);
    const std::int64_t width = partial_width(p.value_dim());
    C* first = partial_of(p, plan, b, head, 0);
    for (std::int64_t r = 0; r < rows.count(); ++r, first += width) {
      merge_partials<C, Arch>(first, rows.count() * width, plan.cut(p, b).granules, p.value_dim());
      finish_split_row<terms_type, C, Arch>(rows, r, first[0], first[1], first + 2);
    }
  }
};

template <class TQ, class TK, class TV, class TO, class Arch, class Score, class Mask>
dispatch::offer flash_attention_cpu<TQ, TK, TV, TO, Arch, Score, Mask>::query(
    const softmax_attention_problem& p, const context& ctx) {
  const plan_type plan(p, ctx, nullptr);
  dispatch::offer answer;
  if (plan.lacks != nullptr) {
    answer.lacks = plan.lacks;
  } else if (plan.most_split_rows > split_kv_most_rows) {
    answer.lacks = "split_kv for more than 128 query rows a key-value head";
  }
  answer.target = simd::isa_name<Arch>();
  answer.algorithm = plan.passes == 2            ? "two_pass"
                     : plan.passes == 3          ? "three_pass"
                     : plan.most_split_rows == 0 ? "tiled"
                     : plan.tiles                ? "tiled and split_kv"
                                                 : "split_kv";
  answer.splits = plan.splits;
  answer.workspace_bytes = plan.bytes;
  return answer;
}

template <class TQ, class TK, class TV, class TO, class Arch, class Score, class Mask>
violation flash_attention_cpu<TQ, TK, TV, TO, Arch, Score, Mask>::run(
    const softmax_attention_problem& asked, const context& ctx, std::byte* scratch) {
  const plan_type plan(asked, ctx, scratch);
  softmax_attention_problem p = asked;
  if (p.wants_keys()) {
    const auto [B, T, H, D] = p.q.extents;
    p.row_lse = tensor_view(plan.row_lse, index_list<3>(B, H, T));
  }
  const std::int64_t tasks = plan.number_tasks(p);
  const auto attend = [&](std::int64_t index, int worker) { task(p, plan, index, worker); };
  ctx.executor.run(tasks, attend);
  if (plan.partial_begin[p.sequences] > 0) {
    const auto merge = [&](std::int64_t index, int) {
      merge_task(p, plan, index / p.kv_heads(), index % p.kv_heads());
    };
    ctx.executor.run(p.sequences * p.kv_heads(), merge);
  }
  if (p.wants_keys()) {
    write_key_outputs(p, ctx, plan);
  }
  return {};
}

/// The implementation as dispatch and compiled back-ends see it.
template <class TQ, class TK, class TV, class TO, class Arch, class Score = void, class Mask = void>
inline constexpr dispatch::implementation<softmax_attention_problem> flash_attention_entry{
    "flash", dispatch::processor::cpu,
    &flash_attention_cpu<TQ, TK, TV, TO, Arch, Score, Mask>::query,
    &flash_attention_cpu<TQ, TK, TV, TO, Arch, Score, Mask>::run};

/// The CPU implementations of a call with these element types, and these functors if there are any,
/// in order of preference.
template <class TQ, class TK, class TV, class TO, class Arch, class Score = void, class Mask = void>
inline constexpr std::array<dispatch::implementation<softmax_attention_problem>, 2>
    softmax_attention_cpu{
        {flash_attention_entry<TQ, TK, TV, TO, Arch, Score, Mask>,
         dispatch::oracle<softmax_attention_problem, Arch,
                          &naive_softmax_attention<TQ, TK, TV, TO, Arch, Score, Mask>>}};

/// The implementations of a call with functors in units that a C++ compiler compiles.
struct host_route {
  template <class TQ, class TK, class TV, class TO, class Arch, class Score, class Mask>
  static constexpr auto list = softmax_attention_cpu<TQ, TK, TV, TO, Arch, Score, Mask>;
};

/// The CUDA implementation of a call with functors: its kernel is compiled with them.
template <class T, class Score, class Mask>
struct cuda_functor_attention {
  static_assert(sizeof(T) == 0,
                "a call with a functor in a .cu file needs "
                "#include <seqmix/cuda/softmax_attention/functor.cuh>");
};

/// The same in units that nvcc compiles. A route is a template argument of the call, so that units
/// of both kinds can name the same functor.
struct nvcc_route {
  template <class TQ, class TK, class TV, class TO, class Arch, class Score, class Mask>
  static constexpr std::array<dispatch::implementation<softmax_attention_problem>, 3> list{
      {cuda_functor_attention<TQ, Score, Mask>::entry,
       softmax_attention_cpu<TQ, TK, TV, TO, Arch, Score, Mask>[0],
       softmax_attention_cpu<TQ, TK, TV, TO, Arch, Score, Mask>[1]}};
};

#if defined(__CUDACC__)
using default_route = nvcc_route;
#else
using default_route = host_route;
#endif

}  // namespace detail

SEQMIX_END_NAMESPACE
