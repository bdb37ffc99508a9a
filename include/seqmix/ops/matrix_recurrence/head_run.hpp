// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/head_state.hpp>
#include <seqmix/ops/matrix_recurrence/outputs.hpp>
#include <seqmix/ops/matrix_recurrence/plan.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// One worker on some tiles of one head of one sequence.
template <class C, class Arch, state_decay Decay, state_update Update>
class head_run {
 public:
  using plan_type = recurrence_plan<C, Arch>;

  const matrix_recurrence_problem& p;
  const plan_type& plan;
  recurrence_sequence s;
  std::int64_t hv;
  std::int64_t begin = 0;  // tiles
  std::int64_t end;
  token_rows<C, Arch> rows;
  C* state;

  head_run(const matrix_recurrence_problem& problem, const plan_type& the_plan,
           const recurrence_sequence& sequence, std::int64_t head, scratch_layout& layout) noexcept
      : p(problem),
        plan(the_plan),
        s(sequence),
        hv(head),
        end(the_plan.tiles),
        rows(layout, problem, the_plan.block, the_plan.choice.defers()) {
    if (plan.choice.algorithm == recurrence_algorithm::chunk) {
      chunk_ = chunk_rows<C, Arch>(layout, p, rows.values, plan.block);
    }
    state = layout.take<C>(plan.state_elements(p));
    const std::int64_t decays = Decay == state_decay::per_key ? rows.keys : 1;
    for (std::int64_t i = 0; i < decays; ++i) {
      rows.pending[i] = C(1);
      rows.owed[i] = C(0);
    }
    if (p.normalise) {
      load_normaliser(p, s, hv, rows);
    }
  }

  /// From the initial to the final state.
  void run_all() noexcept {
    load_initial();
    keep_rollback(0);
    advance(0, s.tokens);
    finish();
  }

  /// The same for a sequence of one block: tile by tile, each from the initial to the final state.
  void run_step() noexcept {
    load_tokens<C, Arch>(p, s, hv, 0, s.tokens, rows);
    defer(s.tokens);
    bool cut = false;
    for (std::int64_t t = 0; t < s.tokens; ++t) {
      cut = cut || cuts(t);
    }
    for (std::int64_t i = begin; i < end; ++i) {
      tile_of_state<C> t = tile(i);
      t.data = state;
      const tile_path<C> path = cut || s.tokens == 0 ? tile_path<C>{} : path_of(t);
      if (path.from == nullptr) {
        load_state<C, Arch>(p, p.initial_state, s.initial, hv, t);
      }
      run_tokens(rows, t, p.key_dim(), 0, s.tokens, path);
      if (path.to == nullptr && p.final_state.given()) {
        store_state<C, Arch>(p, p.final_state, s.final, hv, t, pending());
      }
    }
    emit(0, s.tokens);
    finish_normaliser();
  }

  /// The state before the first token.
  void load_initial() noexcept {
    for (std::int64_t i = begin; i < end; ++i) {
      load_state<C, Arch>(p, p.initial_state, s.initial, hv, tile(i));
    }
  }

  /// Tokens [from, to), with their outputs and the states on the way.
  void advance(std::int64_t from, std::int64_t to) noexcept {
    for (std::int64_t first = from; first < to;) {
      const std::int64_t count =
          s.run_length(p, first, plan.block < to - first ? plan.block : to - first);
      load_tokens<C, Arch>(p, s, hv, first, count, rows);
      run_block(count);
      emit(first, count);
      first += count;
      if (p.checkpoints.given() && first % p.checkpoint_every == 0) {
        keep(entries_of<Arch>(p.checkpoints, s.index), first / p.checkpoint_every - 1);
      }
      keep_rollback(first);
    }
  }

  /// After `done` tokens: the state for the rollback entries, if it is one of them.
  void keep_rollback(std::int64_t done) noexcept {
    if (p.rollback.given() && s.tokens - done < p.rollback.extents[1]) {
      keep(entries_of<Arch>(p.rollback, s.index), s.tokens - done);
    }
  }

  void finish() noexcept {
    if (p.final_state.given()) {
      keep(p.final_state, s.final);
    }
    finish_normaliser();
  }

  /// Decays of prepared tokens are worked into their rows.
  void defer(std::int64_t count) noexcept {
    if constexpr (Decay != state_decay::none) {
      defer_decay<Decay>(rows, count, Update != state_update::none,
                         Update == state_update::general);
    }
  }

  pending_decay<C> pending() const noexcept {
    return {Decay == state_decay::none ? nullptr : rows.pending, Decay == state_decay::per_key};
  }

  tile_of_state<C> tile(std::int64_t i) const noexcept {
    const std::int64_t columns = plan.columns();
    return {state + i * p.key_dim() * columns, i * columns, columns};
  }

  /// Tokens [0, count) of a block whose decays are deferred, on one tile.
  void run_tile(const tile_of_state<C>& t, std::int64_t count) const noexcept {
    run_tokens(rows, t, p.key_dim(), 0, count);
  }

  static void run_tokens(const token_rows<C, Arch>& rows, const tile_of_state<C>& t,
                         std::int64_t keys, std::int64_t first, std::int64_t last,
                         const tile_path<C>& path = {}) noexcept {
    with_width(t.columns, [&](auto width) {
      state_tile<decltype(width)::value, C, Arch>{t.data, keys}.template run<Decay, Update>(
          rows, first, last, t.first, path);
    });
  }

 private:
  chunk_rows<C, Arch> chunk_;

  /// `f(constant)` of how many registers `columns` are.
  template <class F>
  static void with_width(std::int64_t columns, F&& f) noexcept {
    constexpr std::int64_t w = simd::lanes<C, Arch>;
    columns == 4 * w   ? f(std::integral_constant<int, 4>{})
    : columns == 2 * w ? f(std::integral_constant<int, 2>{})
                       : f(std::integral_constant<int, 1>{});
  }

  void run_block(std::int64_t count) noexcept {
    if (plan.choice.algorithm == recurrence_algorithm::chunk) {
      run_chunks(count);
      return;
    }
    defer(count);
    for (std::int64_t i = begin; i < end; ++i) {
      run_tile(tile(i), count);
    }
  }

  /// A block as chunks that none of their tokens cuts: one that does runs by itself.
  void run_chunks(std::int64_t count) noexcept {
    for (std::int64_t first = 0; first < count;) {
      std::int64_t last = first + 1;
      const bool alone = cuts(first);
      while (!alone && last < count && !cuts(last)) {
        ++last;
      }
      const chunk_run<C, Arch, Decay, Update> chunk{rows, chunk_, first, last};
      if (alone) {
        rows.multiplies[first] = true;
      } else {
        chunk.prepare();
      }
      for (std::int64_t i = begin; i < end; ++i) {
        const tile_of_state<C> t = tile(i);
        if (alone) {
          run_tokens(rows, t, p.key_dim(), first, last);
        } else {
          with_width(t.columns, [&](auto width) {
            chunk.template run<decltype(width)::value>(t.data, p.key_dim(), t.first);
          });
        }
      }
      first = last;
    }
  }

  /// The ends of a tile's way that lie in the caller's memory as the recurrence would have them.
  tile_path<C> path_of(const tile_of_state<C>& t) const noexcept {
    tile_path<C> path;
    const auto fits = [&](const auto& x) {
      return x.given() && x.type == scalar_type_of<C> && x.strides[3] == 1 &&
             t.first + t.columns <= p.value_dim();
    };
    if (fits(p.initial_state)) {
      const any_view<4>& x = p.initial_state;
      path.from =
          static_cast<const C*>(x.data) + s.initial * x.strides[0] + hv * x.strides[1] + t.first;
      path.from_step = x.strides[2];
      if (t.first + 2 * t.columns <= p.value_dim()) {
        path.ahead = path.from + t.columns;
      } else if (hv + 1 < p.value_heads()) {
        path.ahead = path.from + x.strides[1] - t.first;
      }
    }
    if (fits(p.final_state)) {
      const any_out<4>& x = p.final_state;
      path.to = static_cast<C*>(x.data) + s.final * x.strides[0] + hv * x.strides[1] + t.first;
      path.to_step = x.strides[2];
      path.decay = pending();
    }
    return path;
  }

  bool cuts(std::int64_t t) const noexcept { return Decay != state_decay::none && rows.cut[t]; }

  void emit(std::int64_t first, std::int64_t count) const noexcept {
    const std::int64_t last = end * plan.columns();
    output_block<C, Arch>{p,
                          s,
                          hv,
                          first,
                          count,
                          begin * plan.columns(),
                          last < p.value_dim() ? last : p.value_dim(),
                          rows}
        .store();
  }

  void keep(const any_out<4>& states, std::int64_t entry) const noexcept {
    for (std::int64_t i = begin; i < end; ++i) {
      store_state<C, Arch>(p, states, entry, hv, tile(i), pending());
    }
  }

  void finish_normaliser() const noexcept {
    if (p.final_normaliser.given() && begin == 0) {
      store_normaliser(p, s, hv, rows);
    }
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
