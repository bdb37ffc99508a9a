// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <seqmix/ops/softmax_attention/alibi.hpp>
#include <vector>

#include "support/catch.hpp"

namespace {

std::vector<double> slopes_of(std::size_t heads) {
  std::vector<double> slopes(heads);
  seqmix::alibi_slopes(std::span(slopes));
  return slopes;
}

}  // namespace

TEST_CASE("slopes of a power of two of heads are a geometric sequence", "[softmax_attention]") {
  CHECK(slopes_of(8) ==
        std::vector<double>{0.5, 0.25, 0.125, 0x1p-4, 0x1p-5, 0x1p-6, 0x1p-7, 0x1p-8});
  CHECK(slopes_of(1) == std::vector<double>{0x1p-8});
  CHECK(slopes_of(2) == std::vector<double>{0x1p-4, 0x1p-8});
  const std::vector<double> sixteen = slopes_of(16);
  for (std::size_t h = 0; h < 16; ++h) {
    CHECK(std::abs(sixteen[h] / std::pow(0.5, 0.5 * static_cast<double>(h + 1)) - 1) < 1e-15);
  }
  CHECK(slopes_of(0).empty());
}

TEST_CASE("other head counts take every other slope of twice as many", "[softmax_attention]") {
  for (const std::size_t heads : {3u, 5u, 6u, 7u, 12u, 13u, 40u, 112u}) {
    std::size_t power = 1;
    while (power * 2 < heads) {
      power *= 2;
    }
    const std::vector<double> slopes = slopes_of(heads);
    const std::vector<double> base = slopes_of(power);
    const std::vector<double> twice = slopes_of(2 * power);
    for (std::size_t h = 0; h < heads; ++h) {
      CAPTURE(heads, h);
      CHECK(slopes[h] == (h < power ? base[h] : twice[2 * (h - power)]));
    }
  }
  std::vector<float> narrow(12);
  seqmix::alibi_slopes(std::span(narrow));
  CHECK(narrow[8] == static_cast<float>(std::exp2(-0.5)));
}
