// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/workspace.hpp>
#include <seqmix/ops/elementwise_scan/problem.hpp>
#include <seqmix/simd/arch.hpp>

// How a scan is cut, into tasks and tiles.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// What a scan computes in, and what all its tensors hold rows of where that is one type; else the
/// same.
template <class C, class T>
struct scan_types {
  using compute = C;
  using stored = T;
};

/// Some tokens of some channels, as rows of T.
template <class C, class T = C>
struct scan_tile {
  std::array<const T*, scan_problem::most_inputs> in{};
  std::array<std::int64_t, scan_problem::most_inputs> in_step{};
  std::array<T*, 2> out{};
  std::array<std::int64_t, 2> out_step{};
  C* state = nullptr;  // [planes][plane_step]
  const C* parameters = nullptr;
  std::int64_t plane_step = 0;
  std::int64_t tokens = 0;
  std::int64_t channels = 0;  // a multiple of the lanes
  std::int64_t ahead = 1;     // tokens from one that is read to one that is asked for
  bool streams = false;       // outputs are large and whole cache lines: past the caches
  bool paired = false;        // rows hold both parts of complex numbers, side by side
};

/// How a scan is cut. A task takes one part of the channels of one sequence through its tokens;
/// channels know nothing of each other, so that no cut moves bits.
template <class Arch, class Form>
struct scan_plan {
  using C = typename Form::C;
  using T = typename Form::stored;
  static constexpr std::int64_t w = simd::lanes<C, Arch>;
  static constexpr std::int64_t tensors = Form::inputs + Form::outputs;
  static constexpr std::int64_t line = 64 / static_cast<std::int64_t>(sizeof(T));

  std::int64_t width;           // channels of a task
  std::int64_t parts;           // tasks of one sequence and head
  std::int64_t block_tokens;    // of a tile
  std::int64_t block_channels;  // of a tile, at most
  std::int64_t row_step;        // of a tile's rows in scratch
  std::int64_t plane_step;
  bool direct = true;   // every tensor holds rows of the stored type already
  bool paired = false;  // and complex ones both parts side by side
  bool streams;         // outputs are too large to be read from a cache later
  std::size_t worker_bytes;

  scan_plan(const scan_problem& p, std::int64_t workers) noexcept {
    int over_time = 0;
    const auto look_at = [&](const auto& x) {
      direct &= holds_rows(x);
      over_time += x.strides[4] != 1 && (x.strides[2] == 1 || x.strides[2] == -1) ? 1 : 0;
    };
    for (std::size_t i = 0; i < Form::inputs; ++i) {
      look_at(p.inputs[i]);
    }
    for (std::size_t i = 0; i < Form::outputs; ++i) {
      look_at(p.outputs[i]);
    }
    if constexpr (Form::pairs) {
      paired = holds_pairs(p);
      direct |= paired;
    }
    // What is added to goes through blocks: the loops over rows are free of it.
    direct &= !p.accumulate;
    // A task's state stays in the first cache, and so do the lines that a task over contiguous time
    // has in work: they lie at distances that share sets of it. Few sequences are cut into more
    // parts, of whole cache lines.
    const bool narrow = over_time == tensors;
    const std::int64_t widest_task = narrow ? narrow_task : widest;
    const std::int64_t D = p.channels();
    const std::int64_t rows = p.sequences * p.heads();
    parts = (D + widest_task - 1) / widest_task;
    if (rows > 0 && parts * rows % workers != 0 && parts * rows < 4 * workers) {
      parts = (parts * rows + workers - 1) / workers * workers / rows;
      parts = parts < 1 ? 1 : parts;
      if (parts * rows % workers != 0) {
        parts = workers;
      }
    }
    // The channels of a head share some numbers of its state.
    parts = p.head_states ? 1 : parts;
    const std::int64_t unit = narrow ? narrow_task : 2 * line;
    width = parts == 0 ? 0 : ((D + parts - 1) / parts + unit - 1) / unit * unit;
    parts = width == 0 ? 0 : (D + width - 1) / width;
    plane_step = width + 64;  // planes at distances of a page would share sets of the cache
    streams = rows * p.tokens() * D * std::int64_t{sizeof(T)} > largest_cached;
    // Tiles that are copied to scratch stay in the caches, and take long runs of memory: of time
    // where it is contiguous, else of whole rows.
    const std::int64_t most = narrow ? narrow_task : over_time != 0 ? 32 : width;
    block_channels = most < width ? most : width;
    block_tokens = direct           ? 64
                   : narrow         ? 128
                   : over_time != 0 ? 512
                                    : 4096 / (block_channels < 256 ? 256 : block_channels);
    row_step = direct ? w : block_channels;
    scratch_layout layout;
    lay_out(p, layout);
    worker_bytes = layout.bytes();
  }

  static constexpr std::int64_t widest = 1024;
  static constexpr std::int64_t narrow_task = w < 8 ? 8 : w;
  static constexpr std::int64_t largest_cached = std::int64_t{8} << 20;  // bytes

  template <class Pointer>
  static bool holds_rows(const erased_view<Pointer, 5>& x) noexcept {
    return x.type == scalar_type_of<T> && x.strides[4] == 1;
  }
  /// Complex numbers are tensors one behind the other: real parts, imaginary parts.
  static bool holds_pairs(const scan_problem& p) noexcept {
    const auto beside = [](const auto& re, const auto& im) {
      return re.type == scalar_type_of<T> && re.strides[4] == 2 && re.strides == im.strides &&
             static_cast<const T*>(im.data) == static_cast<const T*>(re.data) + 1;
    };
    bool all = true;
    for (std::size_t i = 0; i < Form::inputs; i += 2) {
      all &= beside(p.inputs[i], p.inputs[i + 1]);
    }
    return all && beside(p.outputs[0], p.outputs[1]);
  }

  struct scratch {
    C* rows;
    C* state;
    C* parameters;
  };
  scratch lay_out(const scan_problem& p, scratch_layout& layout) const noexcept {
    scratch s{};
    s.rows = layout.take<C>(tensors * block_tokens * row_step);
    s.state = layout.take<C>(Form::planes(p) * plane_step);
    s.parameters = layout.take<C>(Form::parameter_planes(p) * plane_step);
    return s;
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
