// SPDX-License-Identifier: Apache-2.0
// The same call from a unit for AVX2 and from a baseline one, in one program: each must run code of
// its own instruction set, whichever was linked first, and both must be right.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "header_path.hpp"

namespace {

// The equation in double.
std::vector<double> expected(const std::vector<float>& q, const std::vector<float>& k,
                             const std::vector<float>& v) {
  using namespace odr;
  std::vector<double> o(static_cast<std::size_t>(queries * heads * dim));
  const auto at = [](std::int64_t t, std::int64_t h, std::int64_t d) {
    return static_cast<std::size_t>((t * heads + h) * dim + d);
  };
  for (std::int64_t h = 0; h < heads; ++h) {
    for (std::int64_t i = 0; i < queries; ++i) {
      double sum = 0;
      for (std::int64_t j = 0; j <= i + keys - queries; ++j) {
        double score = 0;
        for (std::int64_t d = 0; d < dim; ++d) {
          score += double{q[at(i, h, d)]} * double{k[at(j, h, d)]};
        }
        const double weight = std::exp(score / std::sqrt(static_cast<double>(dim)));
        sum += weight;
        for (std::int64_t d = 0; d < dim; ++d) {
          o[at(i, h, d)] += weight * double{v[at(j, h, d)]};
        }
      }
      for (std::int64_t d = 0; d < dim; ++d) {
        o[at(i, h, d)] /= sum;
      }
    }
  }
  return o;
}

}  // namespace

int main() {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    std::puts("skip: this CPU has no AVX2");
    return 77;
  }
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const auto make = [&](std::int64_t n) {
    std::vector<float> x(static_cast<std::size_t>(n * odr::heads * odr::dim));
    std::generate(x.begin(), x.end(), [&] { return normal(random); });
    return x;
  };
  const auto q = make(odr::queries), k = make(odr::keys), v = make(odr::keys);
  const auto wanted = expected(q, k, v);

  int failures = 0;
  const auto check = [&](const char* unit, auto attend) {
    std::vector<float> o(wanted.size(), std::nanf(""));
    const std::string target = attend(q.data(), k.data(), v.data(), o.data());
    double worst = 0;
    bool right = true;
    for (std::size_t i = 0; i < o.size(); ++i) {
      const double difference = std::abs(double{o[i]} - wanted[i]);
      worst = std::max(worst, difference);
      right = right && difference < 1e-5;  // false for NaN
    }
    std::printf("%-9s ran on %-16s largest error %.2g  %s\n", unit, target.c_str(), worst,
                right ? "ok" : "WRONG");
    failures += right ? 0 : 1;
    return target;
  };
  const std::string baseline = check("baseline", odr::baseline::attend);
  const std::string avx2 = check("avx2", odr::avx2::attend);
  if (baseline.find("sse2") == std::string::npos || avx2 == baseline) {
    std::puts("WRONG: a unit runs code of the other's instruction set");
    ++failures;
  }
  return failures == 0 ? 0 : 1;
}
