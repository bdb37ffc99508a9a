// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <seqmix/ops/features/features.hpp>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/counted_new.hpp"
#include "support/feature_parameters.hpp"
#include "support/pool.hpp"
#include "support/tolerance.hpp"

using namespace seqmix_test;
using seqmix::any_feature_map;
using seqmix::feature_map;
using seqmix::feature_role;

namespace {

constexpr double quiet_nan = std::numeric_limits<double>::quiet_NaN();

/// The features of single rows of one head, in double.
std::vector<double> features_of(const std::vector<double>& x, std::int64_t K,
                                const any_feature_map& map,
                                feature_role role = feature_role::query) {
  const std::int64_t T = static_cast<std::int64_t>(x.size()) / K;
  const std::int64_t F = seqmix::feature_count(map, K);
  std::vector<double> o(static_cast<std::size_t>(T * F));
  seqmix::features(seqmix::view(x.data(), 1, T, 1, K), seqmix::view(o.data(), 1, T, 1, F),
                   {.map = map, .role = role});
  return o;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

std::vector<double> normal_row(std::size_t K, std::uint64_t seed, double magnitude = 1) {
  std::vector<double> x;
  for (std::size_t i = 0; i < K; ++i) {
    x.push_back(magnitude * normal(seed * 1000 + i));
  }
  return x;
}

template <class TX, class TO>
int check_maps(std::uint64_t seed) {
  constexpr layout layouts[] = {layout::dense,      layout::padded,   layout::strided,
                                layout::head_first, layout::reversed, layout::misaligned,
                                layout::broadcast};
  constexpr scalar_type to = seqmix::scalar_type_of<TO>;
  int cases = 0;
  for (const named_map which : every_named_map) {
    for (const std::int64_t K : {1, 3, 8, 16, 21}) {
      for (const std::int64_t T : {0, 1, 37}) {
        ++seed;
        ++cases;
        const feature_parameters parameters(K, 3, seed);
        const any_feature_map map = parameters.map(which);
        const std::int64_t F = seqmix::feature_count(map, K);
        tensor<4> x(seqmix::scalar_type_of<TX>, {2, T, 3, K}, layouts[seed % 7]);
        tensor<4> o(to, {2, T, 3, F}, layouts[seed % 6]), expected(scalar_type::f64, {2, T, 3, F});
        x.fill(seed);
        if (which == named_map::kernel_hash && T > 0) {
          parameters.away_from_zero(x);
        }
        const feature_role role = seed % 2 == 0 ? feature_role::key : feature_role::query;
        const seqmix::features_options options{.map = map, .role = role};
        pool_executor pool(1 + static_cast<int>(seed % 3), seed);
        guarded_workspace scratch(seqmix::features.workspace_bytes(x.view<const TX>(), o.view<TO>(),
                                                                   options, {.executor = pool}));
        seqmix::context ctx{.executor = pool};
        ctx.workspace = scratch.span();
        seqmix::features(x.view<const TX>(), o.view<TO>(), options, ctx);
        seqmix::naive_features(x.view<const TX>(), expected.view<double>(), options);
        CAPTURE(static_cast<int>(which), K, T, seed);
        CHECK(compare(o.values(), expected.values(), tolerance_of(to), bound::ceiling, 0.01) == "");
        CHECK(o.gaps_untouched());
        CHECK(scratch.guards_untouched());
        // The same bits by a call on other memory, in one thread.
        tensor<4> again(to, {2, T, 3, F});
        seqmix::features(x.view<const TX>(), again.view<TO>(), options);
        CHECK(again.all_bits() == o.all_bits());
      }
    }
  }
  return cases;
}

}  // namespace

TEST_CASE("features against their definitions", "[features][threads]") {
  int cases = check_maps<float, float>(100) + check_maps<double, double>(1000);
  cases += check_maps<seqmix::bf16, float>(2000) + check_maps<seqmix::f16, seqmix::f16>(3000);
  std::printf("features: %d cases\n", cases);
}

TEST_CASE("feature maps by hand", "[features][F01]") {
  const tolerance t = tolerance_of(scalar_type::f64);
  const std::vector<double> x{1, -2};
  CHECK(compare(features_of(x, 2, feature_map::softmax),
                {1 / (1 + std::exp(-3.0)), 1 / (1 + std::exp(3.0))}, t) == "");
  CHECK(features_of({0, -0.0, -3, 5}, 4, feature_map::sign) == std::vector<double>{1, 1, -1, 1});
  // x' = [1, 0, 0, 2]; rolled by one [2, 1, 0, 0], by two [0, 2, 1, 0].
  CHECK(features_of(x, 2, seqmix::dpfp_features{.nu = 2}) ==
        std::vector<double>{2, 0, 0, 0, 0, 0, 0, 0});
  // x' = [3, 0.5, 0, 0] and [3, 0.5, -3, -0.5].
  CHECK(features_of({3, 0.5}, 2, seqmix::dpfp_features{}) == std::vector<double>{0, 1.5, 0, 0});
  CHECK(features_of({3, 0.5}, 2, seqmix::dpfp_features{.published = true}) ==
        std::vector<double>{-1.5, 1.5, -1.5, 1.5});
  CHECK(compare(features_of({2, 3}, 2, seqmix::taylor2_features{}),
                {1, 2 / std::pow(2, 0.25), 3 / std::pow(2, 0.25), 2, 3, 3, 4.5}, t) == "");
  CHECK(compare(features_of({2, 3}, 2, seqmix::taylor2_features{.symmetric = true}),
                {1, 2 / std::pow(2, 0.25), 3 / std::pow(2, 0.25), 2, 3 * std::sqrt(2), 4.5},
                t) == "");
  CHECK(compare(features_of({2, -3}, 2, seqmix::cosformer_features{.length = 3, .first = 1}),
                {std::sqrt(3), 0, 1, 0}, t) == "");
}

TEST_CASE("F02_three_maps", "[features][F02]") {
  const std::vector<double> x{1, -0.5, 0.25};
  const auto map = [&](feature_map which) {
    return features_of(x, 3, seqmix::hedgehog_features{.map = which});
  };
  const std::vector<double> maps[] = {map(feature_map::hedgehog_exponential),
                                      map(feature_map::hedgehog_softmax),
                                      map(feature_map::hedgehog_softmaxes)};
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < i; ++j) {
      CHECK(measure(maps[i], maps[j]).rms > 0.1);
    }
  }
  const auto sum = [](const std::vector<double>& y, std::size_t begin, std::size_t end) {
    double s = 0;
    for (std::size_t i = begin; i < end; ++i) {
      s += y[i];
    }
    return s;
  };
  CHECK(std::fabs(sum(maps[1], 0, 6) - 1) < 1e-14);
  CHECK(std::fabs(sum(maps[2], 0, 3) - 1) < 1e-14);
  CHECK(std::fabs(sum(maps[2], 3, 6) - 1) < 1e-14);
  CHECK(std::fabs(maps[0][1] - std::exp(-0.5)) < 1e-14);
  CHECK(std::fabs(maps[0][4] - std::exp(0.5)) < 1e-14);
  // A weight that is the identity is none.
  const std::vector<double> one{1, 0, 0, 0, 1, 0, 0, 0, 1};
  CHECK(features_of(x, 3,
                    seqmix::hedgehog_features{.map = feature_map::hedgehog_softmax,
                                              .weight = seqmix::view(one.data(), 1, 3, 3)}) ==
        maps[1]);
}

TEST_CASE("F03: products of Taylor features are the series, in both storages", "[features][F03]") {
  for (const std::size_t K : {1U, 2U, 16U, 21U}) {
    const std::vector<double> q = normal_row(K, 1), k = normal_row(K, 2);
    const double z = dot(q, k) / std::sqrt(static_cast<double>(K));
    for (const bool symmetric : {false, true}) {
      const seqmix::taylor2_features map{.symmetric = symmetric};
      const auto n = static_cast<std::int64_t>(K);
      const double product = dot(features_of(q, n, map), features_of(k, n, map));
      CHECK(std::fabs(product - (1 + z + z * z / 2)) < 1e-13);
    }
  }
}

TEST_CASE("F04: random features estimate e^(q.k) without bias", "[features][F04]") {
  constexpr std::int64_t K = 8, m = 64;
  const std::vector<double> q = normal_row(K, 5), k = normal_row(K, 6);
  const double exact = std::exp(dot(q, k) / std::sqrt(static_cast<double>(K)));
  std::mt19937_64 generator(7);
  std::vector<double> projection(K * m);
  double sum = 0, squares = 0;
  constexpr int draws = 2000;
  for (int i = 0; i < draws; ++i) {
    const auto w = seqmix::view(projection.data(), 1, K, m);
    seqmix::fill_orthogonal_projection(w, generator);
    const seqmix::random_features map{.projection = w};
    const double estimate = dot(features_of(q, K, map), features_of(k, K, map, feature_role::key));
    sum += estimate;
    squares += estimate * estimate;
  }
  const double mean = sum / draws;
  const double deviation = std::sqrt((squares / draws - mean * mean) / draws);
  CAPTURE(exact, mean, deviation);
  CHECK(deviation < 0.03 * exact);
  CHECK(std::fabs(mean - exact) < 4 * deviation);
}

TEST_CASE("F04: projections are orthogonal, with lengths of normal vectors", "[features][F04]") {
  constexpr std::int64_t K = 12, m = 30;
  std::mt19937 generator(3);
  std::vector<double> w(2 * K * m);
  seqmix::fill_orthogonal_projection(seqmix::view(w.data(), 2, K, m), generator);
  const auto at = [&](std::int64_t h, std::int64_t i, std::int64_t j) {
    return w[static_cast<std::size_t>((h * K + i) * m + j)];
  };
  double lengths = 0;
  for (std::int64_t h = 0; h < 2; ++h) {
    for (std::int64_t a = 0; a < m; ++a) {
      for (std::int64_t b = 0; b <= a; ++b) {
        double product = 0;
        for (std::int64_t i = 0; i < K; ++i) {
          product += at(h, i, a) * at(h, i, b);
        }
        if (a == b) {
          lengths += product;
          CHECK(product > 1);
        } else if (a / K == b / K) {
          CHECK(std::fabs(product) < 1e-12);
        }
      }
    }
  }
  CHECK(std::fabs(lengths / (2 * m) - K) < 2.5);  // their mean has deviation sqrt(2 K / 60)
  CHECK(at(0, 0, 0) != at(1, 0, 0));
  CHECK(at(0, 0, 0) != at(0, 0, K));
}

TEST_CASE("F05: products of hashes are agreements and a constant", "[features][F05]") {
  const feature_parameters parameters(16, 1, 2);
  const std::vector<double> x = normal_row(16, 9), y = normal_row(16, 10);
  const std::vector<double> a = features_of(x, 16, parameters.kernel_hash());
  const std::vector<double> b = features_of(y, 16, parameters.kernel_hash());
  double expected = 17;
  for (std::size_t i = 0; i < 16; ++i) {
    CHECK(a[i] == (parameters.hashed(x, 0)[i] < 0 ? -1 : 1));
    expected += a[i] * b[i];
  }
  CHECK(std::fabs(dot(a, b) - expected) < 1e-13);
  // The length of a row is no part of its hash.
  std::vector<double> longer = x;
  for (double& e : longer) {
    e *= 8;
  }
  CHECK(features_of(longer, 16, parameters.kernel_hash()) == a);
}

TEST_CASE("features far out of range", "[features]") {
  for (const double magnitude : {60.0, 1e4}) {
    const std::vector<double> x = normal_row(16, 4, magnitude);
    for (const feature_map map :
         {feature_map::softmax, feature_map::hedgehog_softmax, feature_map::hedgehog_softmaxes,
          feature_map::sigmoid, feature_map::silu, feature_map::elu_plus_1}) {
      std::vector<float> narrow(x.begin(), x.end()), o(32);
      std::vector<double> expected(32);
      const std::int64_t F = seqmix::feature_count(map, 16);
      const auto in = seqmix::view(narrow.data(), 1, 1, 1, 16);
      seqmix::features(in, seqmix::view(o.data(), 1, 1, 1, F), {.map = map});
      seqmix::naive_features(in, seqmix::view(expected.data(), 1, 1, 1, F), {.map = map});
      CAPTURE(static_cast<int>(map), magnitude);
      CHECK(compare({o.begin(), o.end()}, expected, tolerance_of(scalar_type::f32)) == "");
    }
  }
}

TEST_CASE("a NaN stays in its row; no allocation; the packed form", "[features]") {
  for (const named_map which : every_named_map) {
    const feature_parameters parameters(9, 2, 6);
    const seqmix::features_options options{.map = parameters.map(which)};
    const std::int64_t F = seqmix::feature_count(options.map, 9);
    tensor<4> x(scalar_type::f32, {1, 5, 2, 9}), o(scalar_type::f32, {1, 5, 2, F});
    x.fill(3);
    seqmix::features(x.view<const float>(), o.view<float>(), options);
    const tensor<4> clean = o;
    const long before = allocations;
    seqmix::features(x.packed_view<const float>(), o.packed_view<float>(), options);
    CHECK(allocations == before);
    CAPTURE(static_cast<int>(which));
    CHECK(o.all_bits() == clean.all_bits());
    x.set({0, 2, 1, 4}, quiet_nan);
    seqmix::features(x.view<const float>(), o.view<float>(), options);
    bool same = true, hit = false;
    o.for_each([&](const tensor<4>::index& i) {
      const bool row = i[1] == 2 && i[2] == 1;
      same = same && (row || o.bits(i) == clean.bits(i));
      hit = hit || (row && std::isnan(o[i]));
    });
    CHECK(same);
    CHECK(hit);
  }
}

TEST_CASE("calls of features that break the contract are refused", "[features][refusals]") {
  std::vector<float> x(4096, 0.25F), o(4096, -7);
  using seqmix::view;
  const auto in = view(x.data(), 2, 3, 2, 4);
  const auto refused = [&](const auto& from, const auto& to,
                           const seqmix::features_options& options) {
    std::string argument;
    const auto check = [&](auto&& call) {
      try {
        call();
        argument = "nothing";
      } catch (const seqmix::error& e) {
        CHECK(e.operator_name() == "features");
        argument = e.argument();
      }
    };
    check([&] { seqmix::features(from, to, options); });
    const std::string first = argument;
    check([&] { seqmix::features.explain(from, to, options); });
    CHECK(argument == first);
    check([&] { seqmix::features.workspace_bytes(from, to, options); });
    CHECK(argument == first);
    check([&] { seqmix::naive_features(from, to, options); });
    CHECK(argument == first);
    return first;
  };
  const auto same = view(o.data(), 2, 3, 2, 4);
  CHECK(refused(in, view(o.data(), 2, 3, 2, 5), {.map = feature_map::relu}) == "o");
  CHECK(refused(in, same, {.map = seqmix::taylor2_features{}}) == "o");
  CHECK(refused(in, view(x.data() + 2, 2, 3, 2, 4), {.map = feature_map::relu}) == "o");
  CHECK(refused(view(x.data(), 1, 1, 1, 0), view(o.data(), 1, 1, 1, 0), {}) == "x.extent(K)");
  CHECK(refused(view(x.data(), 1, 1, 1, 513), view(o.data(), 1, 1, 1, 513), {}) == "x.extent(K)");
  CHECK(refused(in, same, {.map = feature_map::unspecified}) == "options.map");
  CHECK(refused(in, same, {.map = feature_map::cosformer}) == "options.map");
  CHECK(refused(in, same, {.role = static_cast<feature_role>(7)}) == "options.role");
  CHECK(refused(in, view(o.data(), 2, 3, 2, 8),
                {.map = seqmix::random_features{.projection = view(o.data() + 8, 1, 4, 8)}}) ==
        "o");
  CHECK(o == std::vector<float>(4096, -7));
}
