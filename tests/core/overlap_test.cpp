// SPDX-License-Identifier: Apache-2.0
#include <seqmix/core/overlap.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"

using seqmix::any_out;
using seqmix::any_view;
using seqmix::tensor_view;
using seqmix::detail::overlap;
using seqmix::detail::overlaps_itself;

namespace {

// Large enough for the largest view that random_view makes.
alignas(8) std::byte buffer[1 << 15];

template <class T, std::size_t Rank>
any_view<Rank> at(std::int64_t element, std::array<std::int64_t, Rank> extents,
                  std::array<std::int64_t, Rank> strides) {
  return tensor_view<const T, Rank>{reinterpret_cast<const T*>(buffer) + element,
                                    seqmix::index_list<Rank>(extents),
                                    seqmix::index_list<Rank>(strides)};
}

/// How many elements of the view each byte of the buffer belongs to: 0, 1, or 2 for more.
template <std::size_t Rank>
std::vector<std::uint8_t> touched(const any_view<Rank>& v) {
  std::vector<std::uint8_t> count(sizeof(buffer));
  const auto size = static_cast<std::int64_t>(seqmix::size_of(v.type));
  for (std::int64_t n = 0; n < v.size(); ++n) {
    std::int64_t rest = n;
    std::int64_t offset = 0;
    for (std::size_t a = Rank; a-- > 0;) {
      offset += rest % v.extents[a] * v.strides[a];
      rest /= v.extents[a];
    }
    const std::int64_t byte = static_cast<const std::byte*>(v.data) - buffer + offset * size;
    for (std::int64_t i = 0; i < size; ++i) {
      auto& n_here = count.at(static_cast<std::size_t>(byte + i));
      n_here = static_cast<std::uint8_t>(n_here == 0 ? 1 : 2);
    }
  }
  return count;
}

struct tally {
  int sharing = 0;
  int apart = 0;
  int apart_but_doubted = 0;
  int missed = 0;
};

template <std::size_t Rank>
any_view<Rank> random_view(std::mt19937& random, bool nested) {
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  std::array<std::int64_t, Rank> extents;
  std::array<std::int64_t, Rank> strides;
  std::int64_t step = pick(1, 3);
  for (std::size_t a = Rank; a-- > 0;) {
    extents[a] = pick(0, 12) == 0 ? 0 : pick(1, 4);
    strides[a] = nested ? step : pick(-9, 9);
    step *= extents[a] + pick(0, 2);
  }
  const std::int64_t begin = 380 + pick(-40, 40);
  switch (pick(0, 2)) {
    case 0:
      return at<seqmix::f16, Rank>(begin * 2, extents, strides);
    case 1:
      return at<double, Rank>(begin / 2, extents, strides);
    default:
      return at<float, Rank>(begin, extents, strides);
  }
}

template <std::size_t RankX, std::size_t RankY>
void compare(std::mt19937& random, int rounds, bool nested, tally& pairs, tally& selves) {
  for (int i = 0; i < rounds; ++i) {
    const auto x = random_view<RankX>(random, nested);
    const auto y = random_view<RankY>(random, nested);
    const auto in_x = touched(x);
    const auto in_y = touched(y);
    bool shares = false;
    for (std::size_t b = 0; b < in_x.size(); ++b) {
      shares |= in_x[b] > 0 && in_y[b] > 0;
    }
    const bool reported = overlap(x, y);
    pairs.sharing += shares;
    pairs.apart += !shares;
    pairs.missed += shares && !reported;
    pairs.apart_but_doubted += !shares && reported;
    pairs.missed += reported != overlap(y, x);  // symmetric

    const bool twice = std::any_of(in_x.begin(), in_x.end(), [](auto n) { return n > 1; });
    selves.sharing += twice;
    selves.apart += !twice;
    selves.missed += twice && !overlaps_itself(x);
    selves.apart_but_doubted += !twice && overlaps_itself(x);
  }
}

tally compare_all(bool nested, tally& selves) {
  std::mt19937 random(nested ? 3 : 7);
  tally pairs;
  compare<1, 1>(random, 4000, nested, pairs, selves);
  compare<2, 1>(random, 4000, nested, pairs, selves);
  compare<2, 2>(random, 8000, nested, pairs, selves);
  compare<3, 2>(random, 6000, nested, pairs, selves);
  compare<3, 3>(random, 6000, nested, pairs, selves);
  compare<4, 3>(random, 4000, nested, pairs, selves);
  return pairs;
}

}  // namespace

TEST_CASE("views of arbitrary strides: sharing is never denied") {
  tally selves;
  const tally pairs = compare_all(false, selves);
  INFO("pairs " << pairs.sharing << " sharing, " << pairs.apart << " apart, "
                << pairs.apart_but_doubted << " of these doubted");
  CHECK(pairs.missed == 0);
  CHECK(selves.missed == 0);
  // The sample must hold enough of both kinds for the lines above to mean something.
  CHECK(pairs.sharing > 3000);
  CHECK(pairs.apart > 3000);
  CHECK(selves.sharing > 3000);
  CHECK(selves.apart > 3000);
}

TEST_CASE("views whose strides nest: sharing is never denied, and rarely suspected") {
  tally selves;
  const tally pairs = compare_all(true, selves);
  INFO("pairs " << pairs.sharing << " sharing, " << pairs.apart << " apart, "
                << pairs.apart_but_doubted << " of these doubted");
  CHECK(pairs.missed == 0);
  CHECK(selves.missed == 0);
  CHECK(selves.apart_but_doubted == 0);
  CHECK(pairs.sharing > 3000);
  CHECK(pairs.apart > 3000);
  CHECK(pairs.apart_but_doubted < pairs.apart / 2);
}

TEST_CASE("self-overlap") {
  CHECK(!overlaps_itself(at<float, 2>(0, {3, 4}, {4, 1})));
  CHECK(!overlaps_itself(at<float, 2>(0, {3, 4}, {1, 3})));
  CHECK(!overlaps_itself(at<float, 2>(20, {3, 4}, {-4, -1})));
  CHECK(!overlaps_itself(at<float, 2>(0, {3, 4}, {10, 2})));
  CHECK(overlaps_itself(at<float, 2>(0, {3, 4}, {3, 1})));
  CHECK(overlaps_itself(at<float, 2>(0, {3, 4}, {0, 1})));
  CHECK(overlaps_itself(at<float, 2>(20, {3, 4}, {-3, 1})));
  // An axis of one entry, or a view without any, cannot.
  CHECK(!overlaps_itself(at<float, 2>(0, {1, 4}, {0, 1})));
  CHECK(!overlaps_itself(at<float, 2>(0, {0, 4}, {0, 0})));
}

TEST_CASE("the slices of a fused projection are apart") {
  constexpr std::int64_t T = 5, H = 3, D = 4, width = 3 * H * D;
  const auto slice = [&](std::int64_t which) {
    return at<float, 3>(which * H * D, {T, H, D}, {width, D, 1});
  };
  for (int a = 0; a < 3; ++a) {
    for (int b = 0; b < 3; ++b) {
      CHECK(overlap(slice(a), slice(b)) == (a == b));
    }
  }
  // One column too many reaches into the neighbour.
  const auto wide = at<float, 3>(0, {T, H, D + 1}, {width, D, 1});
  CHECK(overlap(wide, slice(1)));
  // Heads of q and k that alternate within one row.
  const auto even = at<float, 3>(0, {T, H, D}, {2 * H * D, 2 * D, 1});
  const auto odd = at<float, 3>(D, {T, H, D}, {2 * H * D, 2 * D, 1});
  CHECK(!overlap(even, odd));
  CHECK(!overlap(odd, even));
}

TEST_CASE("ranges, broadcasts and empties") {
  const auto first = at<float, 1>(0, {8}, {1});
  CHECK(!overlap(first, at<float, 1>(8, {8}, {1})));
  CHECK(overlap(first, at<float, 1>(7, {8}, {1})));
  CHECK(overlap(first, at<float, 1>(14, {8}, {-1})));
  CHECK(!overlap(first, at<float, 1>(15, {8}, {-1})));
  CHECK(overlap(first, at<float, 1>(7, {1}, {0})));
  CHECK(overlap(first, at<float, 2>(7, {3, 1}, {0, 0})));
  CHECK(!overlap(first, at<float, 1>(3, {0}, {1})));
  CHECK(!overlap(first, any_view<3>{}));
  // Types of different sizes: bytes count, not elements.
  CHECK(overlap(first, at<seqmix::f16, 1>(15, {1}, {1})));
  CHECK(!overlap(first, at<seqmix::f16, 1>(16, {1}, {1})));
}

TEST_CASE("an input and an output may be compared") {
  float x[8] = {};
  const any_out<1> out = seqmix::view(x, 4);
  CHECK(overlap(out, any_view<1>(seqmix::view(x + 3, 4))));
  CHECK(!overlap(out, any_view<1>(seqmix::view(x + 4, 4))));
}
