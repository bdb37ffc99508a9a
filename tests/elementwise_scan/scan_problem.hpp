// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <ostream>
#include <seqmix/ops/elementwise_scan/elementwise_scan.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/pairwise.hpp"
#include "support/tensor.hpp"
#include "support/tolerance.hpp"

namespace seqmix_test {

using seqmix::bf16;
using seqmix::f16;
using seqmix::scan_direction;
using seqmix::scan_monoid;
using seqmix::scan_options;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

/// What a test scans with: the monoids, the affine one by how its decays are given.
enum class scanned { log, linear, complex, log_sum_exp, max, sum };

constexpr const char* name(scanned m) noexcept {
  constexpr const char* names[] = {"log", "linear", "complex", "log_sum_exp", "max", "sum"};
  return names[static_cast<int>(m)];
}

struct scan_case {
  scanned monoid = scanned::log;
  std::int64_t B = 1, T = 1, D = 8;
  bool exclusive = false, reverse = false, packed = false, initial = false, final = false;
  layout a = layout::dense, b = layout::dense, o = layout::dense;
  scalar_type a_type = scalar_type::f32, b_type = scalar_type::f32, o_type = scalar_type::f32,
              s_type = scalar_type::f32;
  std::uint64_t seed = 1;

  friend std::ostream& operator<<(std::ostream& out, const scan_case& c) {
    return out << "{" << name(c.monoid) << ", B " << c.B << ", T " << c.T << ", D " << c.D
               << (c.exclusive ? ", exclusive" : "") << (c.reverse ? ", reverse" : "")
               << (c.packed ? ", packed" : "") << (c.initial ? ", initial" : "")
               << (c.final ? ", final" : "") << ", layouts " << name(c.a) << " " << name(c.b) << " "
               << name(c.o) << ", types " << name(c.a_type) << " " << name(c.b_type) << " "
               << name(c.o_type) << " " << name(c.s_type) << ", seed " << c.seed << "}";
  }
};

/// A scan with its tensors. Numbers have an axis of 1, or 2, parts at the end; of packed problems
/// the batch axis has extent 1 and sequences are cut at `starts`.
struct scan_problem {
  scan_case c;
  std::int64_t parts;
  tensor<4> a, b, o;
  tensor<3> initial, final;
  tensor<1> offsets;
  std::vector<std::int64_t> starts;

  explicit scan_problem(const scan_case& which, std::vector<std::int64_t> cuts = {})
      : c(which), parts(c.monoid == scanned::complex ? 2 : 1), starts(std::move(cuts)) {
    if (c.packed) {
      c.B = 1;
      if (starts.empty()) {
        starts = {0, 0, c.T / 3, c.T / 3 + c.T / 5, c.T};
      }
      offsets = index_tensor(starts, c.seed % 2 == 0);
    }
    const std::int64_t N = sequences();
    a = tensor<4>(c.a_type, {c.B, c.T, c.D, parts}, c.a);
    b = tensor<4>(c.b_type, {c.B, c.T, c.D, parts}, c.b);
    o = tensor<4>(c.o_type, {c.B, c.T, c.D, parts}, c.o);
    initial = tensor<3>(c.s_type, {N, c.D, parts}, layout::strided);
    final = tensor<3>(c.s_type, {N, c.D, parts}, layout::padded);
    b.fill(c.seed);
    initial.fill(c.seed + 7);
    a.fill(c.seed + 3);
    // Decays of all strengths; complex ones within the unit circle.
    a.for_each([&](const tensor<4>::index& i) {
      const double x = a[i];
      a.set(i, c.monoid == scanned::log      ? -std::exp(3 * x - 2)
               : c.monoid == scanned::linear ? std::tanh(2 * x)
                                             : 0.7 * std::tanh(2 * x));
    });
  }

  std::int64_t sequences() const {
    return c.packed ? static_cast<std::int64_t>(starts.size()) - 1 : c.B;
  }

  scan_options options() const {
    scan_options r;
    r.monoid = c.monoid == scanned::complex       ? scan_monoid::affine_complex
               : c.monoid == scanned::log_sum_exp ? scan_monoid::log_sum_exp
               : c.monoid == scanned::max         ? scan_monoid::max
               : c.monoid == scanned::sum         ? scan_monoid::sum
                                                  : scan_monoid::affine;
    r.exclusive = c.exclusive;
    r.direction = c.reverse ? scan_direction::reverse : scan_direction::forward;
    if (c.initial) {
      r.initial_state = real_view(initial);
    }
    if (c.final) {
      r.final_state = out_view(final);
    }
    if (c.packed) {
      r.varlen.offsets = index_view(offsets);
    }
    return r;
  }

  static seqmix::any_out<3> out_view(const tensor<3>& t) {
    switch (t.type()) {
      case scalar_type::f64:
        return t.view<double>();
      case scalar_type::f16:
        return t.view<f16>();
      case scalar_type::bf16:
        return t.view<bf16>();
      default:
        return t.view<float>();
    }
  }

  /// Element (n, t, d) of sequence n, t in its own time.
  tensor<4>::index at(std::int64_t n, std::int64_t t, std::int64_t d, std::int64_t part = 0) const {
    return c.packed ? tensor<4>::index{0, starts[static_cast<std::size_t>(n)] + t, d, part}
                    : tensor<4>::index{n, t, d, part};
  }
  std::int64_t tokens(std::int64_t n) const {
    const auto i = static_cast<std::size_t>(n);
    return c.packed ? starts[i + 1] - starts[i] : c.T;
  }
};

/// The definition, in long double: outputs in the order of `o`'s elements, then the states.
inline std::vector<double> expected_scan(const scan_problem& p) {
  using number = long double;
  std::vector<double> o(static_cast<std::size_t>(p.o.size()), quiet_nan);
  std::vector<double> states;
  const auto place = [&](const tensor<4>::index& i) {
    return static_cast<std::size_t>(((i[0] * p.c.T + i[1]) * p.c.D + i[2]) * p.parts + i[3]);
  };
  const bool low = p.c.monoid == scanned::log_sum_exp || p.c.monoid == scanned::max;
  for (std::int64_t n = 0; n < p.sequences(); ++n) {
    for (std::int64_t d = 0; d < p.c.D; ++d) {
      number h[2] = {low ? -infinity : 0, 0};
      for (std::int64_t k = 0; p.c.initial && k < p.parts; ++k) {
        h[k] = p.initial[{n, d, k}];
      }
      for (std::int64_t i = 0; i < p.tokens(n); ++i) {
        const std::int64_t t = p.c.reverse ? p.tokens(n) - 1 - i : i;
        const number before[2] = {h[0], h[1]};
        const number x = p.b[p.at(n, t, d)];
        const number a = p.a[p.at(n, t, d)];
        if (p.c.monoid == scanned::log || p.c.monoid == scanned::linear) {
          const number factor = p.c.monoid == scanned::log ? std::exp(a) : a;
          h[0] = (factor == 0 ? 0 : factor * h[0]) + x;
        } else if (p.c.monoid == scanned::complex) {
          const number ai = p.a[p.at(n, t, d, 1)];
          h[0] = a * before[0] - ai * before[1] + x;
          h[1] = a * before[1] + ai * before[0] + static_cast<number>(p.b[p.at(n, t, d, 1)]);
        } else if (p.c.monoid == scanned::max) {
          h[0] = h[0] > x ? h[0] : x;
        } else if (p.c.monoid == scanned::sum) {
          h[0] += x;
        } else {
          const number m = h[0] > x ? h[0] : x;
          h[0] = std::isinf(m) ? m : m + std::log(std::exp(h[0] - m) + std::exp(x - m));
        }
        for (std::int64_t k = 0; k < p.parts; ++k) {
          o[place(p.at(n, t, d, k))] = static_cast<double>(p.c.exclusive ? before[k] : h[k]);
        }
      }
      for (std::int64_t k = 0; k < p.parts; ++k) {
        states.push_back(static_cast<double>(h[k]));
      }
    }
  }
  if (p.c.final) {
    o.insert(o.end(), states.begin(), states.end());
  }
  return o;
}

/// What the operator wrote, in the same order.
inline std::vector<double> results(const scan_problem& p) {
  std::vector<double> all = p.o.values();
  if (p.c.final) {
    const std::vector<double> states = p.final.values();
    all.insert(all.end(), states.begin(), states.end());
  }
  return all;
}

/// A view with or without its axes of one part and of one batch.
template <class T, class F>
void with_scan_view(const scan_problem& p, const tensor<4>& x, F&& f) {
  const auto v = x.view<T>();
  if (p.c.packed && p.parts == 1) {
    f(seqmix::tensor_view<T, 2>(v.data_handle(), {v.extent(1), v.extent(2)},
                                {v.stride(1), v.stride(2)}));
  } else if (p.c.packed) {
    f(x.packed_view<T>());
  } else if (p.parts == 1) {
    f(seqmix::tensor_view<T, 3>(v.data_handle(), {v.extent(0), v.extent(1), v.extent(2)},
                                {v.stride(0), v.stride(1), v.stride(2)}));
  } else {
    f(v);
  }
}

/// Calls `call` in place of the operator (or its oracle) with the problem's tensors, whose types
/// are A, X and O.
template <class A, class X, class O, class Operator>
void scan_with(const Operator& call, const scan_problem& p, const scan_options& options,
               const seqmix::context& ctx = {}) {
  with_scan_view<O>(p, p.o, [&]<class OV>(const OV& o) {
    with_scan_view<const X>(p, p.b, [&]<class BV>(const BV& b) {
      if constexpr (BV::rank() == OV::rank()) {
        if (p.c.monoid == scanned::log_sum_exp || p.c.monoid == scanned::max ||
            p.c.monoid == scanned::sum) {
          call(b, o, options, ctx);
          return;
        }
        with_scan_view<const A>(p, p.a, [&]<class AV>(const AV& a) {
          if constexpr (AV::rank() == OV::rank()) {
            if (p.c.monoid == scanned::log) {
              call(a, b, o, options, ctx);
            } else {
              call(seqmix::linear_gate(a), b, o, options, ctx);
            }
          }
        });
      }
    });
  });
}

/// The oracle has no context.
struct oracle_of_scans {
  template <class... X>
  void operator()(const X&... x) const {
    seqmix::naive_elementwise_scan(x...);
  }
};

}  // namespace seqmix_test
