// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <seqmix/dispatch/oracle.hpp>
#include <seqmix/ops/causal_conv1d/naive.hpp>
#include <seqmix/ops/causal_conv1d/plan.hpp>
#include <seqmix/ops/causal_conv1d/step.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace detail {

/// The CPU implementation "conv1d". Its members are defined outside, so that a program may declare
/// an instantiation `extern` and compile it once.
template <class C, class Arch>
struct conv1d_cpu {
  static dispatch::offer query(const conv1d_problem& p, const context& ctx);
  static violation run(const conv1d_problem& p, const context& ctx, std::byte* scratch);
};

/// One call, with its weights in the compute type, a row for each tap.
template <class C, class Arch>
struct conv1d_run {
  static constexpr std::int64_t w = simd::lanes<C, Arch>;
  using plan_type = conv1d_plan<C, Arch>;

  const conv1d_problem& p;
  const plan_type plan;
  const conv_form form;
  C* weight;  // [taps][channels]
  C* bias;    // [channels]
  C* worker;  // [workers][in_elements + out_elements]

  conv1d_run(const conv1d_problem& problem, const context& ctx, std::byte* base) noexcept
      : p(problem),
        plan(problem, ctx),
        form{problem.taps(), problem.left, problem.activation, problem.residual} {
    scratch_layout layout(base);
    weight = layout.take<C>((p.taps() + 1) * plan.channels);
    bias = weight + p.taps() * plan.channels;
    worker = layout.take<C>((plan.in_elements + plan.out_elements) * ctx.executor.concurrency());
    load_weight();
    if (p.bias.given()) {
      load_line<C, Arch>(p.bias.data, p.bias.type, 0, p.bias.strides[0], p.channels(), bias);
    } else {
      std::fill_n(bias, plan.channels, C(0));
    }
  }

  void load_weight() const noexcept {
    const auto& at = p.weight.strides;
    if (are_groups<C, Arch>(at[0], at[1], p.taps(), p.channels())) {
      group_rows<C> rows{};
      for (std::int64_t i = 0; i < p.taps(); ++i) {
        rows[static_cast<std::size_t>(i)] = weight + i * plan.channels;
      }
      load_groups<C, Arch>(p.weight.data, p.weight.type, 0, p.taps(), p.channels(), rows, in_of(0),
                           plan.in_elements);
      return;
    }
    for (std::int64_t i = 0; i < p.taps(); ++i) {
      load_line<C, Arch>(p.weight.data, p.weight.type, i * at[1], at[0], p.channels(),
                         weight + i * plan.channels);
    }
  }

  C* in_of(int index) const noexcept {
    return worker + (plan.in_elements + plan.out_elements) * index;
  }

  /// The sequence that a token of the packed time axis belongs to, or the first after it.
  std::int64_t sequence_of(std::int64_t token) const noexcept {
    std::int64_t low = 0;
    std::int64_t high = p.sequences;
    while (low < high) {
      const std::int64_t middle = low + (high - low) / 2;
      if (index_at(p.offsets, middle + 1) <= token) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  /// Whether one task has all tokens of a sequence, so that no other reads its state.
  bool in_one_task(const conv1d_sequence& s) const noexcept {
    return s.tokens > 0 &&
           s.begin / plan.task_tokens == (s.begin + s.tokens - 1) / plan.task_tokens;
  }

  void task(std::int64_t index, int id) const noexcept {
    const std::int64_t first = index % plan.channel_tasks * plan.task_channels;
    const std::int64_t count = std::min(plan.task_channels, p.channels() - first);
    index /= plan.channel_tasks;
    const std::int64_t begin = index % plan.time_tasks * plan.task_tokens;
    const std::int64_t end = std::min(begin + plan.task_tokens, p.tokens());
    std::int64_t n = p.packed ? sequence_of(begin) : index / plan.time_tasks;
    const std::int64_t last = p.packed ? p.sequences : n + 1;
    for (; n < last; ++n) {
      const conv1d_sequence s = conv1d_sequence_at(p, n);
      if (s.begin >= end) {
        break;
      }
      if (s.skipped() || s.tokens == 0) {
        continue;
      }
      const std::int64_t from = std::max(begin - s.begin, std::int64_t{0});
      const std::int64_t to = std::min(end - s.begin, s.tokens);
      if (plan.over_time) {
        for (std::int64_t d = first; d < first + count; ++d) {
          convolve_channel(s, from, to, d, in_of(id));
        }
      } else if (is_conv_step<C>(p, s)) {
        const std::int64_t whole = count / w * w;
        convolve_single<C, Arch>(p, s, form, weight, plan.channels, bias, place_of_x(s, 0, first),
                                 place_of_y(s, 0, first), first, whole);
        if (whole < count) {
          convolve_tile(s, 0, 1, first + whole, count - whole, in_of(id));
        }
      } else {
        convolve_channels(s, from, to, first, count, in_of(id));
      }
      if (p.final_state.given() && in_one_task(s) && !in_one_tile(s)) {
        write_state(s, first, count, id);
      }
    }
  }

  /// Whether a tile has all inputs of a sequence that its state ends with, so that it is written
  /// from there.
  bool in_one_tile(const conv1d_sequence& s) const noexcept {
    return !plan.over_time && s.tokens <= plan.tile_tokens && in_one_task(s) &&
           s.tokens + form.left >= p.state_length() && p.final_state.given() &&
           conv1d_states<C, Arch>{p, s}.through_rows();
  }

  conv_block<C> block_of(C* in, std::int64_t begin) const noexcept {
    return {in, plan.tile_channels, begin, in + plan.in_elements, plan.out_elements};
  }

  void write_state(const conv1d_sequence& s, std::int64_t first, std::int64_t count,
                   int id) const noexcept {
    for (std::int64_t d = first; d < first + count; d += plan.tile_channels) {
      conv1d_states<C, Arch>{p, s}.write(d, std::min(plan.tile_channels, first + count - d),
                                         block_of(in_of(id), 0), plan.tile_tokens);
    }
  }

  /// Tokens [begin, end) whose taps all lie within the sequence are read in place if they can be.
  template <class F>
  SEQMIX_ALWAYS_INLINE void in_three_parts(const conv1d_sequence& s, std::int64_t begin,
                                           std::int64_t end, F&& f) const noexcept {
    const std::int64_t right = form.taps - 1 - form.left;
    const std::int64_t low = std::clamp(form.left, begin, end);
    const std::int64_t high = std::clamp(s.tokens - right, low, end);
    f(begin, low, false);
    f(low, high, true);
    f(high, end, false);
  }

  /// The offset of an input from x's first.
  std::int64_t place_of_x(const conv1d_sequence& s, std::int64_t t, std::int64_t d) const noexcept {
    const auto& at = p.x.strides;
    return s.batch * at[0] + (s.begin + t) * at[1] + d * at[2];
  }
  std::int64_t place_of_y(const conv1d_sequence& s, std::int64_t t, std::int64_t d) const noexcept {
    const auto& at = p.y.strides;
    return s.batch * at[0] + (s.begin + t) * at[1] + d * at[2];
  }

  /// Whether all rows of y from `row` on are whole aligned registers.
  template <class T>
  bool lies_in_registers(const T* row, std::int64_t count) const noexcept {
    constexpr auto bytes = static_cast<std::int64_t>(sizeof(simd::vec<C, Arch>));
    return count % w == 0 && reinterpret_cast<std::uintptr_t>(row) % bytes == 0 &&
           p.y.strides[1] * static_cast<std::int64_t>(sizeof(T)) % bytes == 0;
  }

  void convolve_channels(const conv1d_sequence& s, std::int64_t begin, std::int64_t end,
                         std::int64_t first, std::int64_t count, C* scratch) const noexcept {
    const auto tiles = [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t t = from; t < to; t += plan.tile_tokens) {
        for (std::int64_t d = first; d < first + count; d += plan.tile_channels) {
          convolve_tile(s, t, std::min(t + plan.tile_tokens, to), d,
                        std::min(plan.tile_channels, first + count - d), scratch);
        }
      }
    };
    const bool dense = p.x.type == p.y.type && p.x.strides[2] == 1 && p.y.strides[2] == 1 &&
                       count >= w && form.taps <= plan.most_direct_taps;
    if (!dense || in_one_tile(s)) {
      tiles(begin, end);
      return;
    }
    in_three_parts(s, begin, end, [&](std::int64_t from, std::int64_t to, bool inside) {
      if (!inside) {
        tiles(from, to);
        return;
      }
      with_real_elements(p.y.data, p.y.type, [&]<class T>(T* y) {
        // Double tensors have double sums, and only they where both are of one type.
        if constexpr (std::is_same_v<T, double> == std::is_same_v<C, double>) {
          const conv_rows<C, T> rows{
              static_cast<const T*>(p.x.data) + place_of_x(s, from - form.left, first),
              p.x.strides[1],
              weight + first,
              plan.channels,
              bias + first,
              y + place_of_y(s, from, first),
              p.y.strides[1],
              true,
              plan.past_caches && lies_in_registers(y + place_of_y(s, from, first), count)};
          convolve_rows<C, Arch>(form, rows, to - from, count);
          if (rows.past_caches) {
            simd::finish_streams();
          }
        }
      });
    });
  }

  void convolve_tile(const conv1d_sequence& s, std::int64_t begin, std::int64_t end,
                     std::int64_t first, std::int64_t count, C* in) const noexcept {
    conv_block<C> block = block_of(in, begin - form.left);
    gather_rows<C, Arch>(p, s, end + form.taps - 1 - form.left, first, count, block);
    C* out = in + plan.in_elements;
    const conv_rows<C, C> rows{in,  block.step, weight + first, plan.channels, bias + first,
                               out, block.step, false,          false};
    convolve_rows<C, Arch>(form, rows, end - begin, parts_of(count, w) * w);
    for (std::int64_t t = begin; t < end; ++t, out += block.step) {
      store_line<C, Arch>(out, p.y.data, p.y.type, place_of_y(s, t, first), p.y.strides[2], count);
    }
    if (in_one_tile(s)) {
      block.rows = block.row(s.tokens - p.state_length());
      block.begin = s.tokens - p.state_length();
      conv1d_states<C, Arch>{p, s}.store(first, count, block, s.tokens);
    }
  }

  void convolve_channel(const conv1d_sequence& s, std::int64_t begin, std::int64_t end,
                        std::int64_t d, C* in) const noexcept {
    C* out = in + plan.in_elements;
    in_three_parts(s, begin, end, [&](std::int64_t from, std::int64_t to, bool inside) {
      const std::int64_t n = to - from;
      if (n <= 0) {
        return;
      }
      const bool read = inside && n >= w && p.x.type == scalar_type_of<C> && p.x.strides[1] == 1;
      const bool written = n >= w && p.y.type == scalar_type_of<C> && p.y.strides[1] == 1;
      const C* x = nullptr;
      if (read) {
        x = static_cast<const C*>(p.x.data) + place_of_x(s, from - form.left, d);
      } else {
        const std::int64_t gathered = n + form.taps - 1;
        C* line = gather_times<C, Arch>(p, s, from - form.left, from - form.left + gathered, d, in);
        std::fill_n(line + gathered, w, C(0));
        x = line;
      }
      C* y = written ? static_cast<C*>(p.y.data) + place_of_y(s, from, d) : out;
      convolve_times<C, Arch>(form, x, weight + d, plan.channels, bias[d], y, std::max(n, w));
      if (!written) {
        store_line<C, Arch>(out, p.y.data, p.y.type, place_of_y(s, from, d), p.y.strides[1], n);
      }
    });
  }
};

template <class C, class Arch>
dispatch::offer conv1d_cpu<C, Arch>::query(const conv1d_problem& p, const context& ctx) {
  const conv1d_plan<C, Arch> plan(p, ctx);
  dispatch::offer answer;
  answer.algorithm = plan.name(plan.over_time);
  answer.target = simd::isa_name<Arch>();
  answer.workspace_bytes = plan.bytes;
  if (!ctx.pin.algorithm.empty() && ctx.pin.algorithm != answer.algorithm.view()) {
    answer.lacks = "the pinned algorithm (it has over_channels and over_time)";
  }
  return answer;
}

template <class C, class Arch>
violation conv1d_cpu<C, Arch>::run(const conv1d_problem& p, const context& ctx,
                                   std::byte* scratch) {
  const conv1d_run<C, Arch> run(p, ctx, scratch);
  const auto task = [&](std::int64_t index, int worker) { run.task(index, worker); };
  const std::int64_t batches = p.packed ? 1 : p.x.extents[0];
  ctx.executor.run(batches * run.plan.time_tasks * run.plan.channel_tasks, task);
  // States of sequences that several tasks read are written when all have.
  bool more = false;
  for (std::int64_t n = 0; p.final_state.given() && !more && n < p.sequences; ++n) {
    more = !run.in_one_task(conv1d_sequence_at(p, n));
  }
  const auto state = [&](std::int64_t index, int worker) {
    const conv1d_sequence s = conv1d_sequence_at(p, index / run.plan.channel_tasks);
    if (!s.skipped() && !run.in_one_task(s)) {
      const std::int64_t first = index % run.plan.channel_tasks * run.plan.task_channels;
      run.write_state(s, first, std::min(run.plan.task_channels, p.channels() - first), worker);
    }
  };
  if (more) {
    ctx.executor.run(p.sequences * run.plan.channel_tasks, state);
  }
  return {};
}

/// The CPU implementations of one operator, in order of preference.
template <class Problem, class C, class Arch>
inline constexpr std::array<dispatch::implementation<Problem>, 2> conv1d_list{
    {{"conv1d", dispatch::processor::cpu,
      [](const Problem& p, const context& ctx) { return conv1d_cpu<C, Arch>::query(p, ctx); },
      [](const Problem& p, const context& ctx, std::byte* scratch) {
        return conv1d_cpu<C, Arch>::run(p, ctx, scratch);
      }},
     dispatch::oracle<Problem, Arch, &naive_conv1d<Arch, Problem>>}};

}  // namespace detail

SEQMIX_END_NAMESPACE
