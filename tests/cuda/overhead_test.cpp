// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "empty_kernel.hpp"
#include "support/catch.hpp"
#include "support/device_calls.hpp"

// What a call costs beyond the launch of a kernel.

using namespace seqmix_test;
using seqmix::bf16;

namespace {

struct microseconds {
  double host;   ///< until a call returns
  double total;  ///< until its work is done, calls back to back
};

/// Medians over batches that fit into a stream's queue, so that no call waits for room.
template <class F>
microseconds time_of(const cuda_stream& stream, F&& call) {
  using clock = std::chrono::steady_clock;
  using duration = std::chrono::duration<double, std::micro>;
  constexpr int calls = 200;
  std::vector<double> host;
  std::vector<double> total;
  for (int batch = 0; batch < 50; ++batch) {
    stream.synchronise();
    const auto begin = clock::now();
    for (int i = 0; i < calls; ++i) {
      call();
    }
    const auto enqueued = clock::now();
    stream.synchronise();
    const auto end = clock::now();
    host.push_back(duration(enqueued - begin).count() / calls);
    total.push_back(duration(end - begin).count() / calls);
  }
  std::sort(host.begin(), host.end());
  std::sort(total.begin(), total.end());
  return {host[host.size() / 2], total[total.size() / 2]};
}

}  // namespace

TEST_CASE("a call costs little more than a kernel launch", "[overhead]") {
  const cuda_stream stream;
  const microseconds empty =
      time_of(stream, [&] { cuda_check(launch_empty(stream.get()), "launch_empty"); });
  const seqmix::context ctx{.cuda_stream = stream.get()};
  for (const std::int64_t T : {1, 80}) {
    for (const call_form form : {call_form::batched, call_form::packed, call_form::cached}) {
      attention_case c{.T = T, .S = 80, .D = 64, .V = 64, .causal = true, .form = form};
      c.types = device_types_of<bf16>();
      attention_problem p(c);
      device_residence there(p);
      microseconds call{};
      with_device_views<bf16>(p, [&](const auto&... a) {
        call = time_of(stream, [&] { seqmix::softmax_attention(a..., ctx); });
      });
      std::printf(
          "%s, %lld queries: a call takes %.2f us of the host and %.2f us in all, an empty kernel "
          "%.2f and %.2f us\n",
          name(form), static_cast<long long>(T), call.host, call.total, empty.host, empty.total);
      std::fflush(stdout);
      // Packed sequences may be for either kernel, which the host does not know: both are launched.
      const int launches = form == call_form::packed && T > 1 ? 2 : 1;
      CHECK(call.host - launches * empty.host < 6.0);
      there.fetch_outputs();
      CHECK(verify(p, attention_reference(p)) == "");
    }
  }
}
