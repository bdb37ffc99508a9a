// SPDX-License-Identifier: Apache-2.0
#include "scan_problem.hpp"

#include <string>

using namespace seqmix_test;
using seqmix::elementwise_scan;
using seqmix::linear_gate;
using seqmix::tensor_view;

namespace {

template <class T>
constexpr scalar_type type_of = std::is_same_v<T, float>  ? scalar_type::f32
                                : std::is_same_v<T, bf16> ? scalar_type::bf16
                                                          : scalar_type::f16;

template <class T>
std::string algorithm_of(const scan_problem& p) {
  std::string algorithm;
  scan_with<T, T, T>(
      [&](const auto&... x) { algorithm = elementwise_scan.explain(x...).algorithm; }, p,
      p.options());
  return algorithm;
}

/// Rows that are read and written where they lie, beside the same numbers in blocks and beside the
/// definition.
template <class T>
void check_rows(scanned monoid) {
  for (const std::int64_t D : {5, 16, 37, 96, 203}) {
    scan_case c{.monoid = monoid,
                .B = 2,
                .T = 70,
                .D = D,
                .exclusive = D % 2 == 0,
                .reverse = D % 3 == 0,
                .initial = true,
                .final = true};
    c.a_type = c.b_type = c.o_type = type_of<T>;
    CAPTURE(c);
    scan_problem rows(c);
    c.a = c.b = c.o = layout::strided;
    scan_problem blocks(c);
    CHECK(algorithm_of<T>(rows) == "rows");
    CHECK(algorithm_of<T>(blocks) == "blocks");
    scan_with<T, T, T>(elementwise_scan, rows, rows.options());
    scan_with<T, T, T>(elementwise_scan, blocks, blocks.options());
    CHECK(rows.o.all_bits() == blocks.o.all_bits());
    CHECK(rows.final.all_bits() == blocks.final.all_bits());
    CHECK(compare(results(rows), expected_scan(rows), tolerance_of(c.o_type), bound::target,
                  1e-3) == "");
  }
}

/// Some channels of a tensor [1, T, D, parts], or [1, D, T, parts] of time that is contiguous.
template <class E>
tensor_view<E, 4> channels_of(const tensor<4>& x, bool over_time, std::int64_t first,
                              std::int64_t n) {
  const auto v = x.view<E>();
  const std::size_t time = over_time ? 2 : 1;
  const std::size_t channel = over_time ? 1 : 2;
  return {v.data_handle() + first * v.stride(channel),
          {1, v.extent(time), n, v.extent(3)},
          {v.stride(0), v.stride(time), v.stride(channel), v.stride(3)}};
}
template <class E>
tensor_view<E, 3> real_parts(const tensor_view<E, 4>& v) {
  return {v.data_handle(),
          {v.extent(0), v.extent(1), v.extent(2)},
          {v.stride(0), v.stride(1), v.stride(2)}};
}

/// Outputs of more than 8 MiB in whole cache lines, beside slices of them that are neither.
template <class T>
void check_large_outputs(std::int64_t parts, bool over_time) {
  CAPTURE(parts, over_time, sizeof(T));
  constexpr std::int64_t D = 528;
  constexpr std::int64_t tokens = 64 * (std::int64_t{9 << 20} / (64 * D * std::int64_t{sizeof(T)}));
  const tensor<4>::index shape =
      over_time ? tensor<4>::index{1, D, tokens, parts} : tensor<4>::index{1, tokens, D, parts};
  tensor<4> x(type_of<T>, shape), o(type_of<T>, shape);
  x.fill(3, 0.6);
  const auto scan = [&](std::int64_t first, std::int64_t n) {
    const auto in = channels_of<const T>(x, over_time, first, n);
    const auto out = channels_of<T>(o, over_time, first, n);
    if (parts == 2) {
      elementwise_scan(linear_gate(in), in, out, {.monoid = seqmix::scan_monoid::affine_complex});
    } else {
      elementwise_scan(linear_gate(real_parts(in)), real_parts(in), real_parts(out));
    }
  };
  scan(0, D);
  const std::vector<std::uint64_t> whole = o.all_bits();
  o.clear();
  for (std::int64_t d = 0; d < D; d += 66) {
    scan(d, 66);
  }
  CHECK(o.all_bits() == whole);
}

}  // namespace

TEST_CASE("rows of one type are read and written where they lie", "[elementwise_scan]") {
  for (const scanned monoid : {scanned::log, scanned::linear, scanned::complex,
                               scanned::log_sum_exp, scanned::max, scanned::sum}) {
    check_rows<float>(monoid);
    check_rows<bf16>(monoid);
    check_rows<f16>(monoid);
  }
}

TEST_CASE("large outputs of any layout are the same past the caches", "[elementwise_scan]") {
  check_large_outputs<float>(1, false);
  check_large_outputs<float>(1, true);
  check_large_outputs<float>(2, false);
  check_large_outputs<bf16>(1, false);
  check_large_outputs<bf16>(1, true);
  check_large_outputs<bf16>(2, false);
}
