// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/head_run.hpp>

// The segmented algorithm, for few heads and many tokens on many workers. A segment of tokens maps
// the state S before it to M S + h. First all segments find their M and h at once, h by a run from
// zeros and M by a run from the identity that writes nothing; then each head goes through its
// segments; then all segments run at once from their true states. M is diagonal without an update,
// and h and the last run cost as much as the recurrence each, so that this is twice its work, and
// with an update three times when V = K.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class C, class Arch, state_decay Decay, state_update Update>
struct segmented_run {
  using V = simd::vec<C, Arch>;
  using head = head_run<C, Arch, Decay, Update>;
  using plan_type = recurrence_plan<C, Arch>;
  static constexpr std::int64_t w = simd::lanes<C, Arch>;
  static constexpr bool diagonal = Update == state_update::none;

  const matrix_recurrence_problem& p;
  const plan_type& plan;
  std::byte* scratch;
  C* segments;  // [sequences][heads][segments]: state, transition, normaliser

  segmented_run(const matrix_recurrence_problem& problem, const plan_type& the_plan,
                std::byte* memory, int workers) noexcept
      : p(problem),
        plan(the_plan),
        scratch(memory),
        segments(
            reinterpret_cast<C*>(memory + plan.worker_bytes * static_cast<std::size_t>(workers))) {}

  void run(const executor_ref& executor) const {
    const auto each = [&](std::int64_t parts, const auto& f) {
      over_heads(p, plan, executor, scratch, parts, f);
    };
    each(plan.segments, [&](const recurrence_sequence& s, std::int64_t hv, std::int64_t i,
                            std::byte* own) { summarise(s, hv, i, own); });
    each(1, [&](const recurrence_sequence& s, std::int64_t hv, std::int64_t /*part*/,
                std::byte* own) { connect(s, hv, own); });
    each(plan.segments, [&](const recurrence_sequence& s, std::int64_t hv, std::int64_t i,
                            std::byte* own) { finish(s, hv, i, own); });
  }

 private:
  struct segment {
    C* state;       // h, then the state before the segment; tiles
    C* transition;  // M; tiles
    C* normaliser;  // [keys]
    std::int64_t from;
    std::int64_t to;
  };

  segment segment_at(const recurrence_sequence& s, std::int64_t hv, std::int64_t i) const noexcept {
    segment result;
    result.state =
        segments + ((s.index * p.value_heads() + hv) * plan.segments + i) * plan.segment_elements;
    result.transition = result.state + plan.state_elements(p);
    result.normaliser = result.transition + plan.transition_elements(p);
    const std::int64_t length = plan.choice.segment_length(s.tokens);
    result.from = i * length;
    const std::int64_t to = result.from + length;
    result.to = to < s.tokens ? to : s.tokens;
    return result;
  }
  /// The last segment of a sequence; an empty sequence has one, too.
  bool is_last(const recurrence_sequence& s, const segment& x) const noexcept {
    return x.to == s.tokens && (x.from < s.tokens || x.from == 0);
  }

  /// M and h of a segment that others follow.
  void summarise(const recurrence_sequence& s, std::int64_t hv, std::int64_t i,
                 std::byte* own) const noexcept {
    const segment x = segment_at(s, hv, i);
    if (x.from >= s.tokens || is_last(s, x)) {
      return;
    }
    scratch_layout layout(own);
    head h(p, plan, s, hv, layout);
    for (std::int64_t e = 0; e < plan.state_elements(p); ++e) {
      h.state[e] = C(0);
    }
    for (std::int64_t d = 0; p.normalise && d < h.rows.keys; ++d) {
      h.rows.z[d] = C(0);
    }
    C* transition = layout.take<C>(plan.transition_elements(p));
    set_identity(transition);
    // A token of the transition writes nothing, and nobody reads its output.
    token_rows<C, Arch> silent = h.rows;
    silent.values = 0;
    silent.beta = nullptr;
    silent.v = layout.take<C>(plan.transition_columns());
    silent.o = layout.take<C>(plan.transition_columns());
    for (std::int64_t e = 0; e < plan.transition_columns(); ++e) {
      silent.v[e] = C(0);
    }
    for (std::int64_t first = x.from; first < x.to; first += plan.block) {
      const std::int64_t count = plan.block < x.to - first ? plan.block : x.to - first;
      load_tokens<C, Arch>(p, s, hv, first, count, h.rows);
      h.defer(count);
      for (std::int64_t tile = 0; tile < plan.tiles; ++tile) {
        h.run_tile(h.tile(tile), count);
      }
      for (std::int64_t tile = 0; tile < plan.transition_tiles; ++tile) {
        head::run_tokens(silent, transition_tile(transition, tile), p.key_dim(), 0, count);
      }
    }
    for (std::int64_t tile = 0; tile < plan.tiles; ++tile) {
      settle_state<C, Arch>(p.key_dim(), h.tile(tile), h.pending(),
                            x.state + (h.tile(tile).data - h.state));
    }
    for (std::int64_t tile = 0; tile < plan.transition_tiles; ++tile) {
      const tile_of_state<C> t = transition_tile(transition, tile);
      settle_state<C, Arch>(p.key_dim(), t, h.pending(), x.transition + (t.data - transition));
    }
    for (std::int64_t d = 0; p.normalise && d < h.rows.keys; ++d) {
      x.normaliser[d] = h.rows.z[d];
    }
  }

  tile_of_state<C> transition_tile(C* transition, std::int64_t i) const noexcept {
    const std::int64_t columns = plan.transition_width * w;
    return {transition + i * p.key_dim() * columns, i * columns, columns};
  }

  /// The identity; of a diagonal one just the diagonal, in the first column.
  void set_identity(C* transition) const noexcept {
    for (std::int64_t i = 0; i < plan.transition_tiles; ++i) {
      const tile_of_state<C> t = transition_tile(transition, i);
      for (std::int64_t d = 0; d < p.key_dim(); ++d) {
        for (std::int64_t c = 0; c < t.columns; ++c) {
          t.data[d * t.columns + c] = C(diagonal ? c == 0 : t.first + c == d);
        }
      }
    }
  }

  /// From the h and M of a head's segments to the states before them.
  void connect(const recurrence_sequence& s, std::int64_t hv, std::byte* own) const noexcept {
    scratch_layout layout(own);
    head h(p, plan, s, hv, layout);
    h.load_initial();
    for (std::int64_t i = 0; i < plan.segments; ++i) {
      const segment x = segment_at(s, hv, i);
      if (i > 0 && x.from >= s.tokens) {
        return;
      }
      for (std::int64_t d = 0; p.normalise && d < h.rows.keys; ++d) {
        const C before = h.rows.z[d];
        h.rows.z[d] += is_last(s, x) ? C(0) : x.normaliser[d];
        x.normaliser[d] = before;
      }
      for (std::int64_t tile = 0; tile < plan.tiles; ++tile) {
        const tile_of_state<C> before = h.tile(tile);
        C* after = x.state + (before.data - h.state);
        if (!is_last(s, x)) {
          follow(x.transition, before, after);
        }
        for (std::int64_t e = 0; e < p.key_dim() * before.columns; ++e) {
          const C kept = before.data[e];
          before.data[e] = after[e];
          after[e] = kept;
        }
      }
    }
  }

  /// h = h + M S for a tile S. What a segment forgets of S, it forgets also when that is no number.
  void follow(const C* transition, const tile_of_state<C>& s, C* h) const noexcept {
    const std::int64_t keys = p.key_dim();
    const std::int64_t columns = plan.transition_width * w;
    for (std::int64_t e = 0; e < keys; ++e) {
      // Column e of M, which is what row e of S becomes.
      const C* m = transition + e / columns * keys * columns + e % columns;
      for (std::int64_t d = diagonal ? e : 0; d < (diagonal ? e + 1 : keys); ++d) {
        const C factor = diagonal ? transition[d * columns] : m[d * columns];
        if (factor == C(0)) {
          continue;
        }
        const V f(factor);
        for (std::int64_t i = 0; i < s.columns; i += w) {
          C* at = h + d * s.columns + i;
          simd::fma(f, V::load_aligned(s.data + e * s.columns + i), V::load_aligned(at))
              .store_aligned(at);
        }
      }
    }
  }

  /// A segment from its true state, with everything that the call asks for.
  void finish(const recurrence_sequence& s, std::int64_t hv, std::int64_t i,
              std::byte* own) const noexcept {
    const segment x = segment_at(s, hv, i);
    if (i > 0 && x.from >= s.tokens) {
      return;
    }
    scratch_layout layout(own);
    head h(p, plan, s, hv, layout);
    for (std::int64_t e = 0; e < plan.state_elements(p); ++e) {
      h.state[e] = x.state[e];
    }
    for (std::int64_t d = 0; p.normalise && d < h.rows.keys; ++d) {
      h.rows.z[d] = x.normaliser[d];
    }
    if (x.from == 0) {
      h.keep_rollback(0);
    }
    h.advance(x.from, x.to);
    if (is_last(s, x)) {
      h.finish();
    }
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
