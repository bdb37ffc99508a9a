// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <seqmix/cuda/common/gpu.hpp>
#include <vector>

#include "support/catch.hpp"
#include "support/cuda_graph.hpp"
#include "support/device_calls.hpp"

// What a process has to have done before its first call on a GPU: nothing. One case, in order,
// since each part needs what those before it must not have done.

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::device_policy;

TEST_CASE("the first calls of a process", "[first_call]") {
  attention_case c{.B = 2, .T = 90, .S = 130, .H = 4, .HK = 2, .D = 64, .V = 64, .causal = true};
  c.types = device_types_of<bf16>();
  attention_problem p(c);

  REQUIRE_FALSE(seqmix::cuda::has_context(0));
  p.clear_outputs();
  calls_for<bf16>().run(p, {});
  (void)calls_for<bf16>().explain(p, {.device = device_policy::cuda});
  constexpr std::int64_t N = 8192;  // only explained
  const std::vector<bf16> in(64);
  std::vector<bf16> out(N * 8 * 64);
  const seqmix::tensor_view<const bf16, 4> x{in.data(), {1, N, 8, 64}, {0, 0, 0, 1}};
  (void)seqmix::softmax_attention.explain(x, x, x, seqmix::view(out.data(), 1, N, 8, 64));
  // Neither a small call on host tensors nor an explanation creates a CUDA context.
  CHECK_FALSE(seqmix::cuda::has_context(0));

  // A captured call is the first on the device: nothing has to be warmed up.
  p.clear_outputs();
  const cuda_stream stream;
  device_residence there(p);
  CHECK(seqmix::cuda::has_context(0));
  cuda_graph captured(stream, [&] {
    with_device_views<bf16>(p, [&](const auto&... a) {
      seqmix::softmax_attention(a..., seqmix::context{.cuda_stream = stream.get()});
    });
  });
  captured.replay(stream);
  there.fetch_outputs();
  CHECK(verify(p, attention_reference(p)) == "");
}
