// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <seqmix/core/context.hpp>
#include <seqmix/dispatch/oracle.hpp>
#include <seqmix/ops/selective_scan/kernel.hpp>
#include <seqmix/ops/selective_scan/naive.hpp>
#include <seqmix/ops/selective_scan/token_rows.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// How the channels are cut into tasks: at most `scan_channels` of one group each, or of all
/// channels where each has B and C of its own.
struct scan_tasks {
  bool shared;             // B and C are those of a group as wide as a register
  std::int64_t groups;     // what no task crosses
  std::int64_t per_group;  // channels
  std::int64_t blocks;     // of a group
  std::int64_t count;      // of a sequence

  scan_tasks(const selective_scan_problem& p, std::int64_t lanes) noexcept {
    const std::int64_t g = p.own_B || p.own_C ? 0 : p.B.extents[2];
    shared = g > 0 && p.channels() / g >= lanes;
    groups = shared ? g : 1;
    per_group = p.channels() / groups;
    blocks = (per_group + scan_channels - 1) / scan_channels;
    count = groups * blocks;
  }
};

/// Rows of one worker.
template <class C, class Arch>
struct scan_rows {
  scan_token_rows<C, Arch> tokens;
  C* rate;  // [registers][N][lanes], complex [N][3][lanes]
  C* most;  // [channels]: the largest |rate|
  C* h;     // [registers][N parts][lanes]
  C* b;     // [block][N parts], or [block][N parts][lanes]
  C* c;
  std::size_t bytes;

  scan_rows(std::byte* base, const selective_scan_problem& p, bool shared) noexcept {
    scratch_layout layout(base);
    tokens = scan_token_rows<C, Arch>(layout, selective_scan_block(p.state_size()));
    const std::int64_t N = p.state_size();
    const std::int64_t block = selective_scan_block(N);
    const std::int64_t numbers = N * p.parts();
    rate = layout.take<C>(scan_channels * N * (p.parts() == 2 ? 3 : 1));
    most = layout.take<C>(scan_channels);
    h = layout.take<C>(scan_channels * numbers);
    const std::int64_t row = shared ? numbers : numbers * simd::lanes<C, Arch>;
    b = layout.take<C>(block * row);
    c = layout.take<C>(block * row);
    bytes = layout.bytes();
  }
};

/// Some channels of one sequence from the initial to the final state.
template <class C, class Arch, bool Complex>
class scan_run {
 public:
  using V = simd::vec<C, Arch>;
  static constexpr std::int64_t lanes = simd::lanes<C, Arch>;

  scan_run(const selective_scan_problem& problem, const sequence_place& sequence,
           const scan_tasks& tasks, std::int64_t task, const scan_rows<C, Arch>& scratch) noexcept
      : p_(problem), s_(sequence), rows_(scratch), shared_(tasks.shared) {
    group_ = task / tasks.blocks;
    const std::int64_t first = task % tasks.blocks * scan_channels;
    channel_ = group_ * tasks.per_group + first;
    channels_ = tasks.per_group - first < scan_channels ? tasks.per_group - first : scan_channels;
    equal_ = !Complex && p_.state_size() > 1 && p_.A.strides[1] == 0;
  }

  void run() const noexcept {
    if (s_.tokens == 0) {
      if (p_.final_state.given()) {
        copy_scan_state<Arch>(p_, s_, channel_, channels_);
      }
      return;
    }
    rows_.tokens.load_vectors(p_, channel_, channels_);
    load_rates();
    for (std::int64_t c = 0; c < channels_; c += lanes) {
      load_scan_state<C, Arch>(p_.initial_state, s_.initial, channel_ + c, width(c),
                               p_.state_size(), p_.parts(), state(c));
    }
    const std::int64_t block = selective_scan_block(p_.state_size());
    for (std::int64_t first = 0; first < s_.tokens; first += block) {
      const std::int64_t rest = s_.tokens - first;
      const std::int64_t count = rest < block ? rest : block;
      run_block({s_.batch, s_.place(first), s_.reverse ? -1 : 1, count, channel_, channels_,
                 rest - count});
    }
    for (std::int64_t c = 0; p_.final_state.given() && c < channels_; c += lanes) {
      store_scan_state<C, Arch>(p_.final_state, s_.final, channel_ + c, width(c), state(c));
    }
  }

 private:
  const selective_scan_problem& p_;
  const sequence_place& s_;
  const scan_rows<C, Arch>& rows_;
  bool shared_;
  bool equal_;
  std::int64_t group_;
  std::int64_t channel_;
  std::int64_t channels_;

  std::int64_t width(std::int64_t c) const noexcept {
    return channels_ - c < lanes ? channels_ - c : lanes;
  }
  C* state(std::int64_t c) const noexcept { return rows_.h + c * p_.state_size() * p_.parts(); }
  C* rate(std::int64_t c) const noexcept { return rows_.rate + c * p_.state_size() * rate_parts; }
  static constexpr std::int64_t rate_parts = Complex ? 3 : 1;

  /// A in the units of the exponential: once for each task.
  void load_rates() const noexcept {
    const std::int64_t N = p_.state_size();
    const auto& at = p_.A.strides;
    with_real_elements(p_.A.data, p_.A.type, [&](const auto* data) {
      for (std::int64_t c = 0; c < (channels_ + lanes - 1) / lanes * lanes; ++c) {
        C* out = rate(c - c % lanes) + c % lanes;
        double most = 0;
        for (std::int64_t n = 0; n < N; ++n) {
          const auto* a = data + (channel_ + (c < channels_ ? c : 0)) * at[0] + n * at[1];
          const double re = c < channels_ ? widen<double>(*a) * 1.4426950408889634074 : 0;
          // A NaN stays the largest.
          most = std::fabs(re) <= most ? most : most != most ? most : std::fabs(re);
          out[n * rate_parts * lanes] = static_cast<C>(re);
          if constexpr (Complex) {
            const double half_turns =
                c < channels_ ? widen<double>(a[at[2]]) * 0.31830988618379067154 : 0;
            const C high = static_cast<C>(half_turns);
            out[(n * 3 + 1) * lanes] = high;
            out[(n * 3 + 2) * lanes] = static_cast<C>(half_turns - static_cast<double>(high));
          }
        }
        rows_.most[c] = static_cast<C>(most);
      }
    });
  }

  void run_block(const scan_window& window) const noexcept {
    rows_.tokens.load(p_, window);
    const std::int64_t numbers = p_.state_size() * p_.parts();
    scan_kernel_arguments<C> a{};
    a.N = p_.state_size();
    a.tokens = window.tokens;
    a.step = scan_channels;
    a.b = rows_.b;
    a.c = rows_.c;
    if (shared_) {
      load_group_rows<C, Arch>(p_.B, window, group_, rows_.b);
      load_group_rows<C, Arch>(p_.C, window, group_, rows_.c);
      a.b_step = a.c_step = numbers;
    }
    for (std::int64_t c = 0; c < channels_; c += lanes) {
      if (!shared_) {
        scan_window lane = window;
        lane.channel = channel_ + c;
        lane.channels = width(c);
        a.b_step = load_channel_rows<C, Arch>(p_.B, lane, p_.channels() / p_.B.extents[2], rows_.b);
        a.c_step = load_channel_rows<C, Arch>(p_.C, lane, p_.channels() / p_.C.extents[2], rows_.c);
      }
      const decay_range range =
          rows_.tokens.prepare(p_, c, window.tokens, V::load_aligned(rows_.most + c));
      a.dt = rows_.tokens.dt + c;
      a.w = rows_.tokens.w + c;
      a.y = rows_.tokens.y + c;
      a.rate = rate(c);
      a.h = state(c);
      if (shared_) {
        scan_kernel<C, Arch, Complex>::template run<true>(a, range, equal_);
      } else {
        scan_kernel<C, Arch, Complex>::template run<false>(a, range, equal_);
      }
    }
    rows_.tokens.finish(p_, window);
  }
};

/// The CPU implementation "channels". Its members are defined outside, so that a program may
/// declare an instantiation `extern` and compile it once.
template <class C, class Arch, bool Complex>
struct selective_scan_cpu {
  static dispatch::offer query(const selective_scan_problem& p, const context& ctx);
  static violation run(const selective_scan_problem& p, const context& ctx, std::byte* base);
};

template <class C, class Arch, bool Complex>
dispatch::offer selective_scan_cpu<C, Arch, Complex>::query(const selective_scan_problem& p,
                                                            const context& ctx) {
  const scan_tasks tasks(p, simd::lanes<C, Arch>);
  dispatch::offer answer;
  answer.algorithm = "channels";
  answer.target = simd::isa_name<Arch>();
  answer.workspace_bytes = scan_rows<C, Arch>(nullptr, p, tasks.shared).bytes *
                               static_cast<std::size_t>(ctx.executor.concurrency()) +
                           scratch_alignment;
  if (!ctx.pin.algorithm.empty() && ctx.pin.algorithm != "channels") {
    answer.lacks = "the pinned algorithm (it has channels)";
  }
  return answer;
}

template <class C, class Arch, bool Complex>
violation selective_scan_cpu<C, Arch, Complex>::run(const selective_scan_problem& p,
                                                    const context& ctx, std::byte* base) {
  if (p.channels() == 0) {
    return {};
  }
  const scan_tasks tasks(p, simd::lanes<C, Arch>);
  const std::size_t worker_bytes = scan_rows<C, Arch>(nullptr, p, tasks.shared).bytes;
  const auto task = [&](std::int64_t index, int worker) {
    const sequence_place s = sequence_at(p, index / tasks.count);
    if (!s.skipped()) {
      const scan_rows<C, Arch> rows(base + worker_bytes * static_cast<std::size_t>(worker), p,
                                    tasks.shared);
      scan_run<C, Arch, Complex>(p, s, tasks, index % tasks.count, rows).run();
    }
  };
  ctx.executor.run(p.sequences * tasks.count, task);
  return {};
}

template <class C, class Arch, bool Complex>
inline constexpr std::array<dispatch::implementation<selective_scan_problem>, 2>
    selective_scan_list{
        {{"channels", dispatch::processor::cpu, &selective_scan_cpu<C, Arch, Complex>::query,
          &selective_scan_cpu<C, Arch, Complex>::run},
         dispatch::oracle<selective_scan_problem, Arch, &naive_selective_scan<Arch>>}};

}  // namespace detail

SEQMIX_END_NAMESPACE
