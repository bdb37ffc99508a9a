// SPDX-License-Identifier: Apache-2.0
// Feature maps of linear attention against the oracle, and against the kernels that they claim.
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "support/catch.hpp"
#include "support/counted_new.hpp"
#include "support/feature_parameters.hpp"
#include "support/recurrence_problem.hpp"

using namespace seqmix_test;
using seqmix::any_feature_map;
using seqmix::feature_map;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

/// Linear attention of a problem, or its oracle.
template <class T, class O>
void run(recurrence_problem& p, bool oracle, const seqmix::recurrence_options& options,
         const seqmix::context& ctx = {}) {
  p.o.clear();
  const auto call = [&](const auto& q, const auto& k, const auto& v, const auto& o) {
    oracle ? seqmix::naive_linear_attention(q, k, v, o, options)
           : seqmix::linear_attention(q, k, v, o, options, ctx);
  };
  p.c.packed ? call(p.q.packed_view<const T>(), p.k.packed_view<const T>(),
                    p.v.packed_view<const T>(), p.o.packed_view<O>())
             : call(p.q.view<const T>(), p.k.view<const T>(), p.v.view<const T>(), p.o.view<O>());
}

/// States and denominators of F features.
struct states {
  states(const recurrence_case& c, std::int64_t F, scalar_type type, layout kind)
      : initial(scalar_type::f32, {c.B, c.HV, F, c.V}),
        final(type, {c.B, c.HV, F, c.V}, kind),
        z0(scalar_type::f32, {c.B, c.HV, F}),
        z(type, {c.B, c.HV, F}) {
    initial.fill(c.seed + 50);
    z0.for_each([&](const tensor<3>::index& i) { z0.set(i, 1 + 0.1 * static_cast<double>(i[2])); });
  }
  template <class S>
  void give(seqmix::recurrence_options& x, bool normalise) {
    x.initial_state = initial.view<const float>();
    x.final_state = final.view<S>();
    x.normalise = normalise;
    if (normalise) {
      x.initial_normaliser = z0.view<const float>();
      x.final_normaliser = z.view<S>();
    }
  }
  tensor<4> initial, final;
  tensor<3> z0, z;
};

template <class T>
void check_maps() {
  constexpr layout layouts[] = {layout::dense, layout::strided, layout::head_first,
                                layout::reversed};
  std::uint64_t seed = 0;
  for (const named_map which : every_named_map) {
    for (const std::int64_t K : {1, 5, 16, 21}) {
      ++seed;
      recurrence_case c{
          .op = recurrence::linear, .B = 2, .T = 35, .H = 2, .HV = 4, .K = K, .V = 24};
      c.type = c.output = seqmix::scalar_type_of<T>;
      c.inputs = layouts[seed % 4];
      c.outputs = layouts[(seed + 1) % 4];
      c.packed = seed % 3 == 0;
      c.reverse = seed % 5 == 0;
      c.heads = seed % 2 == 0 ? seqmix::head_map::tiled : seqmix::head_map::grouped;
      c.seed = seed;
      recurrence_problem p(c);
      p.k.fill(seed * 16 + 2);
      const feature_parameters parameters(K, 2, seed);
      const any_feature_map map = parameters.map(which);
      if (which == named_map::kernel_hash) {
        // Signs of what float cannot tell from zero are nobody's.
        parameters.away_from_zero(p.q);
        parameters.away_from_zero(p.k);
      }
      const std::int64_t F = seqmix::feature_count(map, K);
      const bool normalise = parameters.positive(which) && seed % 4 != 0;
      states of_call(c, F, scalar_type::f32, layouts[seed % 3]);
      states of_oracle(c, F, scalar_type::f64, layout::dense);
      seqmix::recurrence_options options = p.template options<float>();
      options.features = map;
      recurrence_case exact_case = c;
      exact_case.output = scalar_type::f64;
      exact_case.outputs = layout::dense;
      recurrence_problem exact(exact_case);
      exact.q = p.q;
      exact.k = p.k;
      of_oracle.give<double>(options, normalise);
      run<T, double>(exact, true, options);
      of_call.give<float>(options, normalise);
      for (const char* algorithm : {"chunk<16>", "segmented<10>", "recurrent"}) {
        guarded_workspace scratch(1 << 23);
        of_call.final.clear();
        of_call.z.clear();
        run<T, T>(p, false, options,
                  {.workspace = scratch.span(), .pin = {.algorithm = algorithm}});
        CAPTURE(c, static_cast<int>(which), F, normalise, algorithm);
        CHECK(scratch.guards_untouched());
        CHECK(compare(owned_outputs(p), owned_outputs(exact), tolerance_of(c.type), bound::ceiling,
                      0.01) == "");
        CHECK(compare(of_call.final.values(), of_oracle.final.values(),
                      tolerance_of(scalar_type::f32), bound::ceiling, 0.01) == "");
        if (normalise) {
          CHECK(compare(of_call.z.values(), of_oracle.z.values(), tolerance_of(scalar_type::f32),
                        bound::ceiling) == "");
        }
        CHECK(p.o.gaps_untouched());
      }
    }
  }
}

recurrence_case linear_case(std::int64_t K, std::int64_t T = 40) {
  return {.op = recurrence::linear, .B = 1, .T = T, .H = 1, .HV = 1, .K = K, .V = 8};
}

/// sum_j kernel(q_i, k_j) v_j / sum_j kernel(q_i, k_j) in double.
template <class Kernel>
std::vector<double> kernel_attention(const recurrence_problem& p, Kernel&& kernel) {
  std::vector<double> out;
  for (std::int64_t i = 0; i < p.c.T; ++i) {
    std::vector<double> sums(static_cast<std::size_t>(p.c.V), 0.0);
    double weight = 0;
    for (std::int64_t j = 0; j <= i; ++j) {
      const double w = kernel(i, j);
      weight += w;
      for (std::int64_t c = 0; c < p.c.V; ++c) {
        sums[static_cast<std::size_t>(c)] += w * p.v[{0, j, 0, c}];
      }
    }
    for (const double s : sums) {
      out.push_back(s / weight);
    }
  }
  return out;
}

double dot(const recurrence_problem& p, std::int64_t i, std::int64_t j) {
  double sum = 0;
  for (std::int64_t d = 0; d < p.c.K; ++d) {
    sum += p.q[{0, i, 0, d}] * p.k[{0, j, 0, d}];
  }
  return sum;
}

std::vector<double> mapped_attention(recurrence_problem& p, const any_feature_map& map) {
  run<float, float>(p, false, {.features = map, .normalise = true, .normalise_eps = 0});
  return p.o.values();
}

}  // namespace

TEST_CASE("feature maps in linear attention, f32", "[matrix_recurrence][features]") {
  check_maps<float>();
}
TEST_CASE("feature maps in linear attention, f64", "[matrix_recurrence][features]") {
  check_maps<double>();
}
TEST_CASE("feature maps in linear attention, bf16", "[matrix_recurrence][features]") {
  check_maps<seqmix::bf16>();
}

TEST_CASE("F03: both storages are the Taylor series of the kernel",
          "[matrix_recurrence][features][F03]") {
  recurrence_problem p(linear_case(16));
  p.k.fill(3);
  const double root = std::sqrt(16.0);
  const std::vector<double> expected = kernel_attention(p, [&](std::int64_t i, std::int64_t j) {
    const double z = dot(p, i, j) / root;
    return 1 + z + z * z / 2;
  });
  const tolerance t = tolerance_of(scalar_type::f32);
  CHECK(seqmix::feature_count(seqmix::taylor2_features{}, 16) == 273);
  CHECK(seqmix::feature_count(seqmix::taylor2_features{.symmetric = true}, 16) == 153);
  CHECK(compare(mapped_attention(p, seqmix::taylor2_features{}), expected, t) == "");
  CHECK(compare(mapped_attention(p, seqmix::taylor2_features{.symmetric = true}), expected, t) ==
        "");
}

TEST_CASE("F05_sum_not_own_value", "[matrix_recurrence][features][F05]") {
  // (b + 1) stands before the sum of all values so far, not before the token's own.
  const feature_parameters parameters(16, 1, 9);
  const auto map = parameters.kernel_hash();
  recurrence_problem p(linear_case(16));
  p.k.fill(3);
  parameters.away_from_zero(p.q);
  parameters.away_from_zero(p.k);
  const auto code = [&](const tensor<4>& x, std::int64_t t) {
    std::vector<double> row;
    for (std::int64_t d = 0; d < 16; ++d) {
      row.push_back(x[{0, t, 0, d}]);
    }
    std::vector<double> h = parameters.hashed(row, 0);
    for (double& e : h) {
      e = e < 0 ? -1 : 1;
    }
    return h;
  };
  const auto b = static_cast<double>(feature_parameters::hash_bits);
  const auto similarity = [&](std::int64_t i, std::int64_t j) {
    const std::vector<double> x = code(p.q, i), y = code(p.k, j);
    double sum = 0;
    for (std::size_t e = 0; e < x.size(); ++e) {
      sum += x[e] * y[e];
    }
    return sum;
  };
  const std::vector<double> expected =
      kernel_attention(p, [&](std::int64_t i, std::int64_t j) { return similarity(i, j) + b + 1; });
  const std::vector<double> actual = mapped_attention(p, map);
  CHECK(compare(actual, expected, tolerance_of(scalar_type::f32)) == "");
  // The other reading is another operator.
  std::vector<double> own;
  for (std::int64_t i = 0; i < p.c.T; ++i) {
    for (std::int64_t c = 0; c < p.c.V; ++c) {
      double sum = (b + 1) * p.v[{0, i, 0, c}];
      double weight = static_cast<double>(i + 1) * (b + 1);
      for (std::int64_t j = 0; j <= i; ++j) {
        sum += similarity(i, j) * p.v[{0, j, 0, c}];
        weight += similarity(i, j);
      }
      own.push_back(sum / weight);
    }
  }
  CHECK(measure(own, expected).rms > 0.1);
}

TEST_CASE("F06: signs are summed exactly", "[matrix_recurrence][features][F06]") {
  recurrence_problem p(linear_case(16));
  p.k.fill(3);
  for (tensor<4>* x : {&p.q, &p.k}) {
    x->set({0, 3, 0, 2}, 0);  // the sign of zero is +1
    x->set({0, 4, 0, 5}, -0.0);
  }
  p.v.for_each([&](const tensor<4>::index& i) {
    p.v.set(i, static_cast<double>(mix(static_cast<std::uint64_t>(i[1] * 8 + i[3])) % 17) - 8);
  });
  run<float, float>(p, false, {.scale = 1, .features = feature_map::sign});
  for (std::int64_t i = 0; i < 40; ++i) {
    for (std::int64_t c = 0; c < 8; ++c) {
      double expected = 0;
      for (std::int64_t j = 0; j <= i; ++j) {
        int agree = 0;
        for (std::int64_t d = 0; d < 16; ++d) {
          agree += (p.q[{0, i, 0, d}] < 0) == (p.k[{0, j, 0, d}] < 0) ? 1 : -1;
        }
        expected += agree * p.v[{0, j, 0, c}];
      }
      CHECK(p.o[{0, i, 0, c}] == expected);
    }
  }
}

TEST_CASE("F07: weights by the cosine of the distance", "[matrix_recurrence][features][F07]") {
  recurrence_problem p(linear_case(16));
  p.k.fill(3);
  p.q.for_each([&](const tensor<4>::index& i) { p.q.set(i, std::fabs(p.q[i])); });
  p.k.for_each([&](const tensor<4>::index& i) { p.k.set(i, p.k[i] + 0.5); });
  for (const std::int64_t first : {0, 23}) {
    const std::vector<double> expected = kernel_attention(p, [&](std::int64_t i, std::int64_t j) {
      double sum = 0;
      for (std::int64_t d = 0; d < 16; ++d) {
        sum += std::max(p.q[{0, i, 0, d}], 0.0) * std::max(p.k[{0, j, 0, d}], 0.0);
      }
      return sum * std::cos(3.141592653589793 * static_cast<double>(i - j) / (2.0 * 64));
    });
    CHECK(compare(mapped_attention(p, seqmix::cosformer_features{.length = 64, .first = first}),
                  expected, tolerance_of(scalar_type::f32)) == "");
  }
  // Prefill, then the rest from its position on.
  seqmix::recurrence_options options{.scale = 1,
                                     .features = seqmix::cosformer_features{.length = 64}};
  run<float, float>(p, false, options);
  const std::vector<double> whole = p.o.values();
  std::vector<float> state(32 * 8), o(40 * 8);
  const auto part = [&](std::int64_t begin, std::int64_t count,
                        const seqmix::recurrence_options& x) {
    const auto rows = [&](const tensor<4>& t) {
      return t.view<const float>().slice(1, begin, count);
    };
    seqmix::linear_attention(rows(p.q), rows(p.k), rows(p.v),
                             seqmix::view(o.data() + begin * 8, 1, count, 1, 8), x);
  };
  const auto kept = seqmix::view(state.data(), 1, 1, 32, 8);
  part(0, 17, {.scale = 1, .final_state = kept, .features = options.features});
  part(17, 23,
       {.scale = 1,
        .initial_state = kept,
        .features = seqmix::cosformer_features{.length = 64, .first = 17}});
  CHECK(compare({o.begin(), o.end()}, whole, tolerance_of(scalar_type::f32)) == "");
}

TEST_CASE("F04: stabilisers change no weight", "[matrix_recurrence][features][F04]") {
  const feature_parameters parameters(16, 1, 4);
  recurrence_problem p(linear_case(16));
  p.k.fill(3);
  const std::vector<double> plain = mapped_attention(p, parameters.random());
  seqmix::random_features stable = parameters.random();
  stable.query_maximum = true;
  stable.key_shift = 3;
  CHECK(compare(mapped_attention(p, stable), plain, tolerance_of(scalar_type::f32),
                bound::ceiling) == "");
  // Without them, rows of large norm are lost.
  p.q.for_each([&](const tensor<4>::index& i) { p.q.set(i, 40 * p.q[i]); });
  stable.key_shift = 0;
  for (const double x : mapped_attention(p, stable)) {
    CHECK(std::isfinite(x));
  }
}

TEST_CASE("keys may have a map of their own", "[matrix_recurrence][features][F02]") {
  const feature_parameters of_q(16, 2, 4), of_k(16, 2, 5);
  recurrence_case c = linear_case(16);
  c.H = c.HV = 2;
  recurrence_problem p(c);
  seqmix::recurrence_options options{.features = of_q.hedgehog(feature_map::hedgehog_softmaxes),
                                     .normalise = true};
  run<float, float>(p, false, options);
  const std::vector<double> one_map = p.o.values();
  options.key_features = of_k.hedgehog(feature_map::hedgehog_softmaxes);
  run<float, float>(p, false, options);
  recurrence_case exact_case = c;
  exact_case.output = scalar_type::f64;
  recurrence_problem exact(exact_case);
  run<float, double>(exact, true, options);
  CHECK(compare(p.o.values(), exact.o.values(), tolerance_of(scalar_type::f32)) == "");
  CHECK(measure(one_map, exact.o.values()).rms > 1e-3);
}

TEST_CASE("features: any executor and packing, no NaN elsewhere, no allocation",
          "[matrix_recurrence][features][threads]") {
  for (const named_map which : every_named_map) {
    recurrence_case c{.op = recurrence::linear, .B = 2, .T = 40, .H = 2, .HV = 4, .K = 9, .V = 150};
    const feature_parameters parameters(9, 2, 3);
    const any_feature_map map = parameters.map(which);
    const std::int64_t F = seqmix::feature_count(map, 9);
    recurrence_problem p(c);
    states kept(c, F, scalar_type::f32, layout::dense);
    seqmix::recurrence_options options;
    options.features = map;
    kept.give<float>(options, false);
    run<float, float>(p, false, options);
    const std::vector<std::uint64_t> once = p.o.all_bits(), state = kept.final.all_bits();
    pool_executor pool(5, 3);
    kept.final.clear();
    run<float, float>(p, false, options, {.executor = pool});
    CAPTURE(static_cast<int>(which));
    CHECK(p.o.all_bits() == once);
    CHECK(kept.final.all_bits() == state);
    const long before = allocations;
    seqmix::linear_attention(p.q.view<const float>(), p.k.view<const float>(),
                             p.v.view<const float>(), p.o.view<float>(), options);
    CHECK(allocations == before);
    // A query's NaN reaches its token, a key's its head from that token on.
    recurrence_problem dirty(c);
    dirty.q.set({0, 10, 1, 4}, quiet_nan);
    dirty.k.set({1, 20, 0, 8}, quiet_nan);
    run<float, float>(dirty, false, options);
    bool same = true;
    std::int64_t hit = 0;
    dirty.o.for_each([&](const tensor<4>::index& i) {
      const bool seen =
          (i[0] == 0 && i[1] == 10 && i[2] >= 2) || (i[0] == 1 && i[1] >= 20 && i[2] < 2);
      hit += seen && std::isnan(dirty.o[i]) ? 1 : 0;
      same = same && (seen || dirty.o.bits(i) == p.o.bits(i));
    });
    CHECK(same);
    CHECK(hit == 150 * 2 * (1 + 20));
  }
}

TEST_CASE("feature maps that break the contract are refused",
          "[matrix_recurrence][features][refusals]") {
  std::vector<float> x(200000, 0.25F), o(4096, -7), s(200000, -7);
  std::vector<std::int32_t> whole(64, 0);
  using seqmix::view;
  const auto rows = [&](std::int64_t K) { return view(x.data(), 2, 9, 2, K); };
  const auto v = view(x.data(), 2, 9, 2, 4);
  const auto out = view(o.data(), 2, 9, 2, 4);
  std::string expected;
  const auto with = [&](const seqmix::recurrence_options& options, std::int64_t K = 4) {
    try {
      seqmix::linear_attention(rows(K), rows(K), v, out, options);
    } catch (const seqmix::error& e) {
      CHECK(e.operator_name() == "linear_attention");
      expected = e.expected();
      return e.argument();
    }
    return std::string();
  };
  const auto refused = [&](const any_feature_map& map, std::int64_t K = 4) {
    return with({.features = map}, K) == "options.features";
  };
  CHECK(refused(static_cast<feature_map>(40)));
  CHECK(refused(feature_map::unspecified));
  CHECK(refused(seqmix::hedgehog_features{}));
  CHECK(refused(seqmix::hedgehog_features{.map = feature_map::relu}));
  CHECK(expected.find("hedgehog_softmaxes") != std::string::npos);
  CHECK(refused(seqmix::hedgehog_features{.map = feature_map::hedgehog_softmax,
                                          .weight = view(x.data(), 2, 3, 5)}));
  CHECK(refused(seqmix::hedgehog_features{.map = feature_map::hedgehog_softmax,
                                          .weight = view(x.data(), 3, 4, 5)}));
  CHECK(refused(seqmix::hedgehog_features{.map = feature_map::hedgehog_softmax,
                                          .weight = view(x.data(), 2, 4, 257)}));
  CHECK(refused(seqmix::hedgehog_features{.map = feature_map::hedgehog_softmax,
                                          .weight = view(whole.data(), 2, 4, 5)}));
  CHECK(refused(seqmix::hedgehog_features{.map = feature_map::hedgehog_softmax,
                                          .bias = view(x.data(), 2, 5)}));
  CHECK(with({.features = seqmix::hedgehog_features{.map = feature_map::hedgehog_softmax,
                                                    .weight = view(o.data() + 9, 2, 4, 5)}}) ==
        "o");
  CHECK(refused(seqmix::dpfp_features{.nu = 0}));
  CHECK(refused(seqmix::dpfp_features{.nu = 65}));
  CHECK(refused(seqmix::dpfp_features{.nu = std::int64_t{1} << 62}));
  CHECK(refused(seqmix::taylor2_features{}, 23));
  CHECK(refused(seqmix::taylor2_features{.symmetric = true}, 31));
  CHECK(refused(seqmix::random_features{}));
  CHECK(refused(feature_map::random));
  CHECK(refused(seqmix::random_features{.projection = view(x.data(), 2, 5, 8)}));
  CHECK(refused(
      seqmix::random_features{.projection = view(x.data(), 2, 4, 8), .key_shift = quiet_nan}));
  CHECK(refused(
      seqmix::random_features{.projection = view(x.data(), 2, 4, 8), .query_maximum = true}));
  CHECK(expected == "options.normalise beside query_maximum");
  const seqmix::kernel_hash_features hash{.anchors = view(x.data(), 1, 7, 4),
                                          .hashes = view(x.data(), 1, 7, 16)};
  seqmix::kernel_hash_features bad = hash;
  bad.hashes = view(x.data(), 1, 8, 16);
  CHECK(refused(bad));
  bad = hash;
  bad.mean = view(x.data(), 1, 8);
  CHECK(refused(bad));
  bad = hash;
  bad.anchors = {};
  CHECK(refused(bad));
  for (const double sigma : {0.0, -1.0, quiet_nan, infinity}) {
    bad = hash;
    bad.sigma = sigma;
    CHECK(refused(bad));
  }
  CHECK(refused(feature_map::cosformer));
  CHECK(refused(seqmix::cosformer_features{.length = 8}));
  CHECK(refused(seqmix::cosformer_features{.length = 10, .first = 2}));
  CHECK(refused(seqmix::cosformer_features{.length = 10, .first = -1}));
  CHECK(with({.features = feature_map::relu, .key_features = seqmix::dpfp_features{}}) ==
        "options.key_features");
  // States have a row for each feature.
  CHECK(with({.final_state = view(s.data(), 2, 2, 4, 4), .features = seqmix::dpfp_features{}}) ==
        "options.final_state");
  CHECK(with({.initial_state = view(s.data(), 2, 2, 4, 4), .features = seqmix::dpfp_features{}}) ==
        "options.initial_state");
  CHECK(with({.features = seqmix::dpfp_features{},
              .normalise = true,
              .final_normaliser = view(s.data(), 2, 2, 4)}) == "options.final_normaliser");
  // The other operators have no features.
  const auto gate = view(x.data(), 2, 9, 2);
  for (const bool keys : {false, true}) {
    seqmix::recurrence_options options;
    keys ? void(options.key_features = feature_map::relu)
         : void(options.features = feature_map::relu);
    try {
      seqmix::gated_delta_rule(rows(4), rows(4), v, gate, gate, out, options);
      CHECK(false);
    } catch (const seqmix::error& e) {
      CHECK(e.argument() == (keys ? "options.key_features" : "options.features"));
    }
  }
  CHECK(o == std::vector<float>(4096, -7));
  CHECK(s == std::vector<float>(200000, -7));
}
