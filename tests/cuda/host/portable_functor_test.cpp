// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdint>
#include <limits>
#include <seqmix/cuda/softmax_attention/sm80/launch.cuh>
#include <utility>

#include "support/catch.hpp"
#include "support/emulated_functors.hpp"

// A user's functors inside the portable kernels, on an emulated GPU.

using namespace seqmix_test;

namespace {

/// In kernels that load in chunks of 16 bytes or element by element, whatever the tensors allow.
template <bool Vectors, class Functors>
void check_prefill(const attention_case& c, const Functors& functors, std::uint64_t seed) {
  check_functors(c, functors,
                 [&](const seqmix::softmax_attention_problem& call, const Functors& given) {
                   using namespace seqmix::cuda;
                   this_gpu = gpu_for(call, seed);
                   launch_prefill_as<portable, seqmix::bf16, 64, Vectors>(
                       emulated_plan(call, 0).params, given, nullptr);
                 });
}
template <bool Vectors, class Functors>
void check_decode(const attention_case& c, const Functors& functors, std::uint64_t seed) {
  constexpr std::int32_t any_number = std::numeric_limits<std::int32_t>::max();
  check_functors(c, functors,
                 [&](const seqmix::softmax_attention_problem& call, const Functors& given) {
                   using namespace seqmix::cuda;
                   this_gpu = gpu_for(call, seed);
                   launch_decode_as<portable, seqmix::bf16, 64, Vectors>(
                       emulated_plan(call, any_number).params, given, nullptr);
                 });
}

constexpr auto in_prefill = [](const attention_case& c, const auto& functors, std::uint64_t seed) {
  check_prefill<true>(c, functors, seed);
};
constexpr auto in_decode = [](const attention_case& c, const auto& functors, std::uint64_t seed) {
  check_decode<true>(c, functors, seed);
};

}  // namespace

TEST_CASE("functors change scores and hide pairs in prefill", "[portable]") {
  check_all_functors(std::array{std::pair{40, 300}, std::pair{150, 260}, std::pair{200, 90}},
                     in_prefill);
}

TEST_CASE("functors change scores and hide pairs in decode", "[portable]") {
  check_all_functors(std::array{std::pair{1, 300}, std::pair{8, 260}, std::pair{23, 90}},
                     in_decode);
}

TEST_CASE("lists of kept blocks in prefill and in decode", "[portable]") {
  check_lists(std::array{std::pair{150, 300}, std::pair{300, 500}}, in_prefill);
  check_lists(std::array{std::pair{1, 500}, std::pair{20, 300}}, in_decode);
}

TEST_CASE("functors where rows are loaded element by element", "[portable]") {
  attention_case c = functor_case(70, 150, 5);
  c.q = c.v = layout::strided;
  c.k = layout::reversed;
  const masked hidden{{}, {}, {test_mask::rule::chunks}};
  check_prefill<false>(c, hidden, 1);
  c.T = 5;
  check_decode<false>(c, hidden, 1);
}
