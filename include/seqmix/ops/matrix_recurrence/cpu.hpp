// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <seqmix/dispatch/oracle.hpp>
#include <seqmix/ops/matrix_recurrence/recurrent.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// A worker's scratch, and how the tasks are cut. A task takes some of the tiles of one head of one
/// sequence through all its tokens: which ones moves no bits.
template <class C, class Arch>
struct recurrence_plan {
  static constexpr std::int64_t w = simd::lanes<C, Arch>;

  std::int64_t width;  // registers of values in a tile
  std::int64_t tiles;  // of a head
  std::int64_t parts;  // tasks of a head
  std::size_t worker_bytes;
  std::size_t bytes;

  recurrence_plan(const matrix_recurrence_problem& p, int workers) noexcept
      : width(state_tile_width<C, Arch>(p.key_dim())),
        tiles((p.value_dim() + width * w - 1) / (width * w)) {
    const std::int64_t heads = p.sequences * p.value_heads();
    // Enough tasks for the workers, but no more: each prepares the tokens' keys anew.
    // A denominator is one task's: it reads and writes a state that no tile has a part of.
    const std::int64_t wanted =
        heads == 0 || workers == 1 || p.normalise ? 1 : (2 * workers + heads - 1) / heads;
    parts = wanted < tiles ? wanted : tiles;
    scratch_layout layout;
    const token_rows<C, Arch> rows(layout, p);
    layout.take<C>(tiles * p.key_dim() * width * w);
    worker_bytes = layout.bytes();
    bytes = worker_bytes * static_cast<std::size_t>(workers) + scratch_alignment;
  }
};

/// The CPU implementation "recurrence".
template <class C, class Arch, state_decay Decay, state_update Update>
struct matrix_recurrence_cpu {
  using plan_type = recurrence_plan<C, Arch>;
  static constexpr std::int64_t w = simd::lanes<C, Arch>;

  static dispatch::offer query(const matrix_recurrence_problem& p, const context& ctx) {
    dispatch::offer answer;
    answer.algorithm = "recurrent";
    answer.target = simd::isa_name<Arch>();
    answer.workspace_bytes = plan_type(p, ctx.executor.concurrency()).bytes;
    if (!ctx.pin.algorithm.empty() && ctx.pin.algorithm != "recurrent") {
      answer.lacks = "the pinned algorithm (it has recurrent)";
    }
    return answer;
  }

  static violation run(const matrix_recurrence_problem& p, const context& ctx, std::byte* scratch) {
    const plan_type plan(p, ctx.executor.concurrency());
    const auto task = [&](std::int64_t index, int worker) {
      const std::int64_t heads = p.value_heads();
      const recurrence_sequence s = recurrence_sequence_at(p, index / (heads * plan.parts));
      const std::int64_t part = index % plan.parts;
      if (s.initial >= 0 && s.final >= 0) {
        run_head(p, plan, s, index / plan.parts % heads, part * plan.tiles / plan.parts,
                 (part + 1) * plan.tiles / plan.parts,
                 scratch + plan.worker_bytes * static_cast<std::size_t>(worker));
      }
    };
    ctx.executor.run(p.sequences * p.value_heads() * plan.parts, task);
    return {};
  }

 private:
  /// Tiles [begin, end) of one head of one sequence.
  static void run_head(const matrix_recurrence_problem& p, const plan_type& plan,
                       const recurrence_sequence& s, std::int64_t hv, std::int64_t begin,
                       std::int64_t end, std::byte* scratch) noexcept {
    scratch_layout layout(scratch);
    const token_rows<C, Arch> rows(layout, p);
    const std::int64_t columns = plan.width * w;
    const std::int64_t tile_size = p.key_dim() * columns;
    C* state = layout.take<C>(plan.tiles * tile_size);
    for (std::int64_t tile = begin; tile < end; ++tile) {
      load_state(p, s, hv, tile * columns, columns, state + tile * tile_size);
    }
    if (p.normalise) {
      load_normaliser(p, s, hv, rows);
    }
    const auto keep = [&](const any_out<4>& states, std::int64_t entry) {
      for (std::int64_t tile = begin; tile < end; ++tile) {
        store_state(p, states, entry, hv, tile * columns, columns, state + tile * tile_size);
      }
    };
    keep_rollback(p, s, 0, keep);
    for (std::int64_t first = 0; first < s.tokens;) {
      const std::int64_t count = s.run_length(p, first, recurrence_block);
      load_tokens<C, Arch>(p, s, hv, first, count, rows);
      for (std::int64_t tile = begin; tile < end; ++tile) {
        run_tile(plan.width, state + tile * tile_size, p.key_dim(), rows, count, tile * columns);
      }
      const std::int64_t last = end * columns;
      store_outputs<C, Arch>(p, s, hv, first, count, begin * columns,
                             last < p.value_dim() ? last : p.value_dim(), rows);
      first += count;
      if (p.checkpoints.given() && first % p.checkpoint_every == 0) {
        keep(entries_of(p.checkpoints, s.index), first / p.checkpoint_every - 1);
      }
      keep_rollback(p, s, first, keep);
    }
    if (p.final_state.given()) {
      keep(p.final_state, s.final);
    }
    if (p.final_normaliser.given() && begin == 0) {
      store_normaliser(p, s, hv, rows);
    }
  }

  /// After `done` tokens: the state of a sequence for its rollback entries, if it is one of them.
  template <class Keep>
  static void keep_rollback(const matrix_recurrence_problem& p, const recurrence_sequence& s,
                            std::int64_t done, const Keep& keep) noexcept {
    if (p.rollback.given() && s.tokens - done < p.rollback.extents[1]) {
      keep(entries_of(p.rollback, s.index), s.tokens - done);
    }
  }

  /// The states of one sequence.
  static any_out<4> entries_of(const any_out<5>& x, std::int64_t sequence) noexcept {
    any_out<4> entries;
    entries.data = static_cast<std::byte*>(x.data) +
                   sequence * x.strides[0] * static_cast<std::int64_t>(size_of(x.type));
    entries.type = x.type;
    for (std::size_t a = 0; a < 4; ++a) {
      entries.extents[a] = x.extents[a + 1];
      entries.strides[a] = x.strides[a + 1];
    }
    return entries;
  }

  static void load_normaliser(const matrix_recurrence_problem& p, const recurrence_sequence& s,
                              std::int64_t hv, const token_rows<C, Arch>& rows) noexcept {
    for (std::int64_t d = 0; d < rows.keys; ++d) {
      rows.z[d] = C(0);
    }
    const any_view<3>& x = p.initial_normaliser;
    if (x.given()) {
      with_real_elements(x.data, x.type, [&](const auto* data) {
        for (std::int64_t d = 0; d < p.key_dim(); ++d) {
          rows.z[d] = widen<C>(data[s.index * x.strides[0] + hv * x.strides[1] + d * x.strides[2]]);
        }
      });
    }
  }
  static void store_normaliser(const matrix_recurrence_problem& p, const recurrence_sequence& s,
                               std::int64_t hv, const token_rows<C, Arch>& rows) noexcept {
    const any_out<3>& x = p.final_normaliser;
    with_real_elements(x.data, x.type, [&]<class T>(T* data) {
      for (std::int64_t d = 0; d < p.key_dim(); ++d) {
        data[s.index * x.strides[0] + hv * x.strides[1] + d * x.strides[2]] = narrow<T>(rows.z[d]);
      }
    });
  }

  static void run_tile(std::int64_t width, C* state, std::int64_t keys,
                       const token_rows<C, Arch>& rows, std::int64_t count,
                       std::int64_t column) noexcept {
    const auto run = [&](auto constant) {
      state_tile<decltype(constant)::value, C, Arch>{state, keys}.template run<Decay, Update>(
          rows, count, column);
    };
    width == 4   ? run(std::integral_constant<int, 4>{})
    : width == 2 ? run(std::integral_constant<int, 2>{})
                 : run(std::integral_constant<int, 1>{});
  }

  /// Values [column, column + columns) of a head's initial state, zeros past the last or without
  /// one.
  static void load_state(const matrix_recurrence_problem& p, const recurrence_sequence& s,
                         std::int64_t hv, std::int64_t column, std::int64_t columns,
                         C* tile) noexcept {
    const any_view<4>& x = p.initial_state;
    if (!x.given()) {
      for (std::int64_t i = 0; i < p.key_dim() * columns; ++i) {
        tile[i] = C(0);
      }
      return;
    }
    const std::int64_t at = s.initial * x.strides[0] + hv * x.strides[1];
    with_real_elements(x.data, x.type, [&](const auto* data) __attribute__((always_inline)) {
      for (std::int64_t d = 0; d < p.key_dim(); ++d) {
        for (std::int64_t i = 0; i < columns; i += w) {
          simd::load_strided<C, Arch>(data + at + d * x.strides[2], x.strides[3], column + i,
                                      p.value_dim())
              .store_aligned(tile + d * columns + i);
        }
      }
    });
  }

  static void store_state(const matrix_recurrence_problem& p, const any_out<4>& x,
                          std::int64_t entry, std::int64_t hv, std::int64_t column,
                          std::int64_t columns, const C* tile) noexcept {
    const std::int64_t at = entry * x.strides[0] + hv * x.strides[1];
    with_real_elements(x.data, x.type, [&](auto* out) __attribute__((always_inline)) {
      for (std::int64_t d = 0; d < p.key_dim(); ++d) {
        for (std::int64_t i = 0; i < columns; i += w) {
          simd::store_strided<C, Arch>(simd::vec<C, Arch>::load_aligned(tile + d * columns + i),
                                       out + at + d * x.strides[2], x.strides[3], column + i,
                                       p.value_dim());
        }
      }
    });
  }
};

/// The implementation as dispatch and compiled back-ends see it.
template <class C, class Arch, state_decay Decay, state_update Update>
inline constexpr dispatch::implementation<matrix_recurrence_problem> matrix_recurrence_entry{
    "recurrence", dispatch::processor::cpu, &matrix_recurrence_cpu<C, Arch, Decay, Update>::query,
    &matrix_recurrence_cpu<C, Arch, Decay, Update>::run};

/// The CPU implementations of one operator, in order of preference; the oracle is the operator's.
template <class C, class Arch, state_decay Decay, state_update Update,
          void (*Naive)(const matrix_recurrence_problem&)>
inline constexpr std::array<dispatch::implementation<matrix_recurrence_problem>, 2>
    matrix_recurrence_list{{matrix_recurrence_entry<C, Arch, Decay, Update>,
                            dispatch::oracle<matrix_recurrence_problem, Arch, Naive>}};

}  // namespace detail

SEQMIX_END_NAMESPACE
