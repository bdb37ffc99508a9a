// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/workspace.hpp>
#include <seqmix/ops/elementwise_scan/rows.hpp>
#include <seqmix/simd/stream.hpp>
#include <seqmix/simd/tile.hpp>

// One engine for all scans over time. A form says what it does with a tile: some tokens of some
// channels, whole registers of them, as rows in the compute type.
//
//     inputs, outputs              rows of a token
//     planes(p)                    numbers of state of a channel, as rows of channels
//     parameter_planes(p)          rows of what does not change over time
//     load_parameters(p, c, n, rows, step)
//     open(p, given, state, step), close(p, state, step)
//                                  from the caller's numbers (the first planes) and back
//     run(p, tile)

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class C>
struct scan_tile {
  std::array<const C*, scan_problem::most_inputs> in{};
  std::array<std::int64_t, scan_problem::most_inputs> in_step{};
  std::array<C*, 2> out{};
  std::array<std::int64_t, 2> out_step{};
  C* state = nullptr;  // [planes][plane_step]
  const C* parameters = nullptr;
  std::int64_t plane_step = 0;
  std::int64_t tokens = 0;
  std::int64_t channels = 0;  // a multiple of the lanes
  std::int64_t ahead = 1;     // tokens from one that is read to one that is asked for
  bool streams = false;       // outputs are large and whole cache lines: past the caches
};

/// How a scan is cut. A task takes one part of the channels of one sequence through its tokens;
/// channels know nothing of each other, so that no cut moves bits.
template <class C, class Arch, class Form>
struct scan_plan {
  static constexpr std::int64_t w = simd::lanes<C, Arch>;
  static constexpr std::int64_t tensors = Form::inputs + Form::outputs;
  static constexpr std::int64_t line = 64 / static_cast<std::int64_t>(sizeof(C));

  std::int64_t width;           // channels of a task
  std::int64_t parts;           // tasks of one sequence and head
  std::int64_t block_tokens;    // of a tile
  std::int64_t block_channels;  // of a tile, at most
  std::int64_t row_step;        // of a tile's rows in scratch
  std::int64_t plane_step;
  bool direct = true;  // every tensor holds rows of the compute type already
  bool streams;        // outputs are too large to be read from a cache later
  std::size_t worker_bytes;

  scan_plan(const scan_problem& p, std::int64_t workers) noexcept {
    bool over_time = false;
    const auto look_at = [&](const auto& x) {
      direct &= reads_in_place(x);
      over_time |= x.strides[4] != 1 && (x.strides[2] == 1 || x.strides[2] == -1);
    };
    for (std::size_t i = 0; i < Form::inputs; ++i) {
      look_at(p.inputs[i]);
    }
    for (std::size_t i = 0; i < Form::outputs; ++i) {
      look_at(p.outputs[i]);
    }
    // A task's state stays in the first cache. Few sequences are cut into more parts, of whole
    // cache lines.
    const std::int64_t D = p.channels();
    const std::int64_t rows = p.sequences * p.heads();
    parts = (D + widest - 1) / widest;
    if (rows > 0 && parts * rows % workers != 0 && parts * rows < 4 * workers) {
      parts = (parts * rows + workers - 1) / workers * workers / rows;
      parts = parts < 1 ? 1 : parts;
      if (parts * rows % workers != 0) {
        parts = workers;
      }
    }
    // The channels of a head share some numbers of its state.
    parts = p.head_states ? 1 : parts;
    const std::int64_t unit = 2 * line;
    width = parts == 0 ? 0 : ((D + parts - 1) / parts + unit - 1) / unit * unit;
    parts = width == 0 ? 0 : (D + width - 1) / width;
    plane_step = width;
    streams = rows * p.tokens() * D * std::int64_t{sizeof(C)} > largest_cached;
    // Tiles that are copied to scratch stay in the caches, and take long runs of memory: of time
    // where it is contiguous, else of whole rows.
    const std::int64_t most = over_time ? 32 : width;
    block_channels = most < width ? most : width;
    block_tokens = direct      ? 64
                   : over_time ? 512
                               : 4096 / (block_channels < 256 ? 256 : block_channels);
    row_step = direct ? w : block_channels;
    scratch_layout layout;
    lay_out(p, layout);
    worker_bytes = layout.bytes();
  }

  static constexpr std::int64_t widest = 1024;
  static constexpr std::int64_t largest_cached = std::int64_t{8} << 20;  // bytes

  template <class Pointer>
  static bool reads_in_place(const erased_view<Pointer, 5>& x) noexcept {
    return x.type == scalar_type_of<C> && x.strides[4] == 1;
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

template <class C, class Arch, class Form>
class scan_task {
 public:
  using plan_type = scan_plan<C, Arch, Form>;
  static constexpr std::int64_t w = simd::lanes<C, Arch>;

  scan_task(const scan_problem& p, const plan_type& plan, std::int64_t index,
            std::byte* memory) noexcept
      : p_(p),
        plan_(plan),
        s_(sequence_at(p, index / (p.heads() * plan.parts))),
        head_(index / plan.parts % p.heads()),
        first_(index % plan.parts * plan.width) {
    const std::int64_t left = p.channels() - first_;
    channels_ = left < plan.width ? left : plan.width;
    scratch_layout layout(memory);
    scratch_ = plan.lay_out(p, layout);
  }

  void run() noexcept {
    if (s_.skipped()) {
      return;
    }
    load_state();
    Form::load_parameters(p_, first_, channels_, scratch_.parameters, plan_.plane_step);
    const std::int64_t whole = channels_ / w * w;
    for (std::int64_t t = 0; t < s_.tokens;) {
      const std::int64_t n = run_of_tokens(t);
      for (std::int64_t c = 0; c < channels_;) {
        // Channels behind the last whole register go by themselves, through scratch.
        const bool tail = c >= whole;
        const std::int64_t most = tail ? channels_ : whole;
        const std::int64_t end = c + plan_.block_channels < most ? c + plan_.block_channels : most;
        run_tile(s_.place(t), n, c, end - c, tail);
        c = end;
      }
      t += n;
    }
    if (p_.final_state.given()) {
      store_state();
    }
    simd::finish_streams();
  }

 private:
  /// Tokens from the t-th on whose rows lie at one distance from each other.
  std::int64_t run_of_tokens(std::int64_t t) const noexcept {
    const std::int64_t inner = p_.inner_tokens();
    const std::int64_t at = s_.place(t) % inner;
    const std::int64_t room = s_.reverse ? at + 1 : inner - at;
    std::int64_t n = s_.tokens - t < plan_.block_tokens ? s_.tokens - t : plan_.block_tokens;
    return n < room ? n : room;
  }

  template <class Pointer>
  scan_block block_of(const erased_view<Pointer, 5>& x, std::int64_t place, std::int64_t tokens,
                      std::int64_t c, std::int64_t channels) const noexcept {
    return {scan_row_at(x, p_.inner_tokens(), s_.batch, place, head_) + (first_ + c) * x.strides[4],
            s_.reverse ? -x.strides[2] : x.strides[2], x.strides[4], tokens, channels};
  }

  void run_tile(std::int64_t place, std::int64_t tokens, std::int64_t c, std::int64_t channels,
                bool tail) noexcept {
    scan_tile<C> tile;
    C* rows = scratch_.rows;
    const std::int64_t plane = plan_.block_tokens * plan_.row_step;
    for (std::size_t i = 0; i < Form::inputs; ++i, rows += plane) {
      const any_view<5>& x = p_.inputs[i];
      const scan_block b = block_of(x, place, tokens, c, channels);
      if (plan_type::reads_in_place(x) && !tail) {
        tile.in[i] = static_cast<const C*>(x.data) + b.at;
        tile.in_step[i] = b.token_step;
      } else {
        with_real_elements(x.data, x.type, [&](const auto* data) {
          gather_rows<C, Arch>(data, b, rows, plan_.row_step);
        });
        tile.in[i] = rows;
        tile.in_step[i] = plan_.row_step;
      }
    }
    C* results = rows;
    tile.streams = plan_.streams;
    for (std::size_t i = 0; i < Form::outputs; ++i, rows += plane) {
      const any_out<5>& o = p_.outputs[i];
      const bool in_place = plan_type::reads_in_place(o) && !tail;
      const scan_block b = block_of(o, place, tokens, c, channels);
      tile.out[i] = in_place ? static_cast<C*>(o.data) + b.at : rows;
      tile.out_step[i] = in_place ? b.token_step : plan_.row_step;
      tile.streams = tile.streams && in_place && fills_lines(tile.out[i], b.token_step);
    }
    tile.state = scratch_.state + c;
    tile.parameters = scratch_.parameters + c;
    tile.plane_step = plan_.plane_step;
    tile.tokens = tokens;
    tile.channels = (channels + w - 1) / w * w;
    tile.ahead = 1 + plan_type::widest / tile.channels / 2;
    Form::run(p_, tile);
    if constexpr (Form::outputs == 2 && std::is_same_v<C, float>) {
      const auto& [re, im] = p_.outputs;
      if (re.type == scalar_type::f32 && re.strides[4] == 2 && re.strides == im.strides &&
          im.data == static_cast<float*>(re.data) + 1) {
        scatter_pairs<Arch>(static_cast<float*>(re.data), block_of(re, place, tokens, c, channels),
                            tile.out[0], tile.out[1], plan_.row_step);
        return;
      }
    }
    for (std::size_t i = 0; i < Form::outputs; ++i, results += plane) {
      if (tile.out[i] == results) {
        const any_out<5>& o = p_.outputs[i];
        const scan_block b = block_of(o, place, tokens, c, channels);
        with_real_elements(o.data, o.type, [&](auto* data) {
          scatter_rows<C, Arch>(data, b, results, plan_.row_step);
        });
      }
    }
  }

  static bool fills_lines(const C* row, std::int64_t step) noexcept {
    return reinterpret_cast<std::uintptr_t>(row) % 64 == 0 && step % plan_type::line == 0;
  }

  void load_state() noexcept {
    const any_view<3>& x = p_.initial_state;
    for (std::int64_t i = 0; i < Form::planes(p_) * plan_.plane_step; ++i) {
      scratch_.state[i] = C(0);
    }
    if (x.given()) {
      with_real_elements(x.data, x.type, [&](const auto* data) {
        for (std::int64_t s = 0; s < p_.state_numbers; ++s) {
          for (std::int64_t c = 0; c < channels_; ++c) {
            scratch_.state[s * plan_.plane_step + c] =
                widen<C>(data[s_.initial * x.strides[0] +
                              scan_state_at(p_, x.strides, head_, first_ + c, s)]);
          }
        }
      });
    }
    Form::open(p_, x.given(), scratch_.state, plan_.plane_step);
  }

  void store_state() noexcept {
    const any_out<3>& x = p_.final_state;
    Form::close(p_, scratch_.state, plan_.plane_step);
    with_real_elements(x.data, x.type, [&]<class T>(T* data) {
      for (std::int64_t s = 0; s < p_.state_numbers; ++s) {
        // What the channels of a head share, the task with the first of them writes.
        const bool shared = p_.head_states && s + 1 < p_.state_numbers;
        const std::int64_t n = !shared ? channels_ : first_ == 0 ? 1 : 0;
        for (std::int64_t c = 0; c < n; ++c) {
          data[s_.final * x.strides[0] + scan_state_at(p_, x.strides, head_, first_ + c, s)] =
              narrow<T>(scratch_.state[s * plan_.plane_step + c]);
        }
      }
    });
  }

  const scan_problem& p_;
  const plan_type& plan_;
  sequence_place s_;
  std::int64_t head_;
  std::int64_t first_;
  std::int64_t channels_;
  typename plan_type::scratch scratch_;
};

}  // namespace detail

SEQMIX_END_NAMESPACE
