// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/round_up.hpp>
#include <seqmix/ops/elementwise_scan/plan.hpp>
#include <seqmix/ops/elementwise_scan/rows.hpp>

// One engine for all scans over time. A form says what it does with a tile: some tokens of some
// channels, whole registers of them, as rows in the compute type or in that of the tensors.
//
//     C, stored                    these types
//     inputs, outputs              rows of a token
//     pairs                        rows are parts of complex numbers, which may lie side by side
//     planes(p)                    numbers of state of a channel, as rows of channels
//     parameter_planes(p)          rows of what does not change over time
//     load_parameters(p, c, n, rows, step)
//     open(p, given, state, step), close(p, state, step)
//                                  from the caller's numbers (the first planes) and back
//     run(p, tile)

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class Arch, class Form>
class scan_task {
 public:
  using C = typename Form::C;
  using T = typename Form::stored;
  using plan_type = scan_plan<Arch, Form>;
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

  template <class Element>
  scan_tile<C, Element> tile_at(std::int64_t tokens, std::int64_t c,
                                std::int64_t channels) const noexcept {
    scan_tile<C, Element> tile;
    tile.state = scratch_.state + c;
    tile.parameters = scratch_.parameters + c;
    tile.plane_step = plan_.plane_step;
    tile.tokens = tokens;
    tile.channels = round_up(channels, w);
    tile.ahead = 1 + plan_type::widest / tile.channels / 2;
    tile.streams = plan_.streams;
    tile.paired = plan_.paired;
    return tile;
  }

  void run_tile(std::int64_t place, std::int64_t tokens, std::int64_t c, std::int64_t channels,
                bool tail) noexcept {
    const auto block = [&](const auto& x) { return block_of(x, place, tokens, c, channels); };
    if (plan_.direct && !tail) {
      scan_tile<C, T> tile = tile_at<T>(tokens, c, channels);
      for (std::size_t i = 0; i < Form::inputs; ++i) {
        read_in_place(tile, i, block(p_.inputs[i]));
      }
      for (std::size_t i = 0; i < Form::outputs; ++i) {
        write_in_place(tile, i, block(p_.outputs[i]));
      }
      Form::run(p_, tile);
      return;
    }
    scan_tile<C> tile = tile_at<C>(tokens, c, channels);
    tile.paired = false;
    const auto in_place = [&](const auto& x) {
      return !tail && x.type == scalar_type_of<C> && x.strides[4] == 1;
    };
    C* rows = scratch_.rows;
    const std::int64_t plane = plan_.block_tokens * plan_.row_step;
    for (std::size_t i = 0; i < Form::inputs; ++i, rows += plane) {
      const any_view<5>& x = p_.inputs[i];
      if (in_place(x)) {
        read_in_place(tile, i, block(x));
      } else {
        with_real_elements(x.data, x.type, [&](const auto* data) {
          gather_rows<C, Arch>(data, block(x), rows, plan_.row_step);
        });
        tile.in[i] = rows;
        tile.in_step[i] = plan_.row_step;
      }
    }
    C* results = rows;
    for (std::size_t i = 0; i < Form::outputs; ++i, rows += plane) {
      if (!p_.accumulate && in_place(p_.outputs[i])) {
        write_in_place(tile, i, block(p_.outputs[i]));
      } else {
        tile.out[i] = rows;
        tile.out_step[i] = plan_.row_step;
        tile.streams = false;
      }
    }
    Form::run(p_, tile);
    for (std::size_t i = 0; i < Form::outputs; ++i, results += plane) {
      if (tile.out[i] == results) {
        const any_out<5>& o = p_.outputs[i];
        with_real_elements(o.data, o.type, [&](auto* data) {
          const scan_block b = block(o);
          if (p_.accumulate) {
            scatter_rows<C, Arch, true>(data, b, results, plan_.row_step, false);
          } else {
            scatter_rows<C, Arch, false>(data, b, results, plan_.row_step, plan_.streams);
          }
        });
      }
    }
  }

  template <class Element>
  void read_in_place(scan_tile<C, Element>& tile, std::size_t i,
                     const scan_block& b) const noexcept {
    tile.in[i] = static_cast<const Element*>(p_.inputs[i].data) + b.at;
    tile.in_step[i] = b.token_step;
  }
  template <class Element>
  void write_in_place(scan_tile<C, Element>& tile, std::size_t i,
                      const scan_block& b) const noexcept {
    tile.out[i] = static_cast<Element*>(p_.outputs[i].data) + b.at;
    tile.out_step[i] = b.token_step;
    // The second of a pair is on the lines of the first.
    tile.streams &= (tile.paired && i == 1) || fills_lines(tile.out[i], b.token_step);
  }

  template <class Element>
  static bool fills_lines(const Element* row, std::int64_t step) noexcept {
    return reinterpret_cast<std::uintptr_t>(row) % 64 == 0 &&
           step * std::int64_t{sizeof(Element)} % 64 == 0;
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
