// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <seqmix/core/context.hpp>
#include <seqmix/ops/merge_attention/merge_attention.hpp>
#include <seqmix/ops/rope/rope.hpp>
#include <seqmix/ops/softmax_attention/sink_window_options.hpp>
#include <seqmix/ops/softmax_attention/sink_window_rows.hpp>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>
#include <string>

SEQMIX_BEGIN_NAMESPACE

/// An owning key-value cache for streams without end: the first s tokens (attention sinks) and the
/// last W, in constant memory. `batch` streams advance together.
///
///     sink_window_cache<float> cache(B, HK, D, V, {.sinks = 4, .window = 1020,
///                                    .rope = {.layout = rope_layout::half_split}});
///     cache.attend(q, k, v, o);           // q [B, n, H, D], k [B, n, HK, D], v [B, n, HK, V]
///
/// q and k come before rotary embedding. Token p attends to the tokens of
///
///     kept(p) = {j <= p: j < s or j > p - W}
///
/// with RoPE positions 0, 1, 2, ... in the order of the kept tokens, so that p has position
/// min(p, s + W - 1) and no distance is longer than those of s + W tokens. Until then it is plain
/// causal attention. It equals recomputation over the kept tokens up to rounding.
///
/// Keys are cached after RoPE at position p of the stream, and need no other rotation: inside the
/// window only differences count, and for the sinks the query is rotated a second time, to position
/// s + W - 1; `merge_attention` joins the two. Angles are computed in double: at stream position p
/// they are good to about p 2^-53, which is float's own precision up to p = 2^29 and 1e-4 at 1e12.
/// `sink_window_keys::unrotated` computes the definition word by word, one token after the other.
///
/// Memory: s + W + rollback + slack rows, allocated at construction; scratch, for at most that many
/// tokens at a time, is the thread's. Work: O(n (s + W) H (D + V)), and W + rollback rows are moved
/// once in slack / 2 tokens or more.
///
/// Errors: `seqmix::error`, with nothing changed. Xiao et al., "Efficient Streaming Language Models
/// with Attention Sinks", 2023.
template <class TK, class TV = TK, class Arch = simd::default_arch>
class sink_window_cache {
 public:
  sink_window_cache(std::int64_t batch, std::int64_t kv_heads, std::int64_t key_dim,
                    std::int64_t value_dim, const sink_window_options& options)
      : rows_(checked({batch, kv_heads, key_dim, value_dim, options.sinks, options.window,
                       options.rollback, options.slack},
                      options.rope)),
        rope_(options.rope),
        unrotated_(options.keys == sink_window_keys::unrotated) {}

  std::int64_t batch() const noexcept { return rows_.n.batch; }
  /// Tokens of each stream so far.
  std::int64_t length() const noexcept { return rows_.length(); }
  /// How many of them the newest one attended to.
  std::int64_t kept() const noexcept {
    return std::min(rows_.length(), rows_.n.sinks + rows_.n.window);
  }
  /// The newest tokens that `truncate` can take back.
  std::int64_t forgettable() const noexcept { return length() - rows_.least_length(); }
  /// Memory of keys and values.
  std::size_t bytes() const noexcept { return rows_.bytes(); }

  /// Adds n >= 0 tokens to each stream and attends from each of them, to itself too. k and v have
  /// the cache's types, q and o any. Runs on the CPU, on the context's executor.
  template <view_of<4> Q, detail::cache_input<TK> K, detail::cache_input<TV> V,
            mutable_view_of<4> O>
    requires detail::decode_tensors<Q, O>
  void attend(const Q& q, const K& k, const V& v, const O& o,
              const sink_window_attend_options& options = {}, const context& ctx = {}) {
    const auto queries = as_tensor_view(q);
    const auto keys = as_tensor_view(k);
    const auto values = as_tensor_view(v);
    const auto out = as_tensor_view(o);
    if (const detail::violation broken = check(queries, keys, values, out, options, ctx)) {
      detail::report(*broken);
      return;
    }
    const std::int64_t n = keys.extent(1);
    for (std::int64_t t = 0, count = 0; t < n; t += count) {
      count = rows_.make_room(unrotated_ ? 1 : n - t);
      const auto part = [&](const auto& x) { return x.slice(1, t, count); };
      sink_window_attend_options here = options;
      here.lse = part_of(options.lse, t, count);
      const context cpu{.executor = ctx.executor, .device = device_policy::cpu};
      if (unrotated_) {
        attend_by_slot(part(queries), part(keys), part(values), part(out), here, cpu);
      } else {
        attend_rotated(part(queries), part(keys), part(values), part(out), here, cpu);
      }
    }
  }

  /// Forgets what lies past the first `length` tokens, as if it had never come. At most the sinks
  /// can always remain; a longer stream, only if all that its window reaches is still there: see
  /// `forgettable` and `sink_window_options::rollback`.
  void truncate(std::int64_t length) {
    detail::contract<Arch> c{name};
    c.require(length >= 0, "length", "at least 0", length);
    if (length > rows_.n.sinks && length < rows_.least_length()) {
      c.fail("length",
             "at least " + std::to_string(rows_.least_length()) + ", or at most the " +
                 std::to_string(rows_.n.sinks) + " sinks: the window before that is gone",
             std::to_string(length));
    }
    if (const detail::violation broken = c.result()) {
      detail::report(*broken);
      return;
    }
    rows_.truncate(length);
  }

 private:
  static constexpr const char* name = "sink_window_cache";

  /// What `rope` says of its options, as said of this class's.
  static detail::violation about_rope(const detail::violation& v) {
    const std::string options = "options.";
    if (!v || v->argument().compare(0, options.size(), options) != 0) {
      return v;
    }
    return error(name, options + "rope." + v->argument().substr(options.size()), v->expected(),
                 v->actual());
  }

  static detail::sink_window_sizes checked(detail::sink_window_sizes n, const rope_options& turn) {
    detail::check_cache_sizes<Arch>(name, {{"batch", &n.batch},
                                           {"kv_heads", &n.kv_heads},
                                           {"key_dim", &n.key_dim},
                                           {"value_dim", &n.value_dim},
                                           {"options.sinks", &n.sinks},
                                           {"options.window", &n.window},
                                           {"options.rollback", &n.rollback},
                                           {"options.slack", &n.slack}});
    detail::contract<Arch> c{name};
    c.require(n.window >= 1, "options.window", "at least 1", n.window);
    constexpr const char* why = "positions are the cache's";
    c.absent("options.rope.positions", turn.positions.given(), why);
    c.absent("options.rope.position_offset", turn.position_offset != 0, why);
    c.absent("options.rope.axes", turn.axes != rope_axes::one, why);
    detail::violation broken = c.result();
    if (!broken) {
      rope_problem p;  // of no token
      p.x = tensor_view<const float, 4>(nullptr, index_list<4>(0, 0, n.kv_heads, n.key_dim));
      p.o = tensor_view<float, 4>(nullptr, index_list<4>(0, 0, n.kv_heads, n.key_dim));
      broken = about_rope(detail::check_rope<Arch>(p, turn, false));
    }
    if (broken) {
      n = {0, 0, 0, 0, 0, 1, 0, 1};
      detail::report(*broken);
    }
    n.slack = n.slack == 0 ? n.window + n.rollback : n.slack;
    return n;
  }

  template <class Q, class K, class V, class O>
  detail::violation check(const Q& q, const K& k, const V& v, const O& o,
                          const sink_window_attend_options& options, const context& ctx) const {
    detail::contract<Arch> c{name};
    detail::check_new_rows(c, any_view<4>(k), any_view<4>(v), rows_.n.batch, rows_.n.kv_heads,
                           rows_.n.key_dim, rows_.n.value_dim);
    c.equal("q", " tokens, as k has", k.extent(1), q.extent(1));
    c.require(ctx.device != device_policy::cuda, "context.device", "the CPU, where the cache lies",
              "cuda");
    c.absent("context.workspace", ctx.workspace.data() != nullptr, "scratch is the thread's");
    c.absent("context.pin",
             !ctx.pin.implementation.empty() || !ctx.pin.algorithm.empty() || !ctx.pin.isa.empty(),
             "several operators run");
    if (!c.holds()) {
      return c.result();
    }
    softmax_attention_options all = passed_on(options);
    all.causal = true;
    all.sink_logits = options.sink_logits;
    all.lse = options.lse;
    softmax_attention_problem p = detail::describe_attention(q, k, v, o, all, {});
    detail::check_attention(c, p, all, {});
    return c.result();
  }

  /// What every part of an attention gets. Sink logits are not among it: they enter once.
  static softmax_attention_options passed_on(const sink_window_attend_options& options) {
    softmax_attention_options part;
    part.scale = options.scale;
    part.softcap = options.softcap;
    return part;
  }

  static any_out<3> part_of(any_out<3> lse, std::int64_t t, std::int64_t count) noexcept {
    if (lse.given()) {
      lse.data = static_cast<std::byte*>(lse.data) +
                 t * lse.strides[2] * static_cast<std::int64_t>(size_of(lse.type));
      lse.extents[2] = count;
    }
    return lse;
  }

  /// Consecutive tokens, the first of them at `position`.
  template <class X, class Y>
  void rotate(const X& x, const Y& y, std::int64_t position, const context& cpu) const {
    rope_options turn = rope_;
    turn.position_offset = position;
    rope.operator()<Arch>(x, y, turn, cpu);
  }
  /// Tokens that are all at `position`.
  template <class X, class Y>
  void rotate_to(const X& x, const Y& y, std::int64_t position, const context& cpu) const {
    rope_options turn = rope_;
    turn.positions = tensor_view<const std::int64_t, 2>(
        &position, index_list<2>(x.extent(0), x.extent(1)), index_list<2>(0, 0));
    rope.operator()<Arch>(x, y, turn, cpu);
  }

  /// New tokens, all of which see every token before them, or none of which does.
  template <class TQ, class TO>
  void attend_rotated(const tensor_view<TQ, 4>& q, const tensor_view<const TK, 4>& k,
                      const tensor_view<const TV, 4>& v, const tensor_view<TO, 4>& o,
                      const sink_window_attend_options& options, const context& cpu) {
    using scratch =
        detail::sink_window_scratch<detail::compute_type<std::remove_const_t<TQ>, TK, TV, TO>,
                                    Arch>;
    const std::int64_t n = q.extent(1);
    const std::int64_t position = rows_.length();
    const bool all = rows_.next_sees_all();
    const bool two_parts = !all && rows_.n.sinks > 0;
    const std::size_t bytes = scratch(nullptr, q.extents(), o.extent(3), two_parts).bytes;
    const detail::scratch_lease lease({}, bytes);
    const scratch s(lease.data(), q.extents(), o.extent(3), two_parts);

    const std::int64_t begin = all ? 0 : rows_.row_of(position - rows_.n.window + 1);
    const std::int64_t end = rows_.row_of(position) + n;
    rotate(k, rows_.keys(end - n, n), position, cpu);
    rows_.add(v);
    softmax_attention_options near = passed_on(options);
    near.causal = true;
    near.window.left = all ? unbounded : rows_.n.window - 1;
    near.sink_logits = options.sink_logits;
    const auto attend_near = [&](const auto& result) {
      rotate(q, s.turned, position, cpu);
      softmax_attention.operator()<Arch>(s.turned, rows_.keys(begin, end - begin),
                                         rows_.values(begin, end - begin), result, near, cpu);
    };
    if (!two_parts) {
      near.lse = options.lse;
      attend_near(o);
      return;
    }
    near.lse = s.near_lse;
    attend_near(s.near);
    softmax_attention_options far = passed_on(options);
    far.lse = s.far_lse;
    rotate_to(q, s.turned, rows_.n.sinks + rows_.n.window - 1, cpu);
    softmax_attention.operator()<Arch>(s.turned, rows_.keys(0, rows_.n.sinks),
                                       rows_.values(0, rows_.n.sinks), s.far, far, cpu);
    merge_attention.operator()<Arch>(s.far, s.far_lse, s.near, s.near_lse, o,
                                     merge_attention_options{.lse = options.lse}, cpu);
  }

  /// One new token, by the definition. Allocates.
  template <class TQ, class TO>
  void attend_by_slot(const tensor_view<TQ, 4>& q, const tensor_view<const TK, 4>& k,
                      const tensor_view<const TV, 4>& v, const tensor_view<TO, 4>& o,
                      const sink_window_attend_options& options, const context& cpu) {
    using C = detail::compute_type<std::remove_const_t<TQ>, TK, TV, TO>;
    rows_.store_keys(k);
    rows_.add(v);
    const std::int64_t sinks = std::min(kept(), rows_.n.sinks);
    const std::int64_t others = kept() - sinks;
    const auto for_both = [&](const auto& f) {  // f(first slot, first row, count)
      f(std::int64_t{0}, std::int64_t{0}, sinks);
      f(sinks, rows_.row_of(length() - others), others);
    };
    detail::cache_memory<C, Arch> keys(batch() * kept(), rows_.n.kv_heads, rows_.n.key_dim);
    detail::cache_memory<TV, Arch> values(batch() * kept(), rows_.n.kv_heads, rows_.n.value_dim);
    detail::cache_memory<C, Arch> query(batch(), q.extent(2), q.extent(3));
    for_both([&](std::int64_t slot, std::int64_t row, std::int64_t count) {
      rotate(rows_.keys(row, count), keys.view(batch(), kept()).slice(1, slot, count), slot, cpu);
      for (std::int64_t b = 0; b < batch(); ++b) {
        for (std::int64_t i = 0; i < count; ++i) {
          values.store(rows_.values(row, count), b, i, b * kept() + slot + i);
        }
      }
    });
    rotate(q, query.view(batch(), 1), kept() - 1, cpu);
    softmax_attention_options last = passed_on(options);
    last.sink_logits = options.sink_logits;
    last.lse = options.lse;
    softmax_attention.operator()<Arch>(query.view(batch(), 1), keys.view(batch(), kept()),
                                       values.view(batch(), kept()), o, last, cpu);
  }

  detail::sink_window_rows<TK, TV, Arch> rows_;
  rope_options rope_;
  bool unrotated_;
};

SEQMIX_END_NAMESPACE
