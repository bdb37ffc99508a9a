// SPDX-License-Identifier: Apache-2.0
// Encodings of gates and strengths: each against its oracle, and against plain gates that the test
// makes of the same numbers.
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "support/counted_new.hpp"
#include "support/encoded_recurrence.hpp"

using namespace seqmix_test;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

enum class encoding { log, log2, linear, softplus, bounded, exponential, logsigmoid };
constexpr encoding every_encoding[] = {
    encoding::log,     encoding::log2,        encoding::linear,    encoding::softplus,
    encoding::bounded, encoding::exponential, encoding::logsigmoid};

/// What numbers of an encoding are drawn from.
struct range {
  double low, high;
};
range numbers_of(encoding e) {
  switch (e) {
    case encoding::log:
    case encoding::log2:
      return {-3, 0};
    case encoding::linear:
      return {-1, 1};
    case encoding::exponential:
      return {-6, 2};  // above, factors are zeros
    default:
      return {-6, 6};
  }
}

/// An encoding, and parameters of every value head, or of each of its gates.
struct encoded {
  encoding by;
  tensor<2> a_log, bias;
  double lower_bound = -4, tau = 0.7;
  bool per_channel = false;  ///< parameters [HV, K], else [HV]

  encoded(encoding e, const recurrence_problem& p, bool many, scalar_type type) : by(e) {
    const std::int64_t gates = p.gate.extent(3);
    per_channel = many && gates > 1;
    a_log = tensor<2>(type, {p.c.HV, per_channel ? gates : 1}, layout::strided);
    bias = tensor<2>(type, {p.c.HV, per_channel ? gates : 1}, layout::reversed);
    a_log.fill(101, 0.5);
    bias.fill(102);
  }

  /// The factor, from the encoding's definition.
  double factor(double x, std::int64_t hv, std::int64_t d) const {
    const std::int64_t at = per_channel ? d : 0;
    const double rate = std::exp(a_log[{hv, at}]);
    const double y = x + bias[{hv, at}];
    const auto softplus = [](double z) { return z > 30 ? z : std::log1p(std::exp(z)); };
    switch (by) {
      case encoding::log:
        return std::exp(x);
      case encoding::log2:
        return std::exp2(x);
      case encoding::linear:
        return x;
      case encoding::softplus:
        return std::exp(-rate * softplus(y));
      case encoding::bounded:
        return std::exp(lower_bound / (1 + std::exp(-rate * y)));
      case encoding::exponential:
        return std::exp(-std::exp(x));
      default:
        return std::exp(-softplus(-x) / tau);
    }
  }

  seqmix::head_parameter parameter(const tensor<2>& of) const {
    const seqmix::any_view<2> whole = real_view(of);
    seqmix::head_parameter x;
    static_cast<seqmix::any_view<2>&>(x) = whole;
    return x;
  }

  /// Calls with the gates in this encoding.
  template <class T, class O, class S>
  void run(recurrence_problem& p, bool oracle, const seqmix::context& ctx = {}) const {
    switch (by) {
      case encoding::log:
        return run_encoded<T, O, S>(
            p, oracle, [](const auto& v) { return seqmix::log_gate(v); }, as_it_is, ctx);
      case encoding::log2:
        return run_encoded<T, O, S>(
            p, oracle, [](const auto& v) { return seqmix::log2_gate(v); }, as_it_is, ctx);
      case encoding::linear:
        return run_encoded<T, O, S>(
            p, oracle, [](const auto& v) { return seqmix::linear_gate(v); }, as_it_is, ctx);
      default:
        return run_encoded<T, O, S>(
            p, oracle, [&](const auto& v) { return seqmix::raw_gate(v, activation()); }, as_it_is,
            ctx);
    }
  }

  seqmix::gate_form activation() const {
    switch (by) {
      case encoding::softplus:
        return seqmix::softplus_activation{.a_log = parameter(a_log), .bias = parameter(bias)};
      case encoding::bounded:
        return seqmix::bounded_activation{
            .lower_bound = lower_bound, .a_log = parameter(a_log), .bias = parameter(bias)};
      case encoding::exponential:
        return seqmix::exponential_activation{};
      default:
        return seqmix::logsigmoid_activation{.tau = tau};
    }
  }
};

void draw(recurrence_problem& p, encoding e) {
  const range r = numbers_of(e);
  recurrence_problem::uniform(p.gate, p.c.seed * 16 + 7, r.low, r.high);
}

template <class T>
void check_encodings(double floor) {
  constexpr layout layouts[] = {layout::dense, layout::strided, layout::head_first,
                                layout::broadcast};
  constexpr scalar_type types[] = {scalar_type::f32, scalar_type::f64, scalar_type::bf16};
  std::uint64_t seed = 0;
  for (const recurrence op : gated_recurrences) {
    for (const encoding e : every_encoding) {
      ++seed;
      recurrence_case c{.op = op, .B = 2, .T = 37, .H = 2, .HV = 4, .K = 20, .V = 24};
      c.type = c.output = seqmix::scalar_type_of<T>;
      c.inputs = layouts[seed % 4];
      c.initial = c.final = true;
      c.packed = seed % 3 == 0;
      c.reverse = seed % 5 == 0;
      c.seed = seed;
      recurrence_problem p(c);
      draw(p, e);
      const encoded gates(e, p, seed % 2 == 0, types[seed % 3]);
      recurrence_problem exact = exact_problem(p);
      gates.run<T, double, double>(exact, true);
      const tolerance t = tolerance_of(c.type);
      const tolerance of_state = tolerance_of(scalar_type::f32);
      for (const char* algorithm : {"chunk<16>", "segmented<10>", "recurrent"}) {
        gates.run<T, T, float>(p, false, {.pin = {.algorithm = algorithm}});
        CAPTURE(c, static_cast<int>(e), algorithm);
        CHECK(compare(owned_outputs(p), owned_outputs(exact), t, bound::target, floor) == "");
        CHECK(compare(owned_states(p), owned_states(exact), of_state, bound::target, floor) == "");
      }

      // Plain gates in double. Negative factors have no logarithm.
      recurrence_problem plain = exact_problem(p);
      plain.gate = tensor<4>(scalar_type::f64, p.gate.extents());
      bool positive = true;
      p.gate.for_each([&](const tensor<4>::index& i) {
        const double factor = gates.factor(p.gate[i], i[2], i[3]);
        positive = positive && factor > 0;
        plain.gate.set(i, std::log(factor));
      });
      CAPTURE(c, static_cast<int>(e));
      CHECK(positive == (e != encoding::linear));
      if (positive) {
        run_encoded<T, double, double, double>(plain, true, as_it_is, as_it_is);
        CHECK(compare(owned_outputs(p), owned_outputs(plain), t, bound::target, floor) == "");
        CHECK(compare(owned_states(p), owned_states(plain), of_state, bound::target, floor) == "");
      }
    }
  }
}

recurrence_case small_case(recurrence op) {
  recurrence_case c{.op = op, .B = 2, .T = 40, .H = 2, .HV = 4, .K = 12, .V = 20};
  c.initial = c.final = true;
  return c;
}

}  // namespace

TEST_CASE("gates in every encoding, f32", "[matrix_recurrence][gates]") {
  check_encodings<float>(0.05);
}
TEST_CASE("gates in every encoding, f64", "[matrix_recurrence][gates]") {
  check_encodings<double>(0.05);
}
TEST_CASE("gates in every encoding, bf16", "[matrix_recurrence][gates]") {
  check_encodings<seqmix::bf16>(0.05);
}

TEST_CASE("strengths in every encoding", "[matrix_recurrence][gates]") {
  for (const recurrence op : {recurrence::delta, recurrence::gdn, recurrence::kda}) {
    for (const bool many : {false, true}) {
      for (const bool doubled : {false, true}) {
        recurrence_case c = small_case(op);
        c.many_betas = many;
        c.inputs = many ? layout::strided : layout::dense;
        recurrence_problem p(c);
        recurrence_problem::uniform(p.beta, 77, -6, 6);
        const auto run = [&]<class O, class S>(recurrence_problem& x, O, S, bool oracle) {
          doubled ? run_encoded<float, O, S>(
                        x, oracle, as_it_is,
                        [](const auto& v) { return seqmix::doubled_sigmoid_beta(v); })
                  : run_encoded<float, O, S>(x, oracle, as_it_is,
                                             [](const auto& v) { return seqmix::sigmoid_beta(v); });
        };
        run(p, 0.0F, 0.0F, false);
        recurrence_problem exact = exact_problem(p);
        run(exact, 0.0, 0.0, true);
        recurrence_problem plain = exact_problem(p);
        plain.beta = tensor<4>(scalar_type::f64, p.beta.extents());
        p.beta.for_each([&](const tensor<4>::index& i) {
          plain.beta.set(i, (doubled ? 2 : 1) / (1 + std::exp(-p.beta[i])));
        });
        run_encoded<float, double, double, float, double>(plain, true, as_it_is, as_it_is);
        CAPTURE(c, doubled);
        for (const recurrence_problem* expected : {&exact, &plain}) {
          CHECK(compare(p.o.values(), expected->o.values(), tolerance_of(scalar_type::f32),
                        bound::target, 0.05) == "");
          CHECK(compare(p.final.values(), expected->final.values(), tolerance_of(scalar_type::f32),
                        bound::target, 0.05) == "");
        }
      }
    }
  }
}

TEST_CASE("numbers far out of an activation's range", "[matrix_recurrence][gates]") {
  for (const recurrence op : gated_recurrences) {
    for (const encoding e : {encoding::softplus, encoding::bounded, encoding::exponential,
                             encoding::logsigmoid, encoding::log2}) {
      recurrence_case c = small_case(op);
      recurrence_problem p(c);
      constexpr double numbers[] = {-1e4, -100, -30, -1, 0, 1, 30, 100, 1e4};
      p.gate.for_each([&](const tensor<4>::index& i) {
        const double number = numbers[static_cast<std::size_t>(i[1] * 5 + i[2] + i[3]) % 9];
        p.gate.set(i, e == encoding::log2 ? -std::fabs(number) : number);
      });
      const encoded gates(e, p, true, scalar_type::f32);
      gates.run<float, float, float>(p, false);
      recurrence_problem exact = exact_problem(p);
      gates.run<float, double, double>(exact, true);
      CAPTURE(name(op), static_cast<int>(e));
      CHECK(compare(p.o.values(), exact.o.values(), tolerance_of(scalar_type::f32), bound::target,
                    0.05) == "");
      CHECK(compare(p.final.values(), exact.final.values(), tolerance_of(scalar_type::f32),
                    bound::target, 0.05) == "");
    }
  }
}

TEST_CASE("factors beyond 1 grow what is held", "[matrix_recurrence][gates][L11]") {
  recurrence_problem p(small_case(recurrence::gla));
  recurrence_problem::uniform(p.gate, 7, -1.5, 1.5);
  run_encoded<float, float, float>(
      p, false, [](const auto& v) { return seqmix::linear_gate(v); }, as_it_is);
  recurrence_problem exact = exact_problem(p);
  run_encoded<float, double, double>(
      exact, true, [](const auto& v) { return seqmix::linear_gate(v); }, as_it_is);
  CHECK(compare(p.o.values(), exact.o.values(), tolerance_of(scalar_type::f32)) == "");
}

TEST_CASE("parity: factors of -1 over 4096 steps", "[matrix_recurrence][gates][L11]") {
  // One number is written first, and turned over by every 1 of the string.
  std::vector<float> q(4096, 1), k(4096, 0), v(4096, 1), g(4096, 1), o(4096), expected;
  k[0] = 1;
  int turned = 0;
  for (std::size_t t = 0; t < 4096; ++t) {
    const bool bit = t > 0 && mix(t) % 2 == 1;
    g[t] = bit ? -1.0F : 1.0F;
    turned += bit ? 1 : 0;
    expected.push_back(turned % 2 == 0 ? 1.0F : -1.0F);
  }
  const auto tokens = [](std::vector<float>& x) { return seqmix::view(x.data(), 1, 4096, 1, 1); };
  std::vector<float> beta(4096, 1);
  const auto numbers = [](std::vector<float>& x) { return seqmix::view(x.data(), 1, 4096, 1); };
  for (const char* algorithm : {"recurrent", "chunk<64>", "segmented<100>"}) {
    const seqmix::context ctx{.pin = {.algorithm = algorithm}};
    CAPTURE(algorithm);
    seqmix::gated_linear_attention(tokens(q), tokens(k), tokens(v), seqmix::linear_gate(tokens(g)),
                                   tokens(o), {.scale = 1}, ctx);
    CHECK(o == expected);
    // The same with one factor for the state, and strengths of 1 on keys of zero.
    std::fill(o.begin(), o.end(), 0.0F);
    seqmix::gated_delta_rule(tokens(q), tokens(k), tokens(v), seqmix::linear_gate(numbers(g)),
                             numbers(beta), tokens(o), {.scale = 1}, ctx);
    CHECK(o == expected);
  }
}

TEST_CASE("what an encoding makes zero is a boundary between sequences, bit for bit",
          "[matrix_recurrence][gates]") {
  constexpr std::int64_t cut = 17;
  const auto zero_of = [](encoding e) {
    return e == encoding::linear                       ? 0.0
           : e == encoding::log2 || e == encoding::log ? -infinity
           : e == encoding::logsigmoid                 ? -infinity
                                                       : infinity;
  };
  for (const recurrence op : {recurrence::gla, recurrence::gdn, recurrence::kda}) {
    for (const encoding e : every_encoding) {
      if (e == encoding::bounded) {  // it has no zero
        continue;
      }
      recurrence_problem whole(small_case(op));
      draw(whole, e);
      whole.gate.for_each([&](const tensor<4>::index& i) {
        if (i[1] == cut) {
          whole.gate.set(i, zero_of(e));
        }
      });
      // Not even a broken past comes through.
      whole.k.set({0, 5, 0, 3}, quiet_nan);
      whole.v.set({1, 9, 2, 7}, infinity);
      const encoded gates(e, whole, false, scalar_type::f32);
      gates.run<float, float, float>(whole, false);
      recurrence_case c = whole.c;
      c.T = 40 - cut;
      recurrence_problem after(c);
      for (auto [to, from] : {std::pair{&after.q, &whole.q}, std::pair{&after.k, &whole.k},
                              std::pair{&after.v, &whole.v}, std::pair{&after.gate, &whole.gate},
                              std::pair{&after.beta, &whole.beta}}) {
        to->for_each([&, to = to, from = from](const tensor<4>::index& i) {
          to->set(i, (*from)[{i[0], i[1] + cut, i[2], i[3]}]);
        });
      }
      after.initial.for_each([&](const tensor<4>::index& i) { after.initial.set(i, 0); });
      gates.run<float, float, float>(after, false);
      bool same = after.final.all_bits() == whole.final.all_bits();
      after.o.for_each([&](const tensor<4>::index& i) {
        same = same && after.o.bits(i) == whole.o.bits({i[0], i[1] + cut, i[2], i[3]}) &&
               std::isfinite(after.o[i]);
      });
      CAPTURE(name(op), static_cast<int>(e));
      CHECK(same);
      CHECK(std::isnan(whole.o[{0, 10, 0, 0}]));
    }
  }
}

TEST_CASE("a NaN of a gate or of its parameters stays in its head, from its token on",
          "[matrix_recurrence][gates]") {
  for (const recurrence op : gated_recurrences) {
    for (const encoding e : every_encoding) {
      recurrence_problem clean(small_case(op));
      draw(clean, e);
      encoded gates(e, clean, true, scalar_type::f32);
      gates.run<float, float, float>(clean, false);
      recurrence_problem dirty(small_case(op));
      draw(dirty, e);
      const std::int64_t d = dirty.gate.extent(3) - 1;
      dirty.gate.set({1, 30, 2, d}, quiet_nan);
      const bool has_parameters = e == encoding::softplus || e == encoding::bounded;
      if (has_parameters) {
        gates.bias.set({0, gates.per_channel ? d : 0}, quiet_nan);
      }
      gates.run<float, float, float>(dirty, false);
      bool same = true;
      dirty.o.for_each([&](const tensor<4>::index& i) {
        const bool hit = (i[0] == 1 && i[1] >= 30 && i[2] == 2) || (has_parameters && i[2] == 0);
        same = same && (hit ? std::isnan(dirty.o[i]) : dirty.o.bits(i) == clean.o.bits(i));
      });
      CAPTURE(name(op), static_cast<int>(e));
      CHECK(same);
    }
  }
}

TEST_CASE("encoded gates: any executor, a caller's scratch, no allocation",
          "[matrix_recurrence][gates][threads]") {
  for (const recurrence op : {recurrence::gdn, recurrence::kda}) {
    recurrence_case c = small_case(op);
    c.V = 200;
    c.B = 1;
    recurrence_problem p(c);
    draw(p, encoding::softplus);
    const encoded gates(encoding::softplus, p, true, scalar_type::f32);
    gates.run<float, float, float>(p, false);
    const recurrence_bits once = bits_of(p);
    for (const int threads : {2, 5}) {
      pool_executor pool(threads, 3);
      gates.run<float, float, float>(p, false, {.executor = pool});
      CHECK(bits_of(p) == once);
    }
    const auto wrap = [&](const auto& v) { return seqmix::raw_gate(v, gates.activation()); };
    const auto q = p.q.view<const float>(), k = p.k.view<const float>(),
               v = p.v.view<const float>(), g = p.gate.view<const float>();
    const auto beta = without_last(p.beta.view<const float>());
    const auto o = p.o.view<float>();
    const auto x = p.options<float>();
    const auto check = [&](const auto& call, const auto& gate) {
      guarded_workspace scratch(call.workspace_bytes(q, k, v, gate, beta, o, x));
      call(q, k, v, gate, beta, o, x, seqmix::context{.workspace = scratch.span()});
      CHECK(scratch.guards_untouched());
      CHECK(bits_of(p) == once);
      call(q, k, v, gate, beta, o, x);
      const long before = allocations;
      call(q, k, v, gate, beta, o, x);
      CHECK(allocations == before);
    };
    op == recurrence::gdn ? check(seqmix::gated_delta_rule, wrap(without_last(g)))
                          : check(seqmix::kda, wrap(g));
  }
}

namespace {

using view3 = seqmix::tensor_view<const float, 3>;
using view4 = seqmix::tensor_view<const float, 4>;
using out4 = seqmix::tensor_view<float, 4>;
template <class Gate, class Beta>
inline constexpr bool delta_takes =
    std::is_invocable_v<decltype(seqmix::gated_delta_rule), view4, view4, view4, Gate, Beta, out4>;
template <class Gate, class Beta>
inline constexpr bool kda_takes =
    std::is_invocable_v<decltype(seqmix::kda), view4, view4, view4, Gate, Beta, out4>;

static_assert(!std::is_convertible_v<seqmix::log_gate<view3>, seqmix::linear_gate<view3>>);
static_assert(!std::is_convertible_v<seqmix::log_gate<view3>, seqmix::log2_gate<view3>>);
static_assert(!std::is_constructible_v<seqmix::log_gate<view3>, seqmix::linear_gate<view3>>);
static_assert(!std::is_convertible_v<view3, seqmix::linear_gate<view3>>);
static_assert(delta_takes<view3, view3> && delta_takes<seqmix::linear_gate<view3>, view3>);
static_assert(delta_takes<seqmix::raw_gate<view3>, seqmix::doubled_sigmoid_beta<view4>>);
static_assert(!delta_takes<seqmix::linear_gate<view4>, view3>);
static_assert(!delta_takes<seqmix::sigmoid_beta<view3>, view3>);
static_assert(!delta_takes<view3, seqmix::log_gate<view3>>);
static_assert(kda_takes<seqmix::log2_gate<view4>, seqmix::sigmoid_beta<view3>>);
static_assert(!kda_takes<seqmix::log2_gate<view3>, view3>);
static_assert(!std::is_invocable_v<decltype(seqmix::lightning_attention), view4, view4, view4,
                                   seqmix::linear_gate<view3>, out4>);

}  // namespace

TEST_CASE("parameters of gates that break the contract are refused",
          "[matrix_recurrence][gates][refusals]") {
  std::vector<float> x(4096, 0.25F), o(4096, -7), s(4096, -7);
  std::vector<std::int32_t> whole(4, 0);
  using seqmix::view;
  const auto q = view(x.data(), 2, 3, 2, 4);
  const auto v = view(x.data(), 2, 3, 4, 5);
  const auto out = view(o.data(), 2, 3, 4, 5);
  const auto g = view(x.data(), 2, 3, 4, 4);
  const auto beta = view(x.data(), 2, 3, 4);
  const auto with = [&](const seqmix::gate_form& by,
                        const seqmix::recurrence_options& options = {}) {
    try {
      seqmix::kda(q, q, v, seqmix::raw_gate(g, by), beta, out, options);
    } catch (const seqmix::error& e) {
      CHECK(e.operator_name() == "kda");
      return e.argument();
    }
    return std::string();
  };
  using seqmix::bounded_activation;
  using seqmix::logsigmoid_activation;
  using seqmix::softplus_activation;
  CHECK(with(softplus_activation{.a_log = view(x.data(), 3)}) == "g.a_log");
  CHECK(with(softplus_activation{.a_log = view(x.data(), 4, 3)}) == "g.a_log");
  CHECK(with(softplus_activation{.bias = view(x.data(), 3, 4)}) == "g.bias");
  CHECK(with(softplus_activation{.bias = view(static_cast<float*>(nullptr), 4)}) == "g.bias");
  CHECK(with(softplus_activation{.bias = view(whole.data(), 4)}) == "g.bias");
  CHECK(with(softplus_activation{.bias = view(o.data() + 3, 4)}) == "o");
  CHECK(with(softplus_activation{.a_log = view(s.data() + 7, 4)},
             {.final_state = view(s.data(), 2, 4, 4, 5)}) == "options.final_state");
  CHECK(with(softplus_activation{.a_log = view(s.data() + 7, 4)},
             {.rollback = view(s.data(), 2, 1, 4, 4, 5)}) == "options.rollback");
  for (const double bound : {-5.5, 0.0, 1.0, quiet_nan, -infinity}) {
    CHECK(with(bounded_activation{.lower_bound = bound}) == "g.lower_bound");
  }
  for (const double tau : {0.0, -1.0, quiet_nan, infinity}) {
    CHECK(with(logsigmoid_activation{.tau = tau}) == "g.tau");
  }
  CHECK(o == std::vector<float>(4096, -7));
  CHECK(s == std::vector<float>(4096, -7));
}
