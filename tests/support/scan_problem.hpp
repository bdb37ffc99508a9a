// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/selective_scan.hpp"
#include "pool.hpp"
#include "tensor.hpp"
#include "tolerance.hpp"

namespace seqmix_test {

/// Which of B and C are the same for all tokens, one for each channel.
enum class own_rows { none, b, both };

/// One call: everything that decides its inputs and its result.
struct scan_case {
  std::int64_t B = 1, T = 1, D = 8, N = 4, G = 1;
  bool is_complex = false;
  own_rows own = own_rows::none;
  bool equal = false;   ///< A is the same along N, by a stride of 0
  bool packed = false;  ///< B sequences of up to T tokens
  bool initial = false, final = false, pooled = false;
  bool reverse = false;
  bool softplus = true, skip = true, gate = true, bias = true;
  double rate = -4;  ///< the real part of A is in [rate, 0]
  double step = -2;  ///< about what delta is before the softplus
  scalar_type type = scalar_type::f32;
  scalar_type output = scalar_type::f32;
  scalar_type state = scalar_type::f32;
  layout inputs = layout::dense, outputs = layout::dense, states = layout::dense;
  std::uint64_t seed = 1;

  friend std::ostream& operator<<(std::ostream& out, const scan_case& c) {
    return out << "{B " << c.B << ", T " << c.T << ", D " << c.D << ", N " << c.N << ", G " << c.G
               << (c.is_complex ? ", complex" : "") << ", own " << static_cast<int>(c.own)
               << (c.equal ? ", equal" : "") << (c.packed ? ", packed" : "")
               << (c.initial ? ", initial" : "") << (c.final ? ", final" : "")
               << (c.pooled ? ", pooled" : "") << (c.reverse ? ", reverse" : "")
               << (c.softplus ? ", softplus" : "") << (c.skip ? ", D" : "") << (c.gate ? ", z" : "")
               << (c.bias ? ", bias" : "") << ", rate " << c.rate << ", step " << c.step
               << ", types " << name(c.type) << " " << name(c.output) << " " << name(c.state)
               << ", layouts " << name(c.inputs) << " " << name(c.outputs) << " " << name(c.states)
               << ", seed " << c.seed << "}";
  }
};

/// Axes [first, first + Rank) of a tensor.
template <class T, std::size_t Rank, std::size_t From>
seqmix::tensor_view<T, Rank> axes_of(const tensor<From>& x, std::size_t first) {
  const auto v = x.template view<T>();
  std::array<std::int64_t, Rank> extents{}, strides{};
  for (std::size_t a = 0; a < Rank; ++a) {
    extents[a] = v.extent(first + a);
    strides[a] = v.stride(first + a);
  }
  return {v.data_handle(), seqmix::index_list<Rank>(extents), seqmix::index_list<Rank>(strides)};
}

/// The tensors of a case. D and bias are double.
class scan_problem {
 public:
  scan_case c;
  std::vector<std::int64_t> starts, slot;
  tensor<3> u, delta, z, y, A;
  tensor<5> b, c_rows;
  tensor<1> skip, bias, offsets, slots;
  tensor<4> initial, final;

  explicit scan_problem(const scan_case& which) : c(which) {
    starts.push_back(0);
    for (std::int64_t n = 0; n < c.B; ++n) {
      const auto r = static_cast<std::int64_t>(mix(c.seed * 1000 + static_cast<std::uint64_t>(n)) %
                                               static_cast<std::uint64_t>(c.T + 1));
      starts.push_back(starts.back() + (n == 0 ? c.T : r));
    }
    const std::int64_t batch = c.packed ? 1 : c.B;
    const std::int64_t rows = c.packed ? starts.back() + 2 : c.T;
    const std::int64_t parts = c.is_complex ? 2 : 1;
    u = tensor<3>(c.type, {batch, rows, c.D}, c.inputs);
    delta = tensor<3>(c.type, {batch, rows, c.D}, c.inputs);
    z = tensor<3>(c.type, {batch, rows, c.D}, c.inputs);
    y = tensor<3>(c.output, {batch, rows, c.D}, c.outputs);
    A = tensor<3>(c.type, {c.D, c.N, parts}, c.equal ? layout::broadcast : plain(c.inputs));
    const auto projection = [&](bool own) {
      return own ? tensor<5>(c.type, {1, 1, c.D, c.N, parts}, plain(c.inputs))
                 : tensor<5>(c.type, {batch, rows, c.G, c.N, parts}, plain(c.inputs));
    };
    b = projection(c.own != own_rows::none);
    c_rows = projection(c.own == own_rows::both);
    skip = tensor<1>(scalar_type::f64, {c.D}, layout::reversed);
    bias = tensor<1>(scalar_type::f64, {c.D}, layout::strided);
    offsets = index_tensor(starts, c.seed % 2 == 0);
    const std::int64_t entries = c.pooled ? c.B + 3 : c.B;
    initial = tensor<4>(c.state, {entries, c.D, c.N, parts}, c.states);
    final = tensor<4>(c.state, {entries, c.D, c.N, parts}, c.states);
    for (std::int64_t n = 0; n < c.B; ++n) {
      slot.push_back(c.pooled ? c.B + 2 - n : n);
    }
    slots = index_tensor(slot, c.seed % 4 < 2);
    const std::uint64_t seed = c.seed * 16;
    u.fill(seed + 1);
    delta.fill(seed + 2, c.softplus ? 1 : 0.3);
    delta.for_each([&](const tensor<3>::index& i) { delta.set(i, delta[i] + c.step); });
    z.fill(seed + 3);
    b.fill(seed + 4);
    c_rows.fill(seed + 5, 1 / std::sqrt(static_cast<double>(c.N)));
    skip.fill(seed + 6);
    bias.fill(seed + 7, 0.3);
    // Numbers of float, which a scan in float has without rounding.
    for (tensor<1>* x : {&skip, &bias}) {
      x->for_each([&](const tensor<1>::index& i) {
        x->set(i, static_cast<double>(static_cast<float>((*x)[i])));
      });
    }
    initial.fill(seed + 8);
    A.fill(seed + 9);
    A.for_each([&](const tensor<3>::index& i) {
      A.set(i, i[2] == 1 ? (c.softplus ? 2 : 1) * A[i] : c.rate * (0.5 + 0.5 * std::tanh(A[i])));
    });
  }

  /// Broadcast axes of tokens would make groups one.
  static layout plain(layout kind) { return repeats(kind) ? layout::padded : kind; }

  template <class S>
  seqmix::selective_scan_options options() const {
    seqmix::selective_scan_options o{.delta_softplus = c.softplus};
    if (c.skip) {
      o.D = real_view(skip);
    }
    if (c.bias) {
      o.delta_bias = real_view(bias);
    }
    if (c.initial) {
      o.initial_state = c.is_complex ? seqmix::scan_states_view(initial.view<S>())
                                     : seqmix::scan_states_view(axes_of<S, 3>(initial, 0));
    }
    if (c.final) {
      o.final_state = c.is_complex ? seqmix::scan_states_out(final.view<S>())
                                   : seqmix::scan_states_out(axes_of<S, 3>(final, 0));
    }
    if (c.pooled && (c.initial || c.final)) {
      o.initial_slots = index_view(slots);
    }
    if (c.packed) {
      o.varlen.offsets = index_view(offsets);
    }
    o.direction = c.reverse ? seqmix::scan_direction::reverse : seqmix::scan_direction::forward;
    return o;
  }

  using number = std::complex<double>;

  static number at(const tensor<5>& x, const tensor<5>::index& i) {
    tensor<5>::index im = i;
    im[4] = 1;
    return {x[i], x.extent(4) == 2 ? x[im] : 0};
  }

  /// The definition. States that no sequence writes are NaN.
  void expect(std::vector<double>& output, std::vector<double>& states) const {
    tensor<3> o(scalar_type::f64, y.extents());
    tensor<4> s(scalar_type::f64, final.extents());
    for (std::int64_t n = 0; n < c.B; ++n) {
      const std::int64_t entry = slot[static_cast<std::size_t>(n)];
      if (entry < 0) {
        continue;
      }
      for (std::int64_t d = 0; d < c.D; ++d) {
        expect_channel(n, entry, d, o, s);
      }
    }
    output = o.values();
    states = s.values();
  }

  /// Against the definition; empty when all is well.
  std::string verify(bound which = bound::target) const {
    std::vector<double> o, s;
    expect(o, s);
    std::string text = compare(visible(y, o), visible(o), tolerance_of(c.output), which,
                               y.size() < 64 ? 0.5 : 0.1);
    text += y.gaps_untouched() ? "" : "; memory around the outputs was written";
    if (c.final) {
      tolerance t = tolerance_of(c.state);
      const std::string of_states =
          compare(visible(final, s), visible(s), t, which, final.size() < 64 ? 0.5 : 0.1);
      text += of_states.empty() ? "" : "; states: " + of_states;
      text += final.gaps_untouched() ? "" : "; memory around the states was written";
    }
    return text;
  }

 private:
  /// Elements of which the definition says something; NaN is what was not written.
  template <std::size_t Rank>
  static std::vector<double> visible(const tensor<Rank>& x, const std::vector<double>& expected) {
    std::vector<double> all = x.values();
    std::vector<double> some;
    bool untouched = true;
    std::size_t at = 0;
    x.for_each([&](const typename tensor<Rank>::index& i) {
      if (hidden(expected[at])) {
        untouched = untouched && x.untouched(i);
      } else {
        some.push_back(all[at]);
      }
      ++at;
    });
    if (!untouched) {
      some.push_back(0);  // of another length than what is expected
    }
    return some;
  }
  static std::vector<double> visible(std::vector<double> expected) {
    std::erase_if(expected, hidden);
    return expected;
  }
  static bool hidden(double x) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &x, sizeof(x));
    return bits == sentinel(scalar_type::f64);
  }

  void expect_channel(std::int64_t n, std::int64_t entry, std::int64_t d, tensor<3>& o,
                      tensor<4>& s) const {
    std::vector<number> h(static_cast<std::size_t>(c.N));
    const auto state = [&](const tensor<4>& x, std::int64_t i) {
      return number{x[{entry, d, i, 0}], c.is_complex ? x[{entry, d, i, 1}] : 0};
    };
    for (std::int64_t i = 0; i < c.N && c.initial; ++i) {
      h[static_cast<std::size_t>(i)] = state(initial, i);
    }
    const std::int64_t batch = c.packed ? 0 : n;
    const std::int64_t begin = c.packed ? starts[static_cast<std::size_t>(n)] : 0;
    const std::int64_t tokens = c.packed ? starts[static_cast<std::size_t>(n) + 1] - begin : c.T;
    const std::int64_t group = d / (c.D / c.G);
    for (std::int64_t k = 0; k < tokens; ++k) {
      const std::int64_t t = begin + (c.reverse ? tokens - 1 - k : k);
      double dt = delta[{batch, t, d}] + (c.bias ? bias[{d}] : 0);
      dt = c.softplus && dt <= 20 ? std::log1p(std::exp(dt)) : dt;
      const double x = u[{batch, t, d}];
      double sum = 0;
      for (std::int64_t i = 0; i < c.N; ++i) {
        const number a{A[{d, i, 0}], c.is_complex ? A[{d, i, 1}] : 0};
        const auto row = [&](const tensor<5>& r, bool own) {
          return own ? at(r, {0, 0, d, i, 0}) : at(r, {batch, t, group, i, 0});
        };
        number& value = h[static_cast<std::size_t>(i)];
        const number decay = c.is_complex ? std::exp(dt * a) : number(std::exp(dt * a.real()));
        value = decay * value + dt * x * row(b, c.own != own_rows::none);
        sum += (row(c_rows, c.own == own_rows::both) * value).real();
      }
      sum *= c.is_complex ? 2 : 1;
      sum += c.skip ? skip[{d}] * x : 0;
      if (c.gate) {
        const double g = z[{batch, t, d}];
        sum *= g / (1 + std::exp(-g));
      }
      o.set({batch, t, d}, sum);
    }
    for (std::int64_t i = 0; i < c.N && c.final; ++i) {
      s.set({entry, d, i, 0}, h[static_cast<std::size_t>(i)].real());
      if (c.is_complex) {
        s.set({entry, d, i, 1}, h[static_cast<std::size_t>(i)].imag());
      }
    }
  }
};

/// Calls `f(u, delta, A, B, C, y, options)` with views of the problem's tensors: inputs of T, the
/// output of TO, states of S.
template <class T, class TO, class S, class F>
void with_scan(const scan_problem& p, F&& f) {
  const auto form = [&](auto packed, auto is_complex, auto own_b, auto own_c) {
    constexpr bool one_axis = decltype(packed)::value;
    constexpr std::size_t parts = decltype(is_complex)::value ? 1 : 0;
    constexpr std::size_t batch = one_axis ? 1 : 0;
    const auto rows = [&]<class E>(const tensor<3>& x, E*) {
      return axes_of<E, 3 - batch>(x, batch);
    };
    const auto projection = [&](const tensor<5>& x, auto own) {
      if constexpr (decltype(own)::value) {
        return axes_of<const T, 2 + parts>(x, 2);
      } else {
        return axes_of<const T, 4 - batch + parts>(x, batch);
      }
    };
    seqmix::selective_scan_options options = p.options<S>();
    if (p.c.gate) {
      options.z = rows(p.z, static_cast<const T*>(nullptr));
    }
    f(rows(p.u, static_cast<const T*>(nullptr)), rows(p.delta, static_cast<const T*>(nullptr)),
      axes_of<const T, 2 + parts>(p.A, 0), projection(p.b, own_b), projection(p.c_rows, own_c),
      rows(p.y, static_cast<TO*>(nullptr)), options);
  };
  using yes = std::true_type;
  using no = std::false_type;
  const auto owned = [&](auto packed, auto is_complex) {
    p.c.own == own_rows::none ? form(packed, is_complex, no{}, no{})
    : p.c.own == own_rows::b  ? form(packed, is_complex, yes{}, no{})
                              : form(packed, is_complex, yes{}, yes{});
  };
  const auto typed = [&](auto packed) {
    p.c.is_complex ? owned(packed, yes{}) : owned(packed, no{});
  };
  p.c.packed ? typed(yes{}) : typed(no{});
}

template <class T = float, class TO = T, class S = float>
void run_scan(scan_problem& p, const seqmix::context& ctx = {}) {
  with_scan<T, TO, S>(p, [&](const auto&... x) { seqmix::selective_scan(x..., ctx); });
}

}  // namespace seqmix_test
