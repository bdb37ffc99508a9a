// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/ops/softmax_attention/visibility.hpp>

#include "params.hpp"

// What rows and tiles see, of causal masks, windows and sink tokens: `visibility` in 32 bits, for
// kernels of any kind. Nothing here needs a GPU.

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// The keys that one row sees: [0, sink_end) and [begin, end), either of which may be empty.
struct row_keys {
  int sink_end;
  int begin;
  int end;

  SEQMIX_HOST_DEVICE constexpr bool contains(int key) const noexcept {
    return key < sink_end || (key >= begin && key < end);
  }
  /// The same for keys that count from `key`.
  SEQMIX_HOST_DEVICE constexpr row_keys from(int key) const noexcept {
    return {sink_end - key, begin - key, end - key};
  }
};

/// The mask of one sequence. The ends of a row's keys move by one from row to row, except where
/// they are held at 0 or at the last key: the rows where that begins or ends say it all.
struct sequence_mask {
  int keys;
  int end_row;     ///< from this row on the window ends with the last key
  int begin_row;   ///< up to this row it begins with the first key
  int causal_row;  ///< from this row on causality hides nothing
  int sinks;

  SEQMIX_HOST_DEVICE constexpr sequence_mask(const attention_params& p, int queries,
                                             int sequence_keys) noexcept
      : keys(sequence_keys),
        end_row(0),
        begin_row(most),
        causal_row(p.causal && queries > 0 ? queries - 1 : 0),
        sinks(0) {
    const bool windowed = p.window_left != unbounded || p.window_right != unbounded;
    const std::int64_t last = std::int64_t{queries} - 1;
    end_row = p.causal                      ? causal_row
              : p.window_right != unbounded ? narrow(last - p.window_right)
                                            : 0;
    end_row = end_row < 0 ? 0 : end_row;
    begin_row = p.window_left != unbounded ? narrow(last + 1 - keys + p.window_left) : most;
    sinks = windowed ? narrow(p.sink_tokens) : 0;
  }

  /// What row i sees; i may lie behind the last row, within a block of rows.
  SEQMIX_HOST_DEVICE constexpr row_keys row(int i) const noexcept {
    const int last = end_at(i - causal_row);
    return {sinks < last ? sinks : last, i > begin_row ? i - begin_row : 0, end_at(i - end_row)};
  }

 private:
  static constexpr int most = 0x7fffffff;

  SEQMIX_HOST_DEVICE static constexpr int narrow(std::int64_t x) noexcept {
    return x > most ? most : x < -most ? -most : static_cast<int>(x);
  }
  SEQMIX_HOST_DEVICE constexpr int end_at(int rows_before) const noexcept {
    const int end = keys + (rows_before < 0 ? rows_before : 0);
    return end < 0 ? 0 : end;
  }
};

/// Whether rows of a sequence can see different keys.
SEQMIX_HOST_DEVICE constexpr bool rows_differ(const attention_params& p) noexcept {
  return p.causal || p.window_left != unbounded || p.window_right != unbounded;
}

/// The tiles of `Keys` keys that rows [first_row, last_row] of a sequence walk over: all in which
/// any of them sees a key, in order. Tiles are anchored at key 0.
template <int Keys>
struct tile_walk {
  int sink_end;  ///< tiles [0, sink_end) and [begin, end) are seen
  int begin;
  int end;
  int whole_sinks;  ///< tiles [0, whole_sinks) and [whole_begin, whole_end) are seen by every row,
  int whole_begin;  ///< with every key
  int whole_end;

  SEQMIX_HOST_DEVICE constexpr tile_walk(const sequence_mask& mask, int first_row,
                                         int last_row) noexcept
      : tile_walk(mask.row(first_row), mask.row(last_row)) {}

  /// The first tile at or after `tile` that is seen, of those `step` apart; from `end` on: none.
  SEQMIX_HOST_DEVICE constexpr int from(int tile, int step) const noexcept {
    if (tile >= sink_end && tile < begin) {
      tile += (begin - tile + step - 1) / step * step;
    }
    return tile;
  }

  /// Whether every row sees every key of a tile.
  SEQMIX_HOST_DEVICE constexpr bool whole(int tile) const noexcept {
    return tile < whole_sinks || (tile >= whole_begin && tile < whole_end);
  }

  /// Tiles from one that is seen up to here are seen, too, and as whole as it is.
  SEQMIX_HOST_DEVICE constexpr int run_end(int tile) const noexcept {
    int first = end;
    for (const int change : {whole_sinks, sink_end, whole_begin, whole_end}) {
      first = change > tile && change < first ? change : first;
    }
    return first;
  }

 private:
  // All ends only move up from row to row: the first and the last row speak for all.
  SEQMIX_HOST_DEVICE constexpr tile_walk(row_keys top, row_keys bottom) noexcept
      : sink_end(above(bottom.sink_end)),
        begin(top.begin / Keys),
        end(above(bottom.end)),
        whole_sinks(top.sink_end / Keys),
        whole_begin(above(bottom.begin)),
        whole_end(top.end / Keys) {
    begin = begin < sink_end ? sink_end : begin;
    end = end < begin ? begin : end;
  }
  SEQMIX_HOST_DEVICE static constexpr int above(int key) noexcept {
    return (key + Keys - 1) / Keys;
  }
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
