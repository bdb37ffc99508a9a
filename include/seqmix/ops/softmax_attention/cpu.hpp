// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <seqmix/dispatch/oracle.hpp>
#include <seqmix/ops/softmax_attention/naive.hpp>
#include <seqmix/ops/softmax_attention/split_kv.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// How a call is cut into tasks, and where its scratch lies. Plain data.
template <class C, class Arch>
struct cpu_plan {
  std::int64_t task_rows = 0;  // query rows of a tiled task
  bool pinned_tiled = false;
  bool pinned_split = false;
  std::int64_t* task_begin = nullptr;     // [sequences + 1] first task of each sequence
  std::int64_t* partial_begin = nullptr;  // [sequences + 1] first partial element
  C* partials = nullptr;
  std::byte* worker_scratch = nullptr;
  std::size_t worker_bytes = 0;
};

/// What a plan says about a call before it runs.
struct plan_facts {
  std::size_t workspace_bytes = 0;
  std::int64_t splits = 1;
  std::int64_t most_split_rows = 0;
  bool tiled = false;
  bool split = false;
};

/// The CPU implementation "flash": for each sequence by itself the tiled algorithm, or split-KV
/// when few rows share a key-value head.
template <class TQ, class TK, class TV, class TO, class Arch>
struct flash_attention_cpu {
  using C = compute_type<TQ, TK, TV, TO>;
  using plan = cpu_plan<C, Arch>;
  using problem = softmax_attention_problem;
  using rows = query_rows<TQ, TK, TV, TO>;

  static bool splits(const plan& p, std::int64_t row_count) noexcept {
    return p.pinned_split || (!p.pinned_tiled && row_count <= split_kv_rows);
  }

  /// Lays the scratch out and counts the tasks; with a null base only the sizes are computed.
  static plan make_plan(const problem& p, const context& ctx, std::byte* base, plan_facts& facts) {
    plan result;
    result.pinned_tiled = ctx.pin.algorithm == "tiled";
    result.pinned_split = ctx.pin.algorithm == "split_kv";

    std::int64_t partial_elements = 0;
    std::int64_t most_split_rows = 0;
    std::int64_t most_rows = 0;
    for (std::int64_t b = 0; b < p.sequences; ++b) {
      const attention_sequence s = sequence_at(p, b);
      const std::int64_t row_count = s.mask.queries * p.group();
      if (splits(result, row_count)) {
        const std::int64_t granules = granule_count(s.mask.keys);
        most_split_rows = row_count > most_split_rows ? row_count : most_split_rows;
        facts.splits = granules > facts.splits ? granules : facts.splits;
        partial_elements += partials_of(p, row_count, granules);
      } else {
        most_rows = row_count > most_rows ? row_count : most_rows;
      }
    }
    facts.most_split_rows = most_split_rows;
    facts.tiled = most_rows > 0;
    facts.split = most_split_rows > 0;

    const int workers = ctx.executor.concurrency();
    result.task_rows = rows_per_task(p, most_rows, workers);
    scratch_layout layout(base);
    result.task_begin = layout.take<std::int64_t>(p.sequences + 1);
    result.partial_begin = layout.take<std::int64_t>(p.sequences + 1);
    result.partials = layout.take<C>(partial_elements);
    scratch_layout tiled;
    const flash_scratch<C, Arch> measure_tiled(tiled, facts.tiled ? result.task_rows : 0,
                                               p.key_dim(), p.value_dim());
    scratch_layout split;
    const split_scratch<C, Arch> measure_split(split, most_split_rows, p.key_dim(), p.value_dim());
    result.worker_bytes = tiled.bytes() > split.bytes() ? tiled.bytes() : split.bytes();
    result.worker_scratch =
        layout.take<std::byte>(static_cast<std::int64_t>(result.worker_bytes) * workers);
    facts.workspace_bytes = layout.bytes() + scratch_alignment;  // slack to align the user's span
    return result;
  }

  static dispatch::offer query(const problem& p, const context& ctx) {
    dispatch::offer answer;
    answer.target = simd::isa_name<Arch>();
    plan_facts facts;
    make_plan(p, ctx, nullptr, facts);
    if (!ctx.pin.algorithm.empty() && ctx.pin.algorithm != "tiled" &&
        ctx.pin.algorithm != "split_kv") {
      answer.lacks = "the pinned algorithm (it has tiled and split_kv)";
    } else if (facts.most_split_rows > split_kv_most_rows) {
      answer.lacks = "split_kv for more than 128 query rows a key-value head";
    }
    answer.algorithm = facts.split ? (facts.tiled ? "tiled and split_kv" : "split_kv") : "tiled";
    answer.splits = facts.splits;
    answer.workspace_bytes = facts.workspace_bytes;
    return answer;
  }

  static violation run(const problem& p, const context& ctx, std::byte* scratch) {
    plan_facts facts;
    const plan plan_ = make_plan(p, ctx, scratch, facts);
    std::int64_t tasks = 0;
    std::int64_t partial = 0;
    for (std::int64_t b = 0; b < p.sequences; ++b) {
      plan_.task_begin[b] = tasks;
      plan_.partial_begin[b] = partial;
      const attention_sequence s = sequence_at(p, b);
      const std::int64_t row_count = s.mask.queries * p.group();
      if (row_count == 0) {
        continue;
      }
      if (splits(plan_, row_count)) {
        const std::int64_t granules = granule_count(s.mask.keys);
        tasks += p.kv_heads() * granules;
        partial += partials_of(p, row_count, granules);
      } else {
        tasks += p.kv_heads() * ((row_count + plan_.task_rows - 1) / plan_.task_rows);
      }
    }
    plan_.task_begin[p.sequences] = tasks;
    plan_.partial_begin[p.sequences] = partial;

    const auto attend = [&](std::int64_t index, int worker) { task(p, plan_, index, worker); };
    ctx.executor.run(tasks, attend);
    if (partial > 0) {
      const auto merge = [&](std::int64_t index, int) { merge_task(p, plan_, index); };
      ctx.executor.run(p.sequences * p.kv_heads(), merge);
    }
    return {};
  }

 private:
  /// Elements of the partial results of one sequence; none when one granule holds it whole.
  static std::int64_t partials_of(const problem& p, std::int64_t row_count,
                                  std::int64_t granules) noexcept {
    return granules == 1 ? 0 : p.kv_heads() * granules * row_count * partial_width(p.value_dim());
  }

  /// Enough tasks for the workers, but as many rows in each as keep packing cheap. Strips are
  /// anchored at the sequence's first row, so that this choice moves no bits.
  static std::int64_t rows_per_task(const problem& p, std::int64_t most_rows,
                                    int workers) noexcept {
    constexpr std::int64_t strip = simd::tile_shape<Arch>::rows;
    const std::int64_t dims = p.key_dim() + p.value_dim();
    const std::int64_t most = round_up(dims <= 256 ? 768 : 768 * 256 / dims, strip);
    const std::int64_t least = 8 * strip;
    const std::int64_t heads = p.sequences * p.kv_heads();
    const std::int64_t wanted = workers == 1 ? 1 : 4 * workers;  // tasks
    const std::int64_t chunks = heads == 0 ? 1 : (wanted + heads - 1) / heads;
    const std::int64_t even = round_up((most_rows + chunks - 1) / chunks, strip);
    return even > most ? most : even < least ? least : even;
  }

  static void task(const problem& p, const plan& plan_, std::int64_t index, int worker) noexcept {
    std::int64_t low = 0;  // the sequence whose tasks hold `index`
    std::int64_t high = p.sequences;
    while (high - low > 1) {
      const std::int64_t middle = (low + high) / 2;
      (plan_.task_begin[middle] <= index ? low : high) = middle;
    }
    const std::int64_t local = index - plan_.task_begin[low];
    const std::int64_t per_head =
        (plan_.task_begin[low + 1] - plan_.task_begin[low]) / p.kv_heads();
    const std::int64_t head = local % p.kv_heads();
    const std::int64_t part = local / p.kv_heads();
    const rows r(p, low, head);
    scratch_layout layout(plan_.worker_scratch +
                          plan_.worker_bytes * static_cast<std::size_t>(worker));
    if (!splits(plan_, r.count())) {
      // The last rows see the most keys: they go first, so that the workers end together.
      const std::int64_t begin = (per_head - 1 - part) * plan_.task_rows;
      const std::int64_t end =
          begin + plan_.task_rows < r.count() ? begin + plan_.task_rows : r.count();
      const flash_scratch<C, Arch> s(layout, plan_.task_rows, p.key_dim(), p.value_dim());
      flash_task<C, Arch>(r, begin, end, s);
      return;
    }
    const split_scratch<C, Arch> s(layout, r.count(), p.key_dim(), p.value_dim());
    const std::int64_t keys = r.sequence.mask.keys;
    const std::int64_t granule = granule_keys(keys);
    const std::int64_t begin = part * granule;
    split_task<C, Arch>(r, begin, begin + granule < keys ? begin + granule : keys, s);
    if (per_head == 1) {
      for (std::int64_t i = 0; i < r.count(); ++i) {
        r.template finish<C, Arch>(i, s.state[i].maximum, simd::sum_lanes<C, Arch>(s.state[i].sum),
                                   s.values + i * s.value_width);
      }
      return;
    }
    store_partial<C, Arch>(s, r.count(), p.value_dim(),
                           partial_at(p, plan_, low, r.count(), per_head, head, part));
  }

  static C* partial_at(const problem& p, const plan& plan_, std::int64_t sequence,
                       std::int64_t row_count, std::int64_t granules, std::int64_t head,
                       std::int64_t granule) noexcept {
    return plan_.partials + plan_.partial_begin[sequence] +
           (head * granules + granule) * row_count * partial_width(p.value_dim());
  }

  static void merge_task(const problem& p, const plan& plan_, std::int64_t index) noexcept {
    const std::int64_t sequence = index / p.kv_heads();
    if (plan_.partial_begin[sequence] == plan_.partial_begin[sequence + 1]) {
      return;
    }
    const rows r(p, sequence, index % p.kv_heads());
    const std::int64_t granules = granule_count(r.sequence.mask.keys);
    const std::int64_t width = partial_width(p.value_dim());
    C* first = partial_at(p, plan_, sequence, r.count(), granules, r.kv_head, 0);
    for (std::int64_t i = 0; i < r.count(); ++i, first += width) {
      merge_partials<C, Arch>(first, r.count() * width, granules, p.value_dim());
      r.template finish<C, Arch>(i, first[0], first[1], first + 2);
    }
  }
};

/// The CPU implementations of a call with these element types, in order of preference.
template <class TQ, class TK, class TV, class TO, class Arch>
inline constexpr std::array<dispatch::implementation<softmax_attention_problem>, 2>
    softmax_attention_cpu{
        {{"flash", dispatch::processor::cpu, &flash_attention_cpu<TQ, TK, TV, TO, Arch>::query,
          &flash_attention_cpu<TQ, TK, TV, TO, Arch>::run},
         dispatch::oracle<softmax_attention_problem, Arch,
                          &naive_softmax_attention<TQ, TK, TV, TO, Arch>>}};

}  // namespace detail

SEQMIX_END_NAMESPACE
