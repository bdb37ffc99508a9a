// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdint>
#include <seqmix/cuda/softmax_attention/sm90/launch.cuh>
#include <utility>

#include "support/catch.hpp"
#include "support/emulated_functors.hpp"

// A user's functors inside the Hopper prefill kernel, on an emulated GPU.

using namespace seqmix_test;

namespace {

constexpr auto check = [](const attention_case& c, const auto& functors, std::uint64_t seed) {
  check_functors(c, functors,
                 [&](const seqmix::softmax_attention_problem& call, const auto& given) {
                   this_gpu = {.processors = 2, .seed = seed};
                   seqmix::cuda::launch_hopper_prefill_with<seqmix::bf16, 64>(hopper_params(call),
                                                                              given, nullptr);
                 });
};

}  // namespace

TEST_CASE("functors change scores and hide pairs in the kernel", "[hopper]") {
  // Of the last ones' packed sequences some have no keys: functors are not asked about those.
  check_all_functors(
      std::array{std::pair{40, 300}, std::pair{150, 260}, std::pair{200, 90}, std::pair{100, 1}},
      check);
}

TEST_CASE("lists of kept blocks in the kernel", "[hopper]") {
  check_lists(std::array{std::pair{150, 300}, std::pair{300, 500}}, check);
}
