// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <seqmix/core/checks.hpp>
#include <seqmix/core/context.hpp>
#include <seqmix/core/convert.hpp>
#include <seqmix/simd/load.hpp>
#include <seqmix/simd/math.hpp>
#include <seqmix/simd/tile.hpp>

// What turns published relative positions into `softmax_attention_options::relative_bias`, or into
// tables for the functors of position_scores.hpp. Entry e of a table with origin z is distance
// e - z, a query's place less a key's.

SEQMIX_BEGIN_NAMESPACE

/// Options of `relative_position_logits`.
struct relative_position_options {
  std::optional<double> scale{};  ///< that of the attention; D^-0.5 when absent
  any_view<2> v{};                ///< [H, D], added to the queries; none when not given
};

namespace detail {

template <class X, std::size_t Rank>
concept real_view_of = view_of<X, Rank> && real_scalar<typename X::element_type>;
template <class X, std::size_t Rank>
concept real_output_of = mutable_view_of<X, Rank> && real_scalar<typename X::element_type>;

template <class X>
using stored_type = std::remove_const_t<typename X::element_type>;

/// The kernel of `relative_position_logits`.
template <class C, class Arch, class TQ, class TR, class TO>
struct relative_logits {
  using V = simd::vec<C, Arch>;
  static constexpr int w = simd::lanes<C, Arch>;
  static constexpr std::int64_t most_channels = 1024;
  static constexpr int tokens = 4;  // they share each load of r

  tensor_view<const TQ, 4> q;
  tensor_view<const TR, 3> r;
  tensor_view<TO, 4> out;
  any_view<2> v;
  C scale;

  /// Tokens [t, t + tokens) of head h of sequence b against every row of r.
  void task(std::int64_t b, std::int64_t h, std::int64_t t) const noexcept {
    const std::int64_t channels = q.extent(3);
    const std::int64_t count = q.extent(1) - t < tokens ? q.extent(1) - t : tokens;
    alignas(64) C query[tokens][most_channels + w];
    for (std::int64_t i = 0; i < count; ++i) {
      const TQ* row = &q(b, t + i, h, 0);
      for (std::int64_t d = 0; d < channels; ++d) {
        query[i][d] = widen<C>(row[d * q.stride(3)]);
      }
      if (v.given()) {
        with_real_elements(v.data, v.type, [&](const auto* data) {
          for (std::int64_t d = 0; d < channels; ++d) {
            query[i][d] += widen<C>(data[h * v.strides[0] + d * v.strides[1]]);
          }
        });
      }
    }
    for (std::int64_t i = 0; i < tokens; ++i) {
      for (std::int64_t d = i < count ? channels : 0; d < channels + w; ++d) {
        query[i][d] = C(0);
      }
    }
    for (std::int64_t e = 0; e < r.extent(0); ++e) {
      const TR* row = &r(e, r.extent(1) == 1 ? 0 : h, 0);
      V sum[tokens];
      simd::unroll<tokens>([&](auto i) __attribute__((always_inline)) { sum[i] = V(C(0)); });
      for (std::int64_t d = 0; d < channels; d += w) {
        const V x = simd::load_strided<C, Arch>(row, r.stride(2), d, channels);
        simd::unroll<tokens>([&](auto i) __attribute__((always_inline)) {
          sum[i] = simd::fma(V::load_unaligned(query[i] + d), x, sum[i]);
        });
      }
      for (std::int64_t i = 0; i < count; ++i) {
        out(b, h, t + i, e) = narrow<TO>(simd::sum_lanes<C, Arch>(sum[i]) * scale);
      }
    }
  }
};

/// Host memory, of a helper that runs on the CPU alone.
template <class Tag, class Pointer, std::size_t Rank>
void check_on_host(contract<Tag>& c, const char* argument, const erased_view<Pointer, Rank>& v) {
  c.tensor(argument, v);
  c.require(v.memory.on_host(), argument, "host memory", device_text(v.memory).c_str());
}

}  // namespace detail

/// Logits of queries with the embeddings of distances:
///
///     out[b, h, i, e] = scale (q[b, i, h, :] + v[h, :]) . r[e, h, :]
///
/// q [B, T, H, D], r [R, H, D] or [R, 1, D], out [B, H, T, R]; D at most 1024. With them as
/// `relative_bias`, and q + u in place of q (`add_head_bias`), attention is that of Transformer-XL,
///
///     s_ij = scale ((q_i + u) . k_j + (q_i + v) . r_(i - j)),
///
/// where r are projected `sinusoids`. The published shift is the option's index: nothing is copied.
/// With v not given they are the q . r of HaloNet. Sums are kept in float, in double when a tensor
/// is double. Packed sequences: a call for each, into its part of [sequences, H, longest q, R].
///
/// Work: 2 B T H R D operations, as for R more keys; runs on the context's executor, allocates
/// nothing. Errors: every violated line of this contract, with nothing written.
///
/// Dai et al., "Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context", 2019.
template <class Arch = simd::default_arch, detail::real_view_of<4> Q, detail::real_view_of<3> R,
          detail::real_output_of<4> O>
void relative_position_logits(const Q& q, const R& r, const O& out,
                              const relative_position_options& options = {},
                              const context& ctx = {}) {
  using TQ = detail::stored_type<Q>;
  using TR = detail::stored_type<R>;
  using TO = detail::stored_type<O>;
  using C = detail::compute_type<TQ, TR, TO>;
  using kernel = detail::relative_logits<C, Arch, TQ, TR, TO>;
  const any_view<4> queries(q);
  const any_view<3> rows(r);
  const any_out<4> logits(out);
  const auto [B, T, H, D] = queries.extents;
  const double scale = options.scale.value_or(1.0 / std::sqrt(static_cast<double>(D)));

  detail::contract<Arch> c("relative_position_logits");
  detail::check_on_host(c, "q", queries);
  detail::check_on_host(c, "r", rows);
  detail::check_on_host(c, "out", logits);
  c.in_range("q.extent(D)", D, 1, kernel::most_channels);
  c.shape("r", rows, {rows.extents[0], rows.extents[1] == 1 ? 1 : H, D}, "[R, H or 1, D]");
  c.shape("out", logits, {B, H, T, rows.extents[0]}, "[B, H, T, R]");
  c.require(std::isfinite(scale), "options.scale", "a finite number", scale);
  if (options.v.given()) {
    detail::check_on_host(c, "options.v", options.v);
    c.shape("options.v", options.v, {H, D}, "[H, D]");
    c.real("options.v", options.v.type).no_overlap("out", logits, "options.v", options.v);
  }
  c.no_overlap("out", logits, "q", queries).no_overlap("out", logits, "r", rows);
  c.no_self_overlap("out", logits);
  if (const detail::violation broken = c.result()) {
    return detail::report(*broken);
  }
  const kernel k{as_tensor_view(q), as_tensor_view(r), as_tensor_view(out), options.v,
                 static_cast<C>(scale)};
  const std::int64_t blocks = (k.q.extent(1) + kernel::tokens - 1) / kernel::tokens;
  const std::int64_t heads = k.q.extent(2);
  const auto task = [&](std::int64_t index, int) {
    k.task(index / (heads * blocks), index / blocks % heads, index % blocks * kernel::tokens);
  };
  ctx.executor.run(k.q.extent(0) * heads * blocks, task);
}

/// o[b, t, h, :] = q[b, t, h, :] + u[h, :], rounded to o's type: the queries of Transformer-XL's
/// content term. q and o [B, T, H, D], u [H, D]; apart from each other in memory.
template <class Arch = simd::default_arch, detail::real_view_of<4> Q, detail::real_view_of<2> U,
          detail::real_output_of<4> O>
void add_head_bias(const Q& q, const U& u, const O& o) {
  using C =
      detail::compute_type<detail::stored_type<Q>, detail::stored_type<U>, detail::stored_type<O>>;
  const auto from = as_tensor_view(q);
  const auto bias = as_tensor_view(u);
  const auto to = as_tensor_view(o);
  const any_out<4> result(o);
  detail::contract<Arch> c("add_head_bias");
  detail::check_on_host(c, "q", any_view<4>(q));
  detail::check_on_host(c, "u", any_view<2>(u));
  detail::check_on_host(c, "o", result);
  c.shape("u", any_view<2>(u), {from.extent(2), from.extent(3)}, "[H, D]");
  c.shape("o", result, any_view<4>(q).extents, "[B, T, H, D]");
  c.no_overlap("o", result, "q", any_view<4>(q)).no_overlap("o", result, "u", any_view<2>(u));
  c.no_self_overlap("o", result);
  if (const detail::violation broken = c.result()) {
    return detail::report(*broken);
  }
  for (std::int64_t b = 0; b < from.extent(0); ++b) {
    for (std::int64_t t = 0; t < from.extent(1); ++t) {
      for (std::int64_t h = 0; h < from.extent(2); ++h) {
        for (std::int64_t d = 0; d < from.extent(3); ++d) {
          to(b, t, h, d) = detail::narrow<detail::stored_type<O>>(
              detail::widen<C>(from(b, t, h, d)) + detail::widen<C>(bias(h, d)));
        }
      }
    }
  }
}

/// The sinusoids of Transformer-XL, which a layer projects to r: for the distance x = e - origin,
///
///     r[e, c] = sin(x base^(-2c / D)),   r[e, c + D / 2] = cos(x base^(-2c / D)),   c < D / 2
///
/// r [R, D], D even. Angles are computed in double.
template <class Arch = simd::default_arch, detail::real_output_of<2> R>
void sinusoids(const R& r, std::int64_t origin = 0, double base = 10000) {
  const auto to = as_tensor_view(r);
  const std::int64_t pairs = to.extent(1) / 2;
  detail::contract<Arch> c("sinusoids");
  detail::check_on_host(c, "r", any_out<2>(r));
  c.require(to.extent(1) % 2 == 0, "r.extent(D)", "an even number", to.extent(1));
  c.require(std::isfinite(base) && base > 0, "base", "a finite number above 0", base);
  c.no_self_overlap("r", any_out<2>(r));
  if (const detail::violation broken = c.result()) {
    return detail::report(*broken);
  }
  for (std::int64_t e = 0; e < to.extent(0); ++e) {
    for (std::int64_t i = 0; i < pairs; ++i) {
      const double angle = static_cast<double>(e - origin) *
                           std::pow(base, -static_cast<double>(i) / static_cast<double>(pairs));
      to(e, i) = detail::narrow<detail::stored_type<R>>(std::sin(angle));
      to(e, i + pairs) = detail::narrow<detail::stored_type<R>>(std::cos(angle));
    }
  }
}

/// The weights of `log_cpb_table`: a perceptron with one hidden layer of M units.
struct log_cpb_weights {
  any_view<2> hidden{};       ///< [M, 2], for the offset's row and column
  any_view<1> hidden_bias{};  ///< [M]
  any_view<2> head{};         ///< [H, M]
};

/// Log-spaced continuous position bias: for each offset on a grid, in double,
///
///     x = (f(dy), f(dx)),   f(d) = sign(d) log(1 + row_scale or column_scale |d|)
///     table[h, dy + rows - 1, dx + columns - 1] = sum_m head[h, m] max(0, hidden[m, :] . x
///                                                                         + hidden_bias[m])
///
/// table [H, 2 rows - 1, 2 columns - 1]: computed once for a window's shape, then read by
/// `grid_bias_score`. Published models scale offsets to [-8, 8] (a scale of 8 / (rows - 1)) and
/// divide the logarithm by log 8, which may as well be done to `hidden`.
///
/// Work: about 8 M operations for each entry. Liu et al., "Swin Transformer V2: Scaling Up Capacity
/// and Resolution", 2022.
template <class Arch = simd::default_arch, detail::real_output_of<3> O>
void log_cpb_table(const log_cpb_weights& weights, const O& table, double row_scale = 1,
                   double column_scale = 1) {
  const auto to = as_tensor_view(table);
  const std::int64_t units = weights.hidden.extents[0];
  detail::contract<Arch> c("log_cpb_table");
  const auto check = [&]<std::size_t Rank>(const char* argument, const any_view<Rank>& v,
                                           const std::array<std::int64_t, Rank>& shape,
                                           const char* letters) {
    detail::check_on_host(c, argument, v);
    c.shape(argument, v, shape, letters);
    c.real(argument, v.type).no_overlap("table", any_out<3>(table), argument, v);
  };
  detail::check_on_host(c, "table", any_out<3>(table));
  check("weights.hidden", weights.hidden, {units, 2}, "[M, 2]");
  check("weights.hidden_bias", weights.hidden_bias, {units}, "[M]");
  check("weights.head", weights.head, {to.extent(0), units}, "[H, M]");
  for (const std::size_t axis : {std::size_t{1}, std::size_t{2}}) {
    c.require(to.extent(axis) % 2 == 1, axis == 1 ? "table.extent(rows)" : "table.extent(columns)",
              "an odd number", to.extent(axis));
  }
  c.require(std::isfinite(row_scale) && row_scale >= 0, "row_scale",
            "a finite number of at least 0", row_scale);
  c.require(std::isfinite(column_scale) && column_scale >= 0, "column_scale",
            "a finite number of at least 0", column_scale);
  c.no_self_overlap("table", any_out<3>(table));
  if (const detail::violation broken = c.result()) {
    return detail::report(*broken);
  }
  const auto spaced = [](std::int64_t d, double scale) {
    const auto x = static_cast<double>(d);
    return std::copysign(std::log1p(scale * std::fabs(x)), x);
  };
  for (std::int64_t y = 0; y < to.extent(1); ++y) {
    const double dy = spaced(y - to.extent(1) / 2, row_scale);
    for (std::int64_t x = 0; x < to.extent(2); ++x) {
      const double dx = spaced(x - to.extent(2) / 2, column_scale);
      for (std::int64_t h = 0; h < to.extent(0); ++h) {
        double sum = 0;
        for (std::int64_t m = 0; m < units; ++m) {
          const double unit = detail::real_at<double>(weights.hidden, m, 0) * dy +
                              detail::real_at<double>(weights.hidden, m, 1) * dx +
                              detail::real_at<double>(weights.hidden_bias, m);
          // A comparison that lets NaN pass.
          sum += detail::real_at<double>(weights.head, h, m) * (unit < 0 ? 0 : unit);
        }
        to(h, y, x) = detail::narrow<detail::stored_type<O>>(sum);
      }
    }
  }
}

SEQMIX_END_NAMESPACE
