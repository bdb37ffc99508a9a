// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/tensor_view.hpp>
#include <seqmix/ops/softmax_attention/score.hpp>

// Score functors that add a bias by two-dimensional positions. Their tables are float; a trivially
// copyable functor holds pointers, so that the tables outlive the call.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// A tensor that a functor carries: axes of extent 1 serve every index.
template <std::size_t Rank>
struct functor_table {
  const float* data;
  std::int64_t extents[Rank];
  std::int64_t steps[Rank];

  constexpr functor_table(const tensor_view<const float, Rank>& v) noexcept
      : data(v.data_handle()) {
    for (std::size_t a = 0; a < Rank; ++a) {
      extents[a] = v.extent(a);
      steps[a] = v.extent(a) == 1 ? 0 : v.stride(a);
    }
  }
  template <class... I>
    requires(sizeof...(I) == Rank)
  SEQMIX_HOST_DEVICE constexpr const float* at(I... indices) const noexcept {
    std::int64_t offset = 0;
    std::size_t axis = 0;
    ((offset += indices * steps[axis++]), ...);
    return data + offset;
  }
};

}  // namespace detail

/// A bias by offset on a grid: tokens from place `begin` on are a grid, row by row, and
///
///     s_ij += table[h, y_i - y_j + rows - 1, x_i - x_j + columns - 1]
///
/// for pairs of them; other pairs (class tokens, text) keep their score. table [H, 2 rows - 1,
/// 2 columns - 1], H = 1 repeats: learned, or a `log_cpb_table`. A query's place is that of the key
/// which stands where it does. Liu et al., "Swin Transformer: Hierarchical Vision Transformer using
/// Shifted Windows", 2021.
class grid_bias_score {
 public:
  explicit constexpr grid_bias_score(const tensor_view<const float, 3>& table,
                                     std::int64_t begin = 0) noexcept
      : table_(table),
        rows_((table.extent(1) + 1) / 2),
        columns_((table.extent(2) + 1) / 2),
        begin_(begin) {}

  SEQMIX_HOST_DEVICE constexpr float operator()(float score,
                                                const score_context& at) const noexcept {
    const std::int64_t q = at.query + at.keys - at.queries - begin_;
    const std::int64_t k = at.key - begin_;
    if (!inside(q) || !inside(k)) {
      return score;
    }
    return score + *table_.at(at.head, q / columns_ - k / columns_ + rows_ - 1,
                              q % columns_ - k % columns_ + columns_ - 1);
  }

 private:
  SEQMIX_HOST_DEVICE constexpr bool inside(std::int64_t place) const noexcept {
    return place >= 0 && place < rows_ * columns_;
  }

  detail::functor_table<3> table_;
  std::int64_t rows_, columns_, begin_;
};

/// The grids of `grid_logits_score`: query i is at row i / query_columns and column
/// i % query_columns of its block, key j at row j / key_columns and column j % key_columns of its
/// neighbourhood. The origins are the entries for keys with the same row or column number.
struct logits_grid {
  std::int64_t query_columns;
  std::int64_t key_columns;
  std::int64_t row_origin;
  std::int64_t column_origin;
};

/// Logits by rows and columns of queries with the embeddings of offsets, such as
/// `relative_position_logits` of both halves of the channels:
///
///     s_ij += row_logits[b, h, i, y_j - y_i + row_origin]
///             + column_logits[b, h, i, x_j - x_i + column_origin]
///
/// [B, H, T, R] each, extents of 1 repeat; B counts sequences. Entries must exist for every pair.
/// For HaloNet, blocks of b x b queries with a halo of w see (b + 2w) x (b + 2w) keys: the grid is
/// {b, b + 2w, b - 1, b - 1}, R = 2b + 2w - 1, and entry e is of key row less query row e - b - w +
/// 1 on the image. Vaswani et al., "Scaling Local Self-Attention for Parameter Efficient Visual
/// Backbones", 2021.
class grid_logits_score {
 public:
  constexpr grid_logits_score(const tensor_view<const float, 4>& row_logits,
                              const tensor_view<const float, 4>& column_logits,
                              const logits_grid& grid) noexcept
      : rows_(row_logits), columns_(column_logits), grid_(grid) {}

  SEQMIX_HOST_DEVICE constexpr float operator()(float score,
                                                const score_context& at) const noexcept {
    const std::int64_t dy =
        at.key / grid_.key_columns - at.query / grid_.query_columns + grid_.row_origin;
    const std::int64_t dx =
        at.key % grid_.key_columns - at.query % grid_.query_columns + grid_.column_origin;
    return score + *rows_.at(at.sequence, at.head, at.query, dy) +
           *columns_.at(at.sequence, at.head, at.query, dx);
  }

 private:
  detail::functor_table<4> rows_, columns_;
  logits_grid grid_;
};

/// A table of relative locations, sampled at real-valued offsets: with the locations (y, x) of
/// tokens in units of the table's entries,
///
///     s_ij += bilinear(table[h], y_i - y_j + (ny - 1) / 2, x_i - x_j + (nx - 1) / 2)
///
/// and offsets beyond the table at its border. table [H, ny, nx], query [B, T, 2], key [B, S, 2];
/// H = 1 and B = 1 repeat, B counts sequences. A location of NaN makes the score NaN. Chi, Wei, Hu,
/// "RelationNet++: Bridging Visual Representations for Object Detection via Transformer Decoder",
/// 2020.
class location_bias_score {
 public:
  constexpr location_bias_score(const tensor_view<const float, 3>& table,
                                const tensor_view<const float, 3>& query,
                                const tensor_view<const float, 3>& key) noexcept
      : table_(table), query_(query), key_(key) {}

  SEQMIX_HOST_DEVICE constexpr float operator()(float score,
                                                const score_context& at) const noexcept {
    const float* q = query_.at(at.sequence, at.query, std::int64_t{0});
    const float* k = key_.at(at.sequence, at.key, std::int64_t{0});
    const sample y(q[0] - k[0], table_.extents[1]);
    const sample x(q[query_.steps[2]] - k[key_.steps[2]], table_.extents[2]);
    const float* corner = table_.at(at.head, y.index, x.index);
    const std::int64_t right = x.next * table_.steps[2];
    const float* below = corner + y.next * table_.steps[1];
    return score +
           y.between(x.between(corner[0], corner[right]), x.between(below[0], below[right]));
  }

 private:
  /// Between entries `index` and `index + next` of an axis.
  struct sample {
    std::int64_t index = 0;
    std::int64_t next = 0;
    float fraction = 0;

    SEQMIX_HOST_DEVICE constexpr sample(float offset, std::int64_t extent) noexcept {
      const auto last = static_cast<float>(extent - 1);
      const float at = offset + last / 2;
      const float clamped = at < 0 ? 0 : at > last ? last : at;  // NaN stays
      index = clamped > 0 ? static_cast<std::int64_t>(clamped) : 0;
      next = index < extent - 1 ? 1 : 0;
      fraction = clamped - static_cast<float>(index);
    }
    /// An entry that is hit has no neighbour to take infinities from.
    SEQMIX_HOST_DEVICE constexpr float between(float low, float high) const noexcept {
      return fraction == 0 ? low : low + fraction * (high - low);
    }
  };

  detail::functor_table<3> table_, query_, key_;
};

SEQMIX_END_NAMESPACE
