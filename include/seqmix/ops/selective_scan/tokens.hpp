// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/convert.hpp>
#include <seqmix/core/workspace.hpp>
#include <seqmix/ops/selective_scan/decay.hpp>
#include <seqmix/ops/selective_scan/problem.hpp>
#include <seqmix/simd/load.hpp>

// Blocks of tokens and the states of channels between the caller's tensors and the scan: rows of
// channels in the compute type. From here on nothing knows strides or element types.

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// A task's channels, and how many tokens are prepared at a time.
inline constexpr std::int64_t scan_channels = 64;
SEQMIX_ALWAYS_INLINE constexpr std::int64_t selective_scan_block(std::int64_t state_size) noexcept {
  return state_size <= 16 ? 32 : state_size >= 64 ? 8 : 512 / state_size;
}

/// Some channels of some tokens of a sequence.
struct scan_window {
  std::int64_t batch;
  std::int64_t place;  // of the first token
  std::int64_t step;   // to the next on the time axis: 1 or -1
  std::int64_t tokens;
  std::int64_t channel;
  std::int64_t channels;
};

/// Calls f(element, out index) for a window of a tensor, in the order in which it lies in memory.
template <class View, class F>
SEQMIX_ALWAYS_INLINE void for_each_in_window(const View& x, const scan_window& w, F&& f) noexcept {
  const std::int64_t first =
      w.batch * x.strides[0] + w.place * x.strides[1] + w.channel * x.strides[2];
  const std::int64_t by_token = w.step * x.strides[1];
  const std::int64_t by_channel = x.strides[2];
  for (std::int64_t c = 0; c < w.channels; ++c) {
    for (std::int64_t t = 0; t < w.tokens; ++t) {
      f(first + t * by_token + c * by_channel, t * scan_channels + c);
    }
  }
}

/// A window of a tensor into rows of `scan_channels`; what pads the last register is zero.
template <class C, class Arch, class Pointer>
void load_window(const erased_view<Pointer, 3>& x, const scan_window& w, C* rows) noexcept {
  constexpr std::int64_t lanes = simd::lanes<C, Arch>;
  with_real_elements(x.data, x.type, [&](const auto* data) __attribute__((always_inline)) {
    if (x.strides[2] == 1) {
      for (std::int64_t t = 0; t < w.tokens; ++t) {
        const auto* row =
            data + w.batch * x.strides[0] + (w.place + t * w.step) * x.strides[1] + w.channel;
        for (std::int64_t c = 0; c < w.channels; c += lanes) {
          simd::load_strided<C, Arch>(row, 1, c, w.channels)
              .store_aligned(rows + t * scan_channels + c);
        }
      }
      return;
    }
    for (std::int64_t c = w.channels; c % lanes != 0; ++c) {
      for (std::int64_t t = 0; t < w.tokens; ++t) {
        rows[t * scan_channels + c] = C(0);
      }
    }
    for_each_in_window(x, w, [&](std::int64_t at, std::int64_t to) __attribute__((always_inline)) {
      rows[to] = widen<C>(data[at]);
    });
  });
}

/// The counterpart.
template <class C, class Arch>
void store_window(const any_out<3>& x, const scan_window& w, const C* rows) noexcept {
  using V = simd::vec<C, Arch>;
  constexpr std::int64_t lanes = simd::lanes<C, Arch>;
  with_real_elements(x.data, x.type, [&]<class T>(T* data) __attribute__((always_inline)) {
    if (x.strides[2] == 1) {
      for (std::int64_t t = 0; t < w.tokens; ++t) {
        T* row = data + w.batch * x.strides[0] + (w.place + t * w.step) * x.strides[1] + w.channel;
        for (std::int64_t c = 0; c < w.channels; c += lanes) {
          simd::store_strided<C, Arch>(V::load_aligned(rows + t * scan_channels + c), row, 1, c,
                                       w.channels);
        }
      }
      return;
    }
    for_each_in_window(x, w,
                       [&](std::int64_t at, std::int64_t from)
                           __attribute__((always_inline)) { data[at] = narrow<T>(rows[from]); });
  });
}

/// A vector's channels, zeros behind the last, or zeros without one.
template <class C, class Arch>
void load_channels(const any_view<1>& x, std::int64_t channel, std::int64_t channels,
                   C* row) noexcept {
  if (!x.given()) {
    for (std::int64_t c = 0; c < scan_channels; ++c) {
      row[c] = C(0);
    }
    return;
  }
  with_real_elements(x.data, x.type, [&](const auto* data) __attribute__((always_inline)) {
    simd::load_row<C, Arch>(data + channel * x.strides[0], x.strides[0], 0, channels, C(1), row,
                            scan_channels);
  });
}

/// Rows of B or C that a group's channels share: [tokens][numbers], numbers = N parts.
template <class C, class Arch>
void load_group_rows(const any_view<5>& x, const scan_window& w, std::int64_t group,
                     C* rows) noexcept {
  constexpr std::int64_t lanes = simd::lanes<C, Arch>;
  const std::int64_t N = x.extents[3];
  const std::int64_t parts = x.extents[4];
  with_real_elements(x.data, x.type, [&](const auto* data) __attribute__((always_inline)) {
    for (std::int64_t t = 0; t < w.tokens; ++t) {
      const auto* row = data + w.batch * x.strides[0] + (w.place + t * w.step) * x.strides[1] +
                        group * x.strides[2];
      C* out = rows + t * N * parts;
      std::int64_t n = 0;
      if (parts == 1 && x.strides[3] == 1) {
        for (; n + lanes <= N; n += lanes) {
          simd::load<C, Arch>(row + n).store_unaligned(out + n);
        }
      }
      for (; n < N; ++n) {
        for (std::int64_t part = 0; part < parts; ++part) {
          out[n * parts + part] = widen<C>(row[n * x.strides[3] + part * x.strides[4]]);
        }
      }
    }
  });
}

/// Rows of B or C for each channel of one register: [tokens][N parts][lanes]. Those without tokens
/// are loaded once: returns how far apart the rows of two tokens are.
template <class C, class Arch>
std::int64_t load_channel_rows(const any_view<5>& x, const scan_window& w, std::int64_t per_group,
                               C* rows) noexcept {
  constexpr std::int64_t lanes = simd::lanes<C, Arch>;
  const std::int64_t parts = x.extents[4];
  const std::int64_t numbers = x.extents[3] * parts;
  const bool fixed = x.strides[1] == 0;
  with_real_elements(x.data, x.type, [&](const auto* data) __attribute__((always_inline)) {
    for (std::int64_t t = 0; t < (fixed ? 1 : w.tokens); ++t) {
      const std::int64_t at = w.batch * x.strides[0] + (w.place + t * w.step) * x.strides[1];
      for (std::int64_t i = 0; i < numbers; ++i) {
        const std::int64_t from = at + i / parts * x.strides[3] + i % parts * x.strides[4];
        for (std::int64_t c = 0; c < lanes; ++c) {
          const std::int64_t group = (w.channel + c) / per_group;
          rows[(t * numbers + i) * lanes + c] =
              c < w.channels ? widen<C>(data[from + group * x.strides[2]]) : C(0);
        }
      }
    }
  });
  return fixed ? 0 : numbers * lanes;
}

/// The state of `channels` channels, at most a register: [N parts][lanes].
template <class C, class Arch>
void load_scan_state(const any_view<4>& x, std::int64_t entry, std::int64_t channel,
                     std::int64_t channels, std::int64_t N, std::int64_t parts, C* h) noexcept {
  constexpr std::int64_t lanes = simd::lanes<C, Arch>;
  for (std::int64_t i = 0; i < N * parts * lanes; ++i) {
    h[i] = C(0);
  }
  if (!x.given()) {
    return;
  }
  with_real_elements(x.data, x.type, [&](const auto* data) __attribute__((always_inline)) {
    for (std::int64_t c = 0; c < channels; ++c) {
      const auto* row = data + entry * x.strides[0] + (channel + c) * x.strides[1];
      for (std::int64_t n = 0; n < N; ++n) {
        for (std::int64_t part = 0; part < parts; ++part) {
          h[(n * parts + part) * lanes + c] = widen<C>(row[n * x.strides[2] + part * x.strides[3]]);
        }
      }
    }
  });
}

template <class C, class Arch>
void store_scan_state(const any_out<4>& x, std::int64_t entry, std::int64_t channel,
                      std::int64_t channels, const C* h) noexcept {
  constexpr std::int64_t lanes = simd::lanes<C, Arch>;
  const std::int64_t N = x.extents[2];
  const std::int64_t parts = x.extents[3];
  with_real_elements(x.data, x.type, [&]<class T>(T* data) __attribute__((always_inline)) {
    for (std::int64_t c = 0; c < channels; ++c) {
      T* row = data + entry * x.strides[0] + (channel + c) * x.strides[1];
      for (std::int64_t n = 0; n < N; ++n) {
        for (std::int64_t part = 0; part < parts; ++part) {
          row[n * x.strides[2] + part * x.strides[3]] =
              narrow<T>(h[(n * parts + part) * lanes + c]);
        }
      }
    }
  });
}

/// A state that no token changes, element by element in double, so that no type loses bits.
template <class Arch>
void copy_scan_state(const selective_scan_problem& p, const sequence_place& s, std::int64_t channel,
                     std::int64_t channels) noexcept {
  const any_view<4>& from = p.initial_state;
  const any_out<4>& to = p.final_state;
  const auto copy = [&](auto&& element) {
    with_real_elements(to.data, to.type, [&]<class T>(T* out) {
      for (std::int64_t d = channel; d < channel + channels; ++d) {
        for (std::int64_t n = 0; n < p.state_size(); ++n) {
          for (std::int64_t part = 0; part < p.parts(); ++part) {
            out[s.final * to.strides[0] + d * to.strides[1] + n * to.strides[2] +
                part * to.strides[3]] = narrow<T>(element(d, n, part));
          }
        }
      }
    });
  };
  if (!from.given()) {
    return copy([](auto...) { return 0.0; });
  }
  copy([&](std::int64_t d, std::int64_t n, std::int64_t part) {
    double value = 0;
    with_real_elements(from.data, from.type, [&](const auto* data) {
      value = widen<double>(data[s.initial * from.strides[0] + d * from.strides[1] +
                                 n * from.strides[2] + part * from.strides[3]]);
    });
    return value;
  });
}

}  // namespace detail

SEQMIX_END_NAMESPACE
