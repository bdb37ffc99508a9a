// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "support/catch.hpp"
#include "support/counted_new.hpp"
#include "support/device_calls.hpp"

// This program's operator new counts: a call on device tensors that was made before allocates
// nothing on the host, and no memory on the device.

using namespace seqmix_test;
using seqmix::bf16;

namespace {

std::size_t free_device_memory() {
  std::size_t free = 0;
  std::size_t total = 0;
  cuda_check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return free;
}

}  // namespace

TEST_CASE("the second identical call on device tensors allocates nothing", "[steady]") {
  const cuda_stream stream;
  for (const call_form form : {call_form::batched, call_form::packed, call_form::cached}) {
    for (const std::int64_t T : {1, 200}) {
      attention_problem p(device_case<bf16>(T, 700, form));
      device_residence there(p);
      const seqmix::context ctx{.cuda_stream = stream.get()};
      with_device_views<bf16>(p, [&](const auto&... a) {
        seqmix::softmax_attention(a..., ctx);
        stream.synchronise();
        const std::size_t free = free_device_memory();
        const long before = allocations;
        for (int i = 0; i < 10; ++i) {
          seqmix::softmax_attention(a..., ctx);
        }
        const long during = allocations - before;
        stream.synchronise();
        CAPTURE(p.c);
        CHECK(during == 0);
        CHECK(free_device_memory() == free);
      });
      there.fetch_outputs();
      CHECK(verify(p, attention_reference(p)) == "");
    }
  }
}

TEST_CASE("a call on device tensors needs no workspace", "[steady]") {
  attention_case c{.B = 2, .T = 20, .S = 300, .H = 4, .HK = 2, .D = 64, .V = 64};
  c.types = device_types_of<bf16>();
  attention_problem p(c);
  CHECK(device_calls_for<bf16>().workspace_bytes(p, {}) == 0);
}
