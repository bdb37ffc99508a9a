// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/context.hpp>
#include <seqmix/core/round_up.hpp>
#include <seqmix/dispatch/registry.hpp>
#include <seqmix/ops/matrix_recurrence/chunk.hpp>
#include <seqmix/ops/matrix_recurrence/recurrent.hpp>
#include <string_view>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// How a recurrence runs over its tokens.
enum class recurrence_algorithm { step, recurrent, chunk, segmented };

/// Tokens that the recurrent algorithm prepares at a time: their rows share the second-level cache
/// with the state. `step` takes no more than these.
inline constexpr std::int64_t recurrence_block = 32;

/// Which algorithm a problem takes, from its sizes and the pin alone.
template <class Arch>
struct recurrence_choice {
  recurrence_algorithm algorithm = recurrence_algorithm::recurrent;
  std::int64_t size = 0;     // tokens of a chunk; of a segment, 0: by the sequence
  std::int64_t longest = 0;  // tokens of a sequence
  const char* lacks = nullptr;

  recurrence_choice(const matrix_recurrence_problem& p, std::string_view pin) noexcept {
    using enum recurrence_algorithm;
    for (std::int64_t n = 0; n < p.sequences; ++n) {
      const std::int64_t tokens = recurrence_sequence_at(p, n).tokens;
      longest = tokens > longest ? tokens : longest;
    }
    const bool keeps = p.checkpoints.given() || p.rollback.given();
    const bool few = longest <= recurrence_block && !keeps;
    if (pin.empty()) {
      algorithm = few ? step : recurrent;
      return;
    }
    const std::string_view name = pin.substr(0, pin.find('<'));
    std::size_t a = 0;
    while (a < 4 && names[a] != name) {
      ++a;
    }
    std::int64_t number = 0;
    if (a == 4 || !parse_size(pin.substr(name.size()), number)) {
      lacks = "the pinned algorithm (it has step, recurrent, chunk<C> and segmented<L>)";
      return;
    }
    algorithm = static_cast<recurrence_algorithm>(a);
    if (number != 0 && algorithm != chunk && algorithm != segmented) {
      lacks = "a size for the pinned algorithm: chunk<C> and segmented<L> take one";
    } else if (algorithm == step && !few) {
      lacks = "the pinned algorithm for more than 32 tokens or for states on the way: it is step";
    } else if (algorithm == chunk) {
      size = number == 0 ? 64 : number;
      if (size > 128 || (size & (size - 1)) != 0) {
        lacks = "the pinned chunk: chunk<C> takes powers of two up to 128";
      }
    } else if (algorithm == segmented) {
      size = number;
      if (p.update == state_update::delta && p.beta.extents[3] > 1) {
        lacks = "the pinned algorithm for strengths of each value: it is segmented";
      }
    }
  }

  /// Whether decays are worked into the tokens' rows: all algorithms but chunks do.
  constexpr bool defers() const noexcept { return algorithm != recurrence_algorithm::chunk; }

  /// "chunk<64>".
  void describe(dispatch::fixed_text<64>& text) const noexcept {
    text.append(names[static_cast<int>(algorithm)]);
    if (size != 0) {
      char digits[24];
      std::size_t first = sizeof(digits);
      for (std::int64_t rest = size; rest > 0; rest /= 10) {
        digits[--first] = static_cast<char>('0' + rest % 10);
      }
      text.append("<");
      text.append(std::string_view(digits + first, sizeof(digits) - first));
      text.append(">");
    }
  }

  /// Tokens of a segment: whole blocks, sixteen segments, by the sequence's own tokens.
  constexpr std::int64_t segment_length(std::int64_t tokens) const noexcept {
    constexpr std::int64_t unit = 16 * recurrence_block;
    return size != 0     ? size
           : tokens == 0 ? recurrence_block
                         : (tokens + unit - 1) / unit * recurrence_block;
  }

 private:
  static constexpr std::string_view names[] = {"step", "recurrent", "chunk", "segmented"};

  // Digits by hand, as in `describe`: <charconv> has tables that units share whatever they were
  // compiled for.

  /// "" is 0, and "<n>" is n, from 1 on.
  static bool parse_size(std::string_view text, std::int64_t& number) noexcept {
    if (text.empty()) {
      return true;
    }
    if (text.size() < 3 || text.size() > 20 || text.front() != '<' || text.back() != '>') {
      return false;
    }
    for (const char c : text.substr(1, text.size() - 2)) {
      if (c < '0' || c > '9') {
        return false;
      }
      number = number * 10 + (c - '0');
    }
    return number > 0;
  }
};

/// A worker's scratch, and how the tasks are cut. A task takes some of the tiles of one head of one
/// sequence through its tokens: which ones moves no bits.
template <class C, class Arch>
struct recurrence_plan {
  static constexpr std::int64_t w = simd::lanes<C, Arch>;

  recurrence_choice<Arch> choice;
  std::int64_t width;  // registers of values in a tile
  std::int64_t tiles;  // of a head
  std::int64_t parts;  // tasks of a head
  std::int64_t block;  // tokens that are prepared at a time
  std::size_t worker_bytes;
  std::size_t bytes;
  // Of the segmented algorithm, behind the workers' scratch:
  std::int64_t segments = 1;
  std::int64_t transition_width = 1;  // registers of a tile of a segment's transition
  std::int64_t transition_tiles = 1;
  std::int64_t segment_elements = 0;  // of a head: its state, its transition, its normaliser

  recurrence_plan(const matrix_recurrence_problem& p, const context& ctx) noexcept
      : choice(p, ctx.pin.algorithm),
        width(state_tile_width<C, Arch>(p.key_dim(), p.value_dim())),
        tiles((p.value_dim() + width * w - 1) / (width * w)),
        block(choice.algorithm == recurrence_algorithm::chunk ? choice.size : recurrence_block) {
    const std::int64_t workers = ctx.executor.concurrency();
    const std::int64_t heads = p.sequences * p.value_heads();
    // Enough tasks for the workers, but no more: each prepares the tokens' keys anew. Heads that
    // leave some workers idle at the end are cut in two, unless there are many.
    // A denominator is one task's: it reads and writes a state that no tile has a part of.
    const bool even = heads % workers == 0 || heads >= 4 * workers;
    const std::int64_t wanted = heads == 0 || p.normalise ? 1
                                : heads < workers         ? (workers + heads - 1) / heads
                                                          : (even ? 1 : 2);
    parts = wanted < tiles ? wanted : tiles;
    const bool segmented = choice.algorithm == recurrence_algorithm::segmented;
    if (segmented) {
      const std::int64_t length = choice.segment_length(choice.longest);
      segments = choice.longest == 0 ? 1
                 : choice.size == 0  ? 16
                                     : (choice.longest + length - 1) / length;
      if (p.update != state_update::none) {
        transition_width = state_tile_width<C, Arch>(p.key_dim(), p.key_dim());
        transition_tiles = (p.key_dim() + transition_width * w - 1) / (transition_width * w);
      }
      segment_elements = state_elements(p) + transition_elements(p) + round_up(p.key_dim(), w);
    }
    scratch_layout layout;
    const token_rows<C, Arch> rows(layout, p, block, choice.defers());
    if (choice.algorithm == recurrence_algorithm::chunk) {
      const chunk_rows<C, Arch> chunk(layout, p, rows.values, block);
    }
    layout.take<C>(state_elements(p));
    if (segmented) {
      layout.take<C>(transition_elements(p));
      layout.take<C>(transition_columns());
      layout.take<C>(transition_columns());
    }
    worker_bytes = layout.bytes();
    bytes =
        worker_bytes * static_cast<std::size_t>(workers) +
        static_cast<std::size_t>(segmented ? heads * segments * segment_elements : 0) * sizeof(C) +
        scratch_alignment;
  }

  std::int64_t columns() const noexcept { return width * w; }
  std::int64_t state_elements(const matrix_recurrence_problem& p) const noexcept {
    return tiles * columns() * p.key_dim();
  }
  std::int64_t transition_columns() const noexcept {
    return transition_tiles * transition_width * w;
  }
  std::int64_t transition_elements(const matrix_recurrence_problem& p) const noexcept {
    return transition_columns() * p.key_dim();
  }
};

/// Runs `f(sequence, value head, part, the worker's scratch)` for all that are not skipped.
template <class C, class Arch, class F>
void over_heads(const matrix_recurrence_problem& p, const recurrence_plan<C, Arch>& plan,
                const executor_ref& executor, std::byte* scratch, std::int64_t parts, const F& f) {
  const std::int64_t heads = p.value_heads();
  const auto task = [&](std::int64_t index, int worker) {
    const recurrence_sequence s = recurrence_sequence_at(p, index / (heads * parts));
    if (!s.skipped()) {
      f(s, index / parts % heads, index % parts,
        scratch + plan.worker_bytes * static_cast<std::size_t>(worker));
    }
  };
  executor.run(p.sequences * heads * parts, task);
}

}  // namespace detail

SEQMIX_END_NAMESPACE
