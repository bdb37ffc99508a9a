// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/elementwise_scan/engine.hpp>
#include <seqmix/simd/interleave.hpp>
#include <seqmix/simd/pack.hpp>

// Forms whose state is a few numbers of each channel. A step says what one token does with
// packs of registers of channels:
//
//     form                                    its name
//     inputs, outputs, states, parameters     packs that it takes
//     width                                   registers of a pack
//     pairs                                   inputs and outputs are parts of complex numbers
//     apply(p, h, in, parameters, out)        h becomes the next state

SEQMIX_BEGIN_NAMESPACE

namespace detail {

template <class Types, class Arch, template <class, class> class Step>
struct fixed_scan {
  using C = typename Types::compute;
  using stored = typename Types::stored;
  using V = simd::vec<C, Arch>;
  using step = Step<C, Arch>;
  static constexpr std::int64_t w = simd::lanes<C, Arch>;
  static constexpr std::size_t inputs = step::inputs;
  static constexpr std::size_t outputs = step::outputs;
  static constexpr bool pairs = step::pairs;

  static constexpr std::int64_t planes(const scan_problem&) noexcept { return step::states; }
  static constexpr std::int64_t parameter_planes(const scan_problem&) noexcept {
    return step::parameters;
  }
  static void load_parameters(const scan_problem& p, std::int64_t first, std::int64_t channels,
                              C* rows, std::int64_t row_step) noexcept {
    for (std::int64_t i = 0; i < step::parameters; ++i) {
      const any_view<3>& x = p.parameters[static_cast<std::size_t>(i)];
      for (std::int64_t c = 0; c < row_step; ++c) {
        rows[i * row_step + c] = C(0);
      }
      with_real_elements(x.data, x.type, [&](const auto* data) {
        for (std::int64_t c = 0; c < channels; ++c) {
          rows[i * row_step + c] = static_cast<C>(
              step::parameter(p, i, widen<double>(data[(first + c) * x.strides[0]])));
        }
      });
    }
  }
  static void open(const scan_problem&, bool given, C* state, std::int64_t n) noexcept {
    over_state(state, n, [&](auto& h) __attribute__((always_inline)) { step::open(h, given); });
  }
  static void close(const scan_problem&, C* state, std::int64_t n) noexcept {
    over_state(state, n, [](auto& h) __attribute__((always_inline)) { step::close(h); });
  }

  /// Token by token, so that memory is read and written row by row; states wait in the first cache.
  template <class T>
  static void run(const scan_problem& p, const scan_tile<C, T>& x) noexcept {
    if constexpr (pairs) {
      if (x.paired) {
        return run_rows<true>(p, x);
      }
    }
    run_rows<false>(p, x);
  }

 private:
  template <class F>
  SEQMIX_ALWAYS_INLINE static void over_state(C* state, std::int64_t n, F&& f) noexcept {
    for (std::int64_t c = 0; c < n; c += w) {
      simd::pack<V, 1> h[step::states];
      for (std::int64_t s = 0; s < step::states; ++s) {
        h[s].part[0] = V::load_aligned(state + s * n + c);
      }
      f(h);
      for (std::int64_t s = 0; s < step::states; ++s) {
        h[s][0].store_aligned(state + s * n + c);
      }
    }
  }

  /// A token's rows and the distances to those that are asked for: locals, since compilers read
  /// what a tile holds anew behind each store.
  template <class T>
  struct token_rows {
    const T* in[step::inputs];
    std::int64_t ahead[step::inputs];
    T* out[step::outputs];
    C* state;
    const C* parameters;
    std::int64_t plane_step;

    SEQMIX_ALWAYS_INLINE token_rows(const scan_tile<C, T>& x, std::int64_t t) noexcept
        : state(x.state), parameters(x.parameters), plane_step(x.plane_step) {
      simd::unroll<step::inputs>([&](auto i) __attribute__((always_inline)) {
        in[i] = x.in[i] + t * x.in_step[i];
        ahead[i] = x.ahead * x.in_step[i];
      });
      simd::unroll<step::outputs>(
          [&](auto i) __attribute__((always_inline)) { out[i] = x.out[i] + t * x.out_step[i]; });
    }
  };

  template <bool Paired, class T>
  static void run_rows(const scan_problem& p, const scan_tile<C, T>& x) noexcept {
    // A line of the caches, so that it is asked for once and written at once.
    constexpr std::int64_t line = 64 / (w * std::int64_t{sizeof(T)}) / (Paired ? 2 : 1);
    constexpr int packs = line > step::width ? static_cast<int>(line / step::width) : 1;
    constexpr std::int64_t together = packs * step::width * w;
    for (std::int64_t t = 0; t < x.tokens; ++t) {
      const token_rows<T> rows(x, t);
      const bool streams = packs * step::width % (line < 1 ? 1 : line) == 0 && x.streams;
      std::int64_t c = 0;
      for (; c + together <= x.channels; c += together) {
        simd::unroll<packs>([&](auto i) __attribute__((always_inline)) {
          run_pack<Paired, step::width>(p, rows, c + i * step::width * w, streams);
        });
      }
      for (; c < x.channels; c += w) {
        run_pack<Paired, 1>(p, rows, c, line <= 1 && x.streams);
      }
    }
  }

  template <bool Paired, int Registers, class T>
  SEQMIX_ALWAYS_INLINE static void run_pack(const scan_problem& p, const token_rows<T>& x,
                                            std::int64_t c, bool streams) noexcept {
    using W = simd::pack<V, Registers>;
    W h[step::states];
    W parameters[step::parameters + 1];
    W in[step::inputs];
    W out[step::outputs];
    simd::unroll<Registers>([&](auto r) __attribute__((always_inline)) {
      const std::int64_t at = c + r * w;
      simd::unroll<step::states>([&](auto s) __attribute__((always_inline)) {
        h[s].part[r] = V::load_aligned(x.state + s * x.plane_step + at);
      });
      simd::unroll<step::parameters>([&](auto i) __attribute__((always_inline)) {
        parameters[i].part[r] = V::load_aligned(x.parameters + i * x.plane_step + at);
      });
      if constexpr (Paired) {
        simd::unroll<step::inputs / 2>([&](auto i) __attribute__((always_inline)) {
          const T* from = x.in[2 * i] + 2 * at;
          const V both[2] = {simd::load<C, Arch>(from), simd::load<C, Arch>(from + w)};
          ask_ahead<2 * r>(from, x.ahead[2 * i]);
          V parts[2];
          simd::split<2, C, Arch>(both, parts);
          in[2 * i].part[r] = parts[0];
          in[2 * i + 1].part[r] = parts[1];
        });
      } else {
        simd::unroll<step::inputs>([&](auto i) __attribute__((always_inline)) {
          const T* from = x.in[i] + at;
          in[i].part[r] = simd::load<C, Arch>(from);
          ask_ahead<r>(from, x.ahead[i]);
        });
      }
    });
    step::apply(p, h, in, parameters, out);
    simd::unroll<Registers>([&](auto r) __attribute__((always_inline)) {
      const std::int64_t at = c + r * w;
      if constexpr (Paired) {
        const V parts[2] = {out[0][r], out[1][r]};
        V both[2];
        simd::merge<2, C, Arch>(parts, both);
        T* to = x.out[0] + 2 * at;
        put(both[0], to, streams);
        put(both[1], to + w, streams);
      } else {
        simd::unroll<step::outputs>(
            [&](auto i) __attribute__((always_inline)) { put(out[i][r], x.out[i] + at, streams); });
      }
      simd::unroll<step::states>([&](auto s) __attribute__((always_inline)) {
        h[s][r].store_aligned(x.state + s * x.plane_step + at);
      });
    });
  }

  /// Asks for a line of a later row, once for the registers on it.
  template <int Register, class T>
  SEQMIX_ALWAYS_INLINE static void ask_ahead(const T* from, std::int64_t distance) noexcept {
    if constexpr (Register * w * sizeof(T) % 64 == 0) {
      __builtin_prefetch(from + distance);
    }
  }

  template <class T>
  SEQMIX_ALWAYS_INLINE static void put(V x, T* to, bool streams) noexcept {
    if (streams) {
      simd::stream<C, Arch>(x, to);
    } else {
      simd::store<C, Arch>(x, to);
    }
  }
};

}  // namespace detail

SEQMIX_END_NAMESPACE
