// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/cuda_graph.hpp"
#include "support/device_calls.hpp"
#include "support/packed_problem.hpp"

// Calls on device tensors only enqueue work on the caller's stream, so that graphs can hold them.

using namespace seqmix_test;
using seqmix::bf16;

namespace {

/// Work on a stream that lasts until it is released, or for 30 seconds.
class blocker {
 public:
  explicit blocker(const cuda_stream& stream) : stream_(stream) {
    cuda_check(cudaLaunchHostFunc(stream.get(), &wait, this), "cudaLaunchHostFunc");
  }
  blocker(const blocker&) = delete;
  blocker& operator=(const blocker&) = delete;
  ~blocker() {
    released_ = true;
    cuda_note(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
  }
  void release() noexcept { released_ = true; }
  bool ended() const noexcept { return ended_; }

 private:
  static void CUDART_CB wait(void* p) {
    auto* self = static_cast<blocker*>(p);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!self->released_ && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    self->ended_ = true;
  }

  const cuda_stream& stream_;
  std::atomic<bool> released_{false};
  std::atomic<bool> ended_{false};
};

void call(attention_problem& p, const cuda_stream& stream, seqmix::context ctx = {}) {
  ctx.cuda_stream = stream.get();
  with_device_views<bf16>(p, [&](const auto&... a) { seqmix::softmax_attention(a..., ctx); });
}

attention_case case_of(std::int64_t T, std::int64_t S, call_form form) {
  attention_case c{.B = 3,
                   .T = T,
                   .S = S,
                   .H = 8,
                   .HK = 2,
                   .D = 128,
                   .V = 128,
                   .causal = true,
                   .lse = scalar_type::f32,
                   .form = form};
  c.types = device_types_of<bf16>();
  return c;
}

std::vector<attention_case> cases() {
  return {case_of(200, 300, call_form::batched), case_of(1, 900, call_form::batched),
          case_of(1, 900, call_form::cached),    case_of(150, 400, call_form::cached),
          case_of(150, 400, call_form::packed),  case_of(3, 700, call_form::packed)};
}

/// The problem's bits by a call of its own on the default stream.
output_bits direct(attention_problem& p) {
  run(device_calls_for<bf16>(), p, {});
  return bits_of(p);
}

}  // namespace

TEST_CASE("a call returns before the work that its stream has to do first", "[stream]") {
  const cuda_stream stream;
  for (const attention_case& c : cases()) {
    CAPTURE(c);
    attention_problem p(c);
    const output_bits expected = direct(p);
    p.clear_outputs();
    device_residence there(p);
    bool early = false;
    {
      blocker block(stream);
      call(p, stream);
      call(p, stream);
      early = !block.ended();
      block.release();
      stream.synchronise();
    }
    CHECK(early);
    there.fetch_outputs();
    CHECK(bits_of(p) == expected);
    CHECK(verify(p, attention_reference(p)) == "");
    CHECK(there.inputs_unchanged());
  }
}

TEST_CASE("calls on two streams at once keep apart", "[stream]") {
  const cuda_stream streams[2];
  const std::vector<attention_case> all = cases();
  for (std::size_t i = 0; i < all.size(); ++i) {
    attention_problem a(all[i]);
    attention_case other = all[(i + 2) % all.size()];
    other.seed = 6;
    attention_problem b(other);
    const output_bits expected_a = direct(a);
    const output_bits expected_b = direct(b);
    a.clear_outputs();
    b.clear_outputs();
    device_residence a_there(a);
    device_residence b_there(b);
    {
      blocker first(streams[0]);
      blocker second(streams[1]);
      for (int n = 0; n < 20; ++n) {
        call(a, streams[0]);
        call(b, streams[1]);
      }
      first.release();
      second.release();
      streams[0].synchronise();
      streams[1].synchronise();
    }
    a_there.fetch_outputs();
    b_there.fetch_outputs();
    CAPTURE(a.c, b.c);
    CHECK(bits_of(a) == expected_a);
    CHECK(bits_of(b) == expected_b);
  }
}

namespace {

/// Captures a call of `p`, then replays it for `p` as it is and after every change, and compares
/// with a call that is not captured.
template <class... Changes>
void check_graph(attention_problem& p, Changes&&... changes) {
  const cuda_stream stream;
  direct(p);  // the kernels are loaded
  p.clear_outputs();
  device_residence there(p);
  cuda_graph captured(stream, [&] { call(p, stream); });
  there.fetch_outputs();
  CHECK(p.o.untouched());  // capturing runs nothing
  const auto check = [&] {
    there.send_inputs();
    p.clear_outputs();
    there.send_outputs();
    captured.replay(stream);
    there.fetch_outputs();
    const output_bits replayed = bits_of(p);
    CHECK(verify(p, attention_reference(p)) == "");
    CHECK(there.inputs_unchanged());
    p.clear_outputs();
    there.send_outputs();
    call(p, stream);
    stream.synchronise();
    there.fetch_outputs();
    CHECK(bits_of(p) == replayed);
  };
  check();
  (..., (changes(p), check()));
}

void refill(attention_problem& p) {
  p.q.fill(101);
  p.k.fill(102);
  p.v.fill(103);
}

}  // namespace

TEST_CASE("a captured prefill is replayed on new inputs", "[stream][graph]") {
  attention_problem p(case_of(200, 300, call_form::batched));
  check_graph(p, &refill);
}

TEST_CASE("a captured step of decoding is replayed on new lengths", "[stream][graph]") {
  for (const std::int64_t T : {1, 5, 150}) {
    CAPTURE(T);
    attention_problem p(case_of(T, 1500, call_form::cached));
    const auto with_lengths = [](std::vector<std::int64_t> lengths) {
      return [lengths](attention_problem& x) {
        for (std::size_t b = 0; b < lengths.size(); ++b) {
          x.lengths.set({static_cast<std::int64_t>(b)}, static_cast<double>(lengths[b]));
          x.sequences[b].keys = lengths[b];
        }
      };
    };
    check_graph(p, with_lengths({1, 2, 3}), &refill, with_lengths({1500, 0, 1499}),
                with_lengths({64, 65, 700}));
  }
}

TEST_CASE("a captured packed call is replayed on new offsets", "[stream][graph]") {
  using starts = std::vector<std::int64_t>;
  attention_problem p =
      packed_problem(case_of(1, 1, call_form::packed), {0, 100, 101, 140}, {0, 160, 250, 300});
  p.max_q = 100;
  p.max_k = 160;
  const auto with_offsets = [](const starts& q, const starts& k) {
    return [q, k](attention_problem& x) {
      for (std::size_t i = 0; i < q.size(); ++i) {
        x.q_offsets.set({static_cast<std::int64_t>(i)}, static_cast<double>(q[i]));
        x.k_offsets.set({static_cast<std::int64_t>(i)}, static_cast<double>(k[i]));
      }
      x.sequences = places(q, k);
    };
  };
  check_graph(p, with_offsets({0, 1, 60, 120}, {0, 160, 161, 290}), &refill,
              with_offsets({0, 0, 2, 2}, {0, 0, 100, 101}),
              with_offsets({0, 40, 140, 140}, {0, 20, 30, 30}));
}
