// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/context.hpp>
#include <seqmix/ops/softmax_attention/key_outputs.hpp>
#include <seqmix/ops/softmax_attention/tasks.hpp>
#include <string_view>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// How one sequence is computed.
struct sequence_cut {
  std::int64_t rows = 0;      // query rows of each key-value head
  bool split = false;         // split-KV rather than tiled
  std::int64_t granules = 0;  // of split-KV
  std::int64_t partials = 0;  // elements of its partial results, all key-value heads together
};

/// How a call is cut into tasks, and where its scratch lies. Nothing in it that depends on the
/// executor moves a bit of the result.
template <class C, class Arch>
struct attention_plan {
  bool always_tiled = false;
  bool always_split = false;
  int passes = 1;                         // of the tiled algorithm over the keys
  const char* lacks = nullptr;            // what is pinned and cannot be
  bool tiles = false;                     // some sequence is tiled
  std::int64_t most_split_rows = 0;       // rows of the largest sequence that is split
  std::int64_t splits = 1;                // granules of the longest sequence that is split
  std::int64_t task_rows = 0;             // query rows of a tiled task
  std::int64_t* task_begin = nullptr;     // [sequences + 1] first task of each sequence
  std::int64_t* partial_begin = nullptr;  // [sequences + 1] first partial element
  C* partials = nullptr;
  double* row_lse = nullptr;  // [B, H, T], for key outputs
  C* key_scores = nullptr;    // [sequences, heads of key outputs, longest]
  std::int64_t longest = 0;   // keys of a sequence, when key outputs are asked for
  std::byte* worker_scratch = nullptr;
  std::size_t worker_bytes = 0;
  std::size_t bytes = 0;  // of the whole scratch, slack for alignment included

  /// With a null base only the sizes are computed.
  attention_plan(const softmax_attention_problem& p, const context& ctx, std::byte* base) noexcept
      : always_split(ctx.pin.algorithm == "split_kv") {
    choose(p, ctx.pin.algorithm);
    std::int64_t partial_elements = 0;
    std::int64_t most_tiled_rows = 0;
    for (std::int64_t b = 0; b < p.sequences; ++b) {
      const sequence_cut c = cut(p, b);
      std::int64_t& most = c.split ? most_split_rows : most_tiled_rows;
      most = c.rows > most ? c.rows : most;
      splits = c.granules > splits ? c.granules : splits;
      partial_elements += c.partials;
    }
    const int workers = ctx.executor.concurrency();
    tiles = most_tiled_rows > 0;
    task_rows = rows_per_task(p, most_tiled_rows, workers,
                              {.strip = simd::tile_shape<Arch>::rows, .least = 8, .most = 768});

    scratch_layout layout(base);
    task_begin = layout.take<std::int64_t>(p.sequences + 1);
    partial_begin = layout.take<std::int64_t>(p.sequences + 1);
    partials = layout.take<C>(partial_elements);
    scratch_layout tiled;
    const flash_scratch<C, Arch> of_tiled(tiled, tiles ? task_rows : 0, p.key_dim(), p.value_dim());
    scratch_layout split;
    const split_scratch<C, Arch> of_split(split, most_split_rows, p.key_dim(), p.value_dim());
    worker_bytes = tiled.bytes() > split.bytes() ? tiled.bytes() : split.bytes();
    if (p.wants_keys()) {
      longest = longest_keys(p);
      row_lse = layout.take<double>(p.q.extents[0] * p.heads() * p.q.extents[1]);
      key_scores = layout.take<C>(p.sequences * key_output_heads(p) * longest);
      scratch_layout keys;
      const key_output_scratch<C, Arch> of_keys(keys, p);
      worker_bytes = keys.bytes() > worker_bytes ? keys.bytes() : worker_bytes;
    }
    worker_scratch = layout.take<std::byte>(static_cast<std::int64_t>(worker_bytes) * workers);
    bytes = layout.bytes() + scratch_alignment;
  }

  sequence_cut cut(const softmax_attention_problem& p, std::int64_t b) const noexcept {
    const visibility mask = sequence_at(p, b).mask;
    sequence_cut c;
    c.rows = mask.queries * p.group();
    c.split = always_split || (!always_tiled && c.rows <= split_kv_rows);
    if (c.split) {
      c.granules = granule_count(mask.keys);
      c.partials =
          c.granules == 1 ? 0 : p.kv_heads() * c.granules * c.rows * partial_width(p.value_dim());
    }
    return c;
  }

  /// Numbers the tasks and the partial results; returns how many tasks there are.
  std::int64_t number_tasks(const softmax_attention_problem& p) const noexcept {
    task_begin[0] = 0;
    partial_begin[0] = 0;
    for (std::int64_t b = 0; b < p.sequences; ++b) {
      const sequence_cut c = cut(p, b);
      const std::int64_t parts = c.rows == 0 ? 0
                                 : c.split   ? c.granules
                                             : (c.rows + task_rows - 1) / task_rows;
      task_begin[b + 1] = task_begin[b] + p.kv_heads() * parts;
      partial_begin[b + 1] = partial_begin[b] + c.partials;
    }
    return task_begin[p.sequences];
  }

 private:
  /// What is pinned, if anything, and what the normaliser needs. Passes beyond the first are the
  /// tiled algorithm's.
  void choose(const softmax_attention_problem& p, std::string_view pinned) noexcept {
    const bool softmax = p.normaliser.weights == attention_weights::softmax;
    const bool reweighted = p.normaliser.sharpen > 0;
    const bool two = pinned == "two_pass";
    const bool three = pinned == "three_pass";
    passes = two || reweighted ? 2 : three ? 3 : 1;
    always_tiled = pinned == "tiled" || passes > 1;
    if (!pinned.empty() && !always_tiled && !always_split) {
      lacks = "the pinned algorithm (it has tiled, split_kv, two_pass and three_pass)";
    } else if (reweighted && !pinned.empty() && !two) {
      lacks = "the pinned algorithm for re-weighted softplus, which takes two_pass";
    } else if ((two || three) && !softmax && !reweighted) {
      lacks = "two_pass and three_pass for this normaliser, which needs one pass";
    }
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
