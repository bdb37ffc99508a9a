// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <limits>
#include <optional>
#include <ostream>
#include <seqmix/ops/softmax_attention/options.hpp>
#include <string>
#include <vector>

#include "tensor.hpp"
#include "tolerance.hpp"

namespace seqmix_test {

inline constexpr double infinity = std::numeric_limits<double>::infinity();

/// The forms of a call of softmax_attention. A paged call is a cached one whose cache is a pool of
/// pages.
enum class call_form { batched, packed, cached, paged };
constexpr const char* name(call_form f) noexcept {
  constexpr const char* names[] = {"batched", "packed", "cached", "paged"};
  return names[static_cast<int>(f)];
}

/// Which axes of a bias have more than one entry.
enum class bias_shape { none, full, heads_and_keys, queries, scalar };
constexpr const char* name(bias_shape s) noexcept {
  constexpr const char* names[] = {"none", "full", "heads and keys", "queries", "scalar"};
  return names[static_cast<int>(s)];
}

/// What ALiBi measures distance between: rows, or indexes of one kind, whose vectors may serve
/// every sequence.
enum class alibi_between { rows, integers, reals, repeated };
constexpr const char* name(alibi_between a) noexcept {
  constexpr const char* names[] = {"rows", "integers", "reals", "repeated"};
  return names[static_cast<int>(a)];
}

struct attention_types {
  scalar_type q = scalar_type::f32, k = scalar_type::f32, v = scalar_type::f32,
              o = scalar_type::f32;
  bool rounded_weights = false;  ///< weights have v's type when they meet the values: on a GPU

  /// What scores and sums are kept in.
  scalar_type compute() const noexcept {
    const bool wide = q == scalar_type::f64 || k == scalar_type::f64 || v == scalar_type::f64 ||
                      o == scalar_type::f64;
    return wide ? scalar_type::f64 : scalar_type::f32;
  }
};

/// One call of softmax_attention: everything that decides its inputs and its result.
struct attention_case {
  std::int64_t B = 1, T = 1, S = 1, H = 1, HK = 1, D = 8, V = 8;
  bool causal = false;
  seqmix::attention_window window{};
  std::int64_t sinks = 0;
  double softcap = 0;
  bool sink_logits = false;
  bool alibi = false;
  alibi_between between = alibi_between::rows;  ///< with alibi
  bias_shape bias = bias_shape::none;
  bias_shape relative = bias_shape::none;  ///< in which "keys" are entries of the table
  std::optional<double> scale{};
  scalar_type lse = scalar_type::none;
  seqmix::attention_normaliser normaliser{};
  bool log_length = false;
  call_form form = call_form::batched;
  std::int64_t page = 16;  ///< keys in a page of the paged form
  layout q = layout::dense, k = layout::dense, v = layout::dense, o = layout::dense;
  double magnitude = 1;
  std::uint64_t seed = 1;
  attention_types types{};

  friend std::ostream& operator<<(std::ostream& out, const attention_case& c) {
    out << "{B " << c.B << ", T " << c.T << ", S " << c.S << ", H " << c.H << ", HK " << c.HK
        << ", D " << c.D << ", V " << c.V << ", " << (c.causal ? "causal, " : "") << "window "
        << c.window.left << ":" << c.window.right << ", sinks " << c.sinks << ", softcap "
        << c.softcap << (c.sink_logits ? ", sink logits" : "")
        << (c.alibi ? ", ALiBi between " : "") << (c.alibi ? name(c.between) : "") << ", bias "
        << name(c.bias) << ", relative bias " << name(c.relative) << ", scale ";
    if (c.scale) {
      out << *c.scale;
    } else {
      out << "default";
    }
    out << ", weights " << static_cast<int>(c.normaliser.weights) << " sharpen "
        << c.normaliser.sharpen << (c.normaliser.mean ? " mean" : "")
        << (c.log_length ? ", log length" : "") << ", lse " << name(c.lse) << ", " << name(c.form)
        << ", page " << c.page << ", layouts " << name(c.q) << " " << name(c.k) << " " << name(c.v)
        << " " << name(c.o) << ", types " << name(c.types.q) << " " << name(c.types.k) << " "
        << name(c.types.v) << " " << name(c.types.o) << ", magnitude " << c.magnitude << ", seed "
        << c.seed << "}";
    return out;
  }
};

/// The bounds of an output. Where rounded weights cancel, the error is that of the summands;
/// re-weighting multiplies relative errors by its power, and by n a / (n a - 1) before.
constexpr tolerance output_tolerance(const attention_case& c) noexcept {
  tolerance t = tolerance_of(c.types.o);
  t.element *= c.types.rounded_weights ? 2.5 : 1;
  const double growth = 1 + 10 * c.normaliser.sharpen;
  return {t.ceiling * growth, t.target * growth, t.typical * growth, t.element * growth};
}

/// One sequence of a problem: where it lies and how long it is.
struct sequence_place {
  std::int64_t batch, q_begin, queries, k_begin, keys;
};

/// Whether query i sees key j, as the definition says it; shares no code with the library.
inline bool sees(const attention_case& c, const sequence_place& s, std::int64_t i,
                 std::int64_t j) noexcept {
  const std::int64_t diagonal = i + s.keys - s.queries;
  const bool before = !c.causal || j <= diagonal;
  const bool inside = (c.window.left == seqmix::unbounded || j >= diagonal - c.window.left) &&
                      (c.window.right == seqmix::unbounded || j <= diagonal + c.window.right);
  return before && (inside || j < c.sinks);
}

/// The tensors of a case, in memory of the layouts that it names.
///
/// Sequence 0 has T queries and S keys. In the packed form the others are ragged, some are shorter
/// than their slot, and rows follow the last one; in the cached form the lengths differ. The paged
/// form keeps its keys and values like the cached one, and copies them into a pool.
class attention_problem {
 public:
  explicit attention_problem(const attention_case& which) : c(which) {
    std::vector<std::int64_t> q_starts{0};
    std::vector<std::int64_t> k_starts{0};
    std::vector<std::int64_t> key_counts;
    const bool cache = c.form == call_form::cached || c.form == call_form::paged;
    const bool shortened = cache || c.seed % 2 == 1;
    for (std::int64_t b = 0; b < c.B; ++b) {
      const std::uint64_t r = mix(c.seed * 1000 + static_cast<std::uint64_t>(b));
      sequence_place s{b, 0, c.T, 0, c.S};
      const auto below = [&](std::int64_t n, int shift) {
        return static_cast<std::int64_t>((r >> shift) % static_cast<std::uint64_t>(n + 1));
      };
      if (c.form == call_form::packed) {
        s = {0, q_starts.back(), b == 0 ? c.T : below(c.T, 0), k_starts.back(),
             b == 0 ? c.S : below(c.S, 20)};
        q_starts.push_back(s.q_begin + s.queries);
        k_starts.push_back(s.k_begin + s.keys + (shortened ? below(3, 40) : 0));
      } else if (cache && b > 0) {
        s.keys = below(c.S, 20);
      }
      sequences.push_back(s);
      key_counts.push_back(s.keys);
    }
    const bool packed = c.form == call_form::packed;
    const std::int64_t batch = packed ? 1 : c.B;
    const std::int64_t rows = packed ? q_starts.back() + below_two() : c.T;
    const std::int64_t keys = packed ? k_starts.back() + below_two() : c.S;
    q = tensor<4>(c.types.q, {batch, rows, c.H, c.D}, c.q);
    k = tensor<4>(c.types.k, {batch, keys, c.HK, c.D}, c.k);
    v = tensor<4>(c.types.v, {batch, keys, c.HK, c.V}, c.v);
    o = tensor<4>(c.types.o, {batch, rows, c.H, c.V}, c.o);
    if (c.lse != scalar_type::none) {
      lse = tensor<3>(c.lse, {batch, c.H, rows}, c.o);
    }
    const layout vector_layout = c.seed % 3 == 0 ? layout::strided : layout::dense;
    if (packed) {
      q_offsets = index_tensor(q_starts, c.seed % 4 < 2, vector_layout);
      k_offsets = index_tensor(k_starts, c.seed % 8 < 4, vector_layout);
    }
    if (packed ? shortened : cache) {
      lengths = index_tensor(key_counts, c.seed % 4 < 2, vector_layout);
    }
    // Each in a type of its own, and in a layout of the vectors'.
    constexpr scalar_type reals[] = {scalar_type::f32, scalar_type::bf16, scalar_type::f64,
                                     scalar_type::f16};
    const auto real = [&](std::uint64_t i) { return reals[mix(c.seed + i) % 4]; };
    if (c.sink_logits) {
      sink = tensor<1>(real(1), {c.H}, vector_layout);
      sink.fill(c.seed * 8 + 1);
      if (c.H > 1) {
        sink.set({0}, -infinity);  // none for the first head
      }
    }
    if (c.alibi) {
      slopes = tensor<1>(real(2), {c.H}, vector_layout);
      slopes.for_each([&](const tensor<1>::index& h) {
        slopes.set(h, std::exp2(-static_cast<double>(h[0] % 8) - 4));
      });
    }
    if (c.between != alibi_between::rows) {
      make_indexes(batch, rows, keys);
    }
    std::int64_t longest_q = packed ? 0 : c.T;
    std::int64_t longest_k = packed ? 0 : c.S;
    for (const sequence_place& s : sequences) {
      longest_q = std::max(longest_q, s.queries);
      longest_k = std::max(longest_k, s.keys);
    }
    if (c.bias != bias_shape::none) {
      const auto [b, h, i, j] = axes_of(c.bias);
      bias = tensor<4>(real(3), {b ? c.B : 1, h ? c.H : 1, i ? longest_q : 1, j ? longest_k : 1},
                       c.seed % 2 == 0 ? layout::dense : layout::strided);
      bias.fill(c.seed * 8 + 2);
    }
    if (c.relative != bias_shape::none) {
      // Tables shorter and longer than a block of keys; the entry of distance 0 at an end, or not.
      constexpr std::int64_t lengths_of_tables[] = {9, 300, 70, 1};
      const auto [b, h, i, entries] = axes_of(c.relative);
      const std::int64_t R = entries ? lengths_of_tables[c.seed % 4] : 1;
      constexpr layout layouts[] = {layout::dense, layout::strided, layout::reversed};
      relative =
          tensor<4>(real(4), {b ? c.B : 1, h ? c.H : 1, i ? longest_q : 1, R}, layouts[c.seed % 3]);
      relative.fill(c.seed * 8 + 3);
      origin = c.seed % 5 < 3 ? R / 2 : c.seed % 5 == 3 ? 0 : R - 1;
    }
    q.fill(c.seed * 4 + 1, c.magnitude);
    k.fill(c.seed * 4 + 2);
    v.fill(c.seed * 4 + 3);
    if (c.form == call_form::paged) {
      make_pool();
      fill_pool();
    }
  }

  /// Indexes of frames, far from zero where the type can bear it, for q and k of these extents.
  /// Rows that no sequence uses keep the sentinel.
  void make_indexes(std::int64_t batch, std::int64_t rows, std::int64_t keys) {
    const bool paged = c.form == call_form::paged;
    const bool once = c.between == alibi_between::repeated;
    const std::uint64_t r = mix(c.seed + 5);
    const auto type_of = [&](std::uint64_t choice) {
      constexpr scalar_type types[] = {scalar_type::i64, scalar_type::i32, scalar_type::f64,
                                       scalar_type::f32, scalar_type::bf16};
      return c.between == alibi_between::integers ? types[choice % 2] : types[choice % 5];
    };
    constexpr layout layouts[] = {layout::dense, layout::strided, layout::reversed};
    // A pair of wide integers, and everything narrower near zero.
    const scalar_type q_type = type_of(r);
    const scalar_type k_type = type_of(r >> 8);
    const bool wide = q_type == scalar_type::i64 && k_type == scalar_type::i64;
    const double start = wide ? 0x1p52 : 0;
    const bool whole = c.between == alibi_between::integers;
    alibi_query = tensor<2>(q_type, {once ? 1 : batch, rows}, layouts[c.seed % 3]);
    alibi_key = tensor<2>(k_type, {once ? 1 : batch, keys + (paged ? 2 : 0)}, layouts[r % 3]);
    for (const sequence_place& s : sequences) {
      const std::int64_t b = once ? 0 : s.batch;
      const auto frame = [&](std::int64_t place) {
        const double x = static_cast<double>(place + 3 * b) * (whole ? 1.0 / 3 : 0.375);
        return start + (whole ? std::floor(x) : x);
      };
      for (std::int64_t i = 0; i < s.queries; ++i) {
        alibi_query.set({b, s.q_begin + i}, frame(i + c.S - c.T));
      }
      for (std::int64_t j = 0; j < s.keys; ++j) {
        alibi_key.set({b, s.k_begin + j}, frame(j));
      }
    }
  }

  /// Copies the keys and values in use to their pages. All else in the pool stays NaN.
  void fill_pool() {
    for (const sequence_place& s : sequences) {
      for (std::int64_t j = 0; j < s.keys; ++j) {
        const auto at = static_cast<std::int64_t>(block_table[{s.batch, j / c.page}]);
        for (std::int64_t h = 0; h < c.HK; ++h) {
          for (std::int64_t d = 0; d < c.D; ++d) {
            k_pool.set({at, j % c.page, h, d}, k[{s.batch, j, h, d}]);
          }
          for (std::int64_t d = 0; d < c.V; ++d) {
            v_pool.set({at, j % c.page, h, d}, v[{s.batch, j, h, d}]);
          }
        }
      }
    }
  }

  seqmix::softmax_attention_options options() const {
    seqmix::softmax_attention_options result;
    result.scale = c.scale;
    result.causal = c.causal;
    result.window = c.window;
    result.sink_tokens = c.sinks;
    result.softcap = c.softcap;
    if (c.sink_logits) {
      result.sink_logits = real_view(sink);
    }
    if (c.alibi) {
      result.alibi_slopes = real_view(slopes);
    }
    if (c.between != alibi_between::rows) {
      result.alibi = {.query = number_view(alibi_query), .key = number_view(alibi_key)};
    }
    if (c.bias != bias_shape::none) {
      result.bias = real_view(bias);
    }
    result.normaliser = c.normaliser;
    result.log_length = c.log_length;
    if (c.relative != bias_shape::none) {
      result.relative_bias = {.values = real_view(relative), .origin = origin};
    }
    if (c.lse == scalar_type::f32) {
      result.lse = lse.view<float>();
    } else if (c.lse == scalar_type::f64) {
      result.lse = lse.view<double>();
    }
    if (c.form == call_form::packed) {
      result.varlen = {.q_offsets = index_view(q_offsets), .k_offsets = index_view(k_offsets)};
      if (lengths.type() != scalar_type::none) {
        result.varlen.k_lengths = index_view(lengths);
      }
      if (!q_offsets.where().on_host()) {
        result.varlen.max_q = max_q > 0 ? max_q : longest_step(q_offsets);
      }
      if (!k_offsets.where().on_host()) {
        result.varlen.max_k = max_k > 0 ? max_k : longest_step(k_offsets);
      }
    }
    return result;
  }

  /// The score of query i and key j of sequence b after softcap, ALiBi and biases.
  double biased(double score, std::int64_t b, std::int64_t h, std::int64_t i,
                std::int64_t j) const {
    const sequence_place& s = sequences[static_cast<std::size_t>(b)];
    if (c.softcap > 0) {
      score = c.softcap * std::tanh(score / c.softcap);
    }
    const std::int64_t distance = i + s.keys - s.queries - j;
    if (c.alibi && c.between == alibi_between::rows) {
      score -= slopes[{h}] * static_cast<double>(std::abs(distance));
    } else if (c.alibi) {
      const double f = alibi_query[{alibi_query.extent(0) == 1 ? 0 : s.batch, s.q_begin + i}];
      const double g = alibi_key[{alibi_key.extent(0) == 1 ? 0 : s.batch, s.k_begin + j}];
      score -= slopes[{h}] * std::abs(f - g);
    }
    if (c.bias != bias_shape::none) {
      const auto axes = axes_of(c.bias);
      score += bias[{axes[0] ? b : 0, axes[1] ? h : 0, axes[2] ? i : 0, axes[3] ? j : 0}];
    }
    if (c.relative != bias_shape::none) {
      const auto axes = axes_of(c.relative);
      const std::int64_t entry =
          std::clamp<std::int64_t>(distance + origin, 0, relative.extent(3) - 1);
      score += relative[{axes[0] ? b : 0, axes[1] ? h : 0, axes[2] ? i : 0, entry}];
    }
    return score;
  }

  void clear_outputs() {
    o.clear();
    if (c.lse != scalar_type::none) {
      lse.clear();
    }
  }

  /// Rows of the output that belong to a sequence: the others are not the operator's to write.
  std::vector<char> owned_rows() const {
    std::vector<char> owned(static_cast<std::size_t>(o.extent(1)), 0);
    for (const sequence_place& s : sequences) {
      for (std::int64_t i = 0; i < s.queries; ++i) {
        owned[static_cast<std::size_t>(s.q_begin + i)] = 1;
      }
    }
    return owned;
  }

  std::int64_t most_rows_per_kv_head() const {
    std::int64_t most = 0;
    for (const sequence_place& s : sequences) {
      most = std::max(most, s.queries * (c.HK == 0 ? 1 : c.H / c.HK));
    }
    return most;
  }

  attention_case c;
  std::vector<sequence_place> sequences;
  tensor<4> q, k, v, o;
  tensor<3> lse;
  tensor<1> q_offsets, k_offsets, lengths;
  tensor<4> k_pool, v_pool;  ///< of the paged form
  tensor<2> block_table;
  tensor<1> sink, slopes;
  tensor<4> bias, relative;
  std::int64_t origin = 0;  ///< of `relative`
  tensor<2> alibi_query, alibi_key;
  std::int64_t max_q = 0, max_k = 0;  ///< said beside offsets on a device; 0: their longest step

 private:
  /// A pool with pages that nobody uses, and a table that names pages in a shuffled order and has
  /// garbage past the last page in use.
  void make_pool() {
    std::int64_t used = 0;
    for (const sequence_place& s : sequences) {
      used += (s.keys + c.page - 1) / c.page;
    }
    std::vector<std::int64_t> order(static_cast<std::size_t>(used + 3));
    for (std::size_t i = 0; i < order.size(); ++i) {
      order[i] = static_cast<std::int64_t>(i);
      std::swap(order[i], order[mix(c.seed * 99 + i) % (i + 1)]);
    }
    const auto pages = static_cast<std::int64_t>(order.size());
    const auto without_repeats = [](layout kind) { return repeats(kind) ? layout::dense : kind; };
    k_pool = tensor<4>(c.types.k, {pages, c.page, c.HK, c.D}, without_repeats(c.k));
    v_pool = tensor<4>(c.types.v, {pages, c.page, c.HK, c.V}, without_repeats(c.v));
    block_table = tensor<2>(c.seed % 8 < 4 ? scalar_type::i64 : scalar_type::i32,
                            {c.B, (c.S + c.page - 1) / c.page + 2},
                            c.seed % 3 == 0 ? layout::strided : layout::dense);
    std::size_t next = 0;
    block_table.for_each([&](const tensor<2>::index& at) {
      constexpr double garbage[] = {-1, 2147483647, -2147483648.0, 0};
      const bool in_use = at[1] * c.page < sequences[static_cast<std::size_t>(at[0])].keys;
      block_table.set(at,
                      in_use ? static_cast<double>(order[next++]) : garbage[(at[0] + at[1]) % 4]);
    });
  }
  static std::array<bool, 4> axes_of(bias_shape shape) noexcept {
    switch (shape) {
      case bias_shape::full:
        return {true, true, true, true};
      case bias_shape::heads_and_keys:
        return {false, true, false, true};
      case bias_shape::queries:
        return {true, false, true, false};
      default:
        return {};
    }
  }
  static std::int64_t longest_step(const tensor<1>& offsets) {
    std::int64_t longest = 1;  // 0 would mean that none is given
    for (std::int64_t i = 1; i < offsets.size(); ++i) {
      longest = std::max(longest, static_cast<std::int64_t>(offsets[{i}] - offsets[{i - 1}]));
    }
    return longest;
  }
  std::int64_t below_two() const noexcept {
    return static_cast<std::int64_t>(mix(c.seed * 77) % 3);
  }
};

/// The expected results, element by element in logical order, from the definition in double.
struct attention_reference {
  std::vector<double> o;    // [B, T, H, V]; rows that no sequence owns are 0
  std::vector<double> lse;  // [B, H, T]
  double o_floor = 0;       ///< scale below which a small output is cancellation

  /// Of the rows (b, t, h) of the tensor that are `wanted`; of all by default.
  explicit attention_reference(
      const attention_problem& p,
      const std::function<bool(std::int64_t, std::int64_t, std::int64_t)>& wanted = {}) {
    const attention_case& c = p.c;
    const std::int64_t rows = p.q.extent(1);
    const std::int64_t keys = p.k.extent(1);
    const double scale = c.scale.value_or(1.0 / std::sqrt(static_cast<double>(c.D)));
    const std::vector<double> q = p.q.values();
    const std::vector<double> k = p.k.values();
    const std::vector<double> v = p.v.values();
    o.assign(static_cast<std::size_t>(p.o.size()), 0.0);
    lse.assign(static_cast<std::size_t>(p.q.extent(0) * c.H * rows), 0.0);
    std::vector<double> score;
    double squares = 0;
    double row_squares = 0;
    std::int64_t rows_that_see = 0;
    for (std::size_t index = 0; index < p.sequences.size(); ++index) {
      const sequence_place& s = p.sequences[index];
      const auto b = static_cast<std::int64_t>(index);
      score.resize(static_cast<std::size_t>(s.keys));
      for (std::int64_t h = 0; h < c.H; ++h) {
        const std::int64_t hk = h * c.HK / c.H;
        for (std::int64_t i = 0; i < s.queries; ++i) {
          if (wanted && !wanted(s.batch, s.q_begin + i, h)) {
            continue;
          }
          const std::int64_t row = s.batch * rows + s.q_begin + i;
          const double* query = q.data() + (row * c.H + h) * c.D;
          double* out = o.data() + (row * c.H + h) * c.V;
          const auto key_row = [&](std::int64_t j) {
            return (s.batch * keys + s.k_begin + j) * c.HK + hk;
          };
          double maximum = c.sink_logits ? p.sink[{h}] : -infinity;
          bool broken = false;  // a NaN score; comparisons would lose it
          std::int64_t visible = 0;
          for (std::int64_t j = 0; j < s.keys; ++j) {
            visible += sees(c, s, i, j) ? 1 : 0;
          }
          const double row_scale =
              c.log_length ? scale * std::log(static_cast<double>(visible)) : scale;
          for (std::int64_t j = 0; j < s.keys; ++j) {
            double& x = score[static_cast<std::size_t>(j)];
            x = -infinity;
            if (sees(c, s, i, j)) {
              x = p.biased(row_scale * dot(query, k.data() + key_row(j) * c.D, c.D), b, h, i, j);
              maximum = x > maximum ? x : maximum;
              broken |= std::isnan(x);
            }
          }
          if (c.normaliser.weights != seqmix::attention_weights::softmax) {
            const std::vector<double> weight = other_weights(
                c, score, [&](std::int64_t j) { return sees(c, s, i, j); }, visible,
                i + s.keys - s.queries);
            double magnitude = 0;
            double sum = 0;  // of softplus, for its lse
            for (std::int64_t j = 0; j < s.keys; ++j) {
              if (!sees(c, s, i, j)) {
                continue;
              }
              const double* value = v.data() + key_row(j) * c.V;
              const double w = weight[static_cast<std::size_t>(j)];
              for (std::int64_t x = 0; x < c.V; ++x) {
                out[x] += w * value[x];
              }
              magnitude += std::fabs(w * value[0]);
              sum += softplus(score[static_cast<std::size_t>(j)]);
            }
            squares += magnitude * magnitude;
            lse[static_cast<std::size_t>((s.batch * c.H + h) * rows + s.q_begin + i)] =
                std::log(sum);
            continue;
          }
          const double reference = maximum == -infinity ? 0 : maximum;
          double sum = c.sink_logits ? std::exp(p.sink[{h}] - reference) : 0;
          double magnitude = 0;
          for (std::int64_t j = 0; j < s.keys; ++j) {
            if (!sees(c, s, i, j)) {
              continue;
            }
            const double weight = std::exp(score[static_cast<std::size_t>(j)] - reference);
            const double* value = v.data() + key_row(j) * c.V;
            sum += weight;
            for (std::int64_t x = 0; x < c.V; ++x) {
              out[x] += weight * value[x];
            }
            magnitude += weight * std::fabs(value[0]);
          }
          if (sum == 0) {
            std::fill_n(out, c.V, 0.0);
          } else {
            rows_that_see += visible > 0 ? 1 : 0;  // with a sink logit others have a sum, too
            for (std::int64_t x = 0; x < c.V; ++x) {
              out[x] /= sum;
              row_squares += out[x] * out[x];
            }
            squares += magnitude / sum * (magnitude / sum);
          }
          const double nan = std::numeric_limits<double>::quiet_NaN();
          lse[static_cast<std::size_t>((s.batch * c.H + h) * rows + s.q_begin + i)] =
              broken     ? nan
              : sum == 0 ? -infinity
                         : maximum + std::log(sum);
        }
      }
    }
    if (o.size() < 64 && !o.empty() && std::isfinite(squares)) {
      o_floor = std::sqrt(squares * static_cast<double>(c.V) / static_cast<double>(o.size()));
    }
    if (c.types.rounded_weights && rows_that_see > 0 && std::isfinite(row_squares)) {
      // Rows without a key are zeros: they must not make the others' scale look small.
      o_floor =
          std::max(o_floor, std::sqrt(row_squares / static_cast<double>(rows_that_see * c.V)));
    }
  }

 private:
  static double softplus(double x) {
    return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
  }

  /// The weights of one row, its scores given, by every rule but softmax.
  template <class Sees>
  static std::vector<double> other_weights(const attention_case& c,
                                           const std::vector<double>& score, const Sees& sees_key,
                                           std::int64_t visible, std::int64_t place) {
    using rule = seqmix::attention_weights;
    const seqmix::attention_normaliser& how = c.normaliser;
    const auto n = static_cast<double>(visible);
    std::vector<double> weight(score.size(), 0.0);
    double sum = 0;
    for (std::size_t j = 0; j < score.size(); ++j) {
      if (sees_key(static_cast<std::int64_t>(j))) {
        const double x = score[j];
        weight[j] = how.weights == rule::sigmoid    ? (1 + std::tanh((x + how.shift) / 2)) / 2
                    : how.weights == rule::softplus ? softplus(x)
                    : how.weights == rule::relu     ? (x < 0 ? 0 : x)
                                                    : x;
        sum += weight[j];
      }
    }
    const auto divide = [&](double by) {
      for (double& w : weight) {
        w = by == 0 ? 0 : w / by;
      }
    };
    if (how.weights == rule::softplus) {
      divide(sum);
      if (how.sharpen > 0) {
        const double offset = place < 3 ? 0 : 1;
        double most = 0;
        for (const double w : weight) {
          most = std::max(most, n * w);
        }
        if (offset == 0 || most > 1 + std::exp2(-10)) {
          double total = 0;
          for (double& w : weight) {
            w = std::pow(std::max(n * w - offset, 0.0) / (most - offset), how.sharpen);
            total += w;
          }
          divide(total);
        }
      }
    } else if (how.mean) {
      divide(n);
    }
    return weight;
  }

  static double dot(const double* a, const double* b, std::int64_t n) noexcept {
    double part[4] = {};
    std::int64_t d = 0;
    for (; d + 4 <= n; d += 4) {
      for (int x = 0; x < 4; ++x) {
        part[x] += a[d + x] * b[d + x];
      }
    }
    for (; d < n; ++d) {
      part[0] += a[d] * b[d];
    }
    return (part[0] + part[1]) + (part[2] + part[3]);
  }
};

/// What is wrong with a problem's outputs; empty when nothing is.
inline std::string verify(const attention_problem& p, const attention_reference& expected,
                          bound which = bound::target) {
  const std::vector<char> owned = p.owned_rows();
  std::string text;
  std::vector<double> actual = p.o.values();
  std::size_t at = 0;
  bool foreign = false;
  p.o.for_each([&](const tensor<4>::index& i) {
    if (owned[static_cast<std::size_t>(i[1])] == 0) {
      foreign |= !p.o.untouched(i);
      actual[at] = 0;
    }
    ++at;
  });
  if (foreign) {
    text += "o: rows that belong to no sequence were written; ";
  }
  if (!p.o.gaps_untouched()) {
    text += "o: memory between or around the elements was written; ";
  }
  const std::string o_text =
      compare(actual, expected.o, output_tolerance(p.c), which, expected.o_floor);
  if (!o_text.empty()) {
    text += "o: " + o_text + "; ";
  }
  if (p.c.lse != scalar_type::none) {
    std::vector<double> sums = p.lse.values();
    at = 0;
    foreign = false;
    p.lse.for_each([&](const tensor<3>::index& i) {
      if (owned[static_cast<std::size_t>(i[2])] == 0) {
        foreign |= !p.lse.untouched(i);
        sums[at] = 0;
      }
      ++at;
    });
    if (foreign || !p.lse.gaps_untouched()) {
      text += "lse: memory that is not its own was written; ";
    }
    const bool wide = p.c.lse == scalar_type::f64 && p.c.types.compute() == scalar_type::f64;
    const std::string lse_text = compare(
        sums, expected.lse, tolerance_of(wide ? scalar_type::f64 : scalar_type::f32), which, 1.0);
    if (!lse_text.empty()) {
      text += "lse: " + lse_text + "; ";
    }
  }
  return text;
}

}  // namespace seqmix_test
