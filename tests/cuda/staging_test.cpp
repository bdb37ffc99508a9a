// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/device_calls.hpp"
#include "support/errors.hpp"

// Host tensors whose call is sent to the GPU and comes back.

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::device_policy;
using seqmix::f16;

namespace {

constexpr layout output_layouts[] = {layout::dense,      layout::padded,   layout::strided,
                                     layout::head_first, layout::reversed, layout::misaligned};

const seqmix::context on_cuda{.device = device_policy::cuda};

/// The staged call of host tensors against the same on device tensors, and against the definition.
template <class T>
void check_staged(const attention_case& c) {
  attention_problem p(c);
  run(device_calls_for<T>(), p, {});
  const output_bits on_device = bits_of(p);
  const attention_reference reference(p);
  CAPTURE(c);
  p.clear_outputs();
  calls_for<T>().run(p, on_cuda);
  const output_bits expected = bits_of(p);
  const bool dense =
      c.q == layout::dense && c.k == layout::dense && c.v == layout::dense && c.o == layout::dense;
  CHECK((expected == on_device || !(dense || same_bits_in_every_layout())));
  CHECK(verify(p, reference) == "");

  // The same on a stream of the caller's.
  const cuda_stream stream;
  p.clear_outputs();
  calls_for<T>().run(p, {.device = device_policy::cuda, .cuda_stream = stream.get()});
  stream.synchronise();
  CHECK(bits_of(p) == expected);

  // The same from page-locked memory.
  p.clear_outputs();
  device_residence pinned(p, {seqmix::device_kind::cuda_pinned, 0});
  calls_for<T>().run(p, on_cuda);
  pinned.fetch_outputs();
  CHECK(bits_of(p) == expected);
  CHECK(verify(p, reference) == "");
  CHECK(pinned.inputs_unchanged());
}

}  // namespace

TEST_CASE("host tensors in every layout are staged", "[staging]") {
  for (const call_form form : {call_form::batched, call_form::packed, call_form::cached}) {
    for (const std::int64_t T : {2, 90}) {
      for (const layout kind : output_layouts) {
        attention_case c = device_case<bf16>(T, 130, form);
        c.q = c.k = c.v = c.o = kind;
        check_staged<bf16>(c);
      }
      // Repeated inputs, and layouts that differ.
      attention_case c = device_case<f16>(T, 130, form);
      c.q = layout::broadcast_time;
      c.k = layout::broadcast;
      c.v = layout::reversed;
      c.o = layout::strided;
      check_staged<f16>(c);
    }
  }
}

TEST_CASE("rows of no sequence stay as they were when a packed call is staged", "[staging]") {
  // Seeds with and without lengths, and with rows behind the last sequence.
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    attention_case c = device_case<bf16>(40, 150, call_form::packed);
    c.seed = seed;
    c.lse = seed % 2 == 0 ? scalar_type::f64 : scalar_type::none;
    check_staged<bf16>(c);
  }
}

TEST_CASE("slopes and sink logits travel with host tensors", "[staging]") {
  // Seeds draw their types and layouts.
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    attention_case c = device_case<bf16>(seed % 2 == 0 ? 3 : 70, 150, call_form::batched);
    c.seed = seed;
    c.window = {.left = 40};
    c.sinks = 2;
    c.softcap = 3;
    c.sink_logits = c.alibi = true;
    check_staged<bf16>(c);
  }
}

TEST_CASE("calls without work are staged", "[staging]") {
  for (const call_form form : {call_form::batched, call_form::packed, call_form::cached}) {
    check_staged<bf16>(device_case<bf16>(5, 0, form));
    check_staged<bf16>(device_case<bf16>(0, 5, form));
    attention_case none = device_case<bf16>(5, 5, form);
    none.B = 0;
    check_staged<bf16>(none);
  }
}

TEST_CASE("a small call on host tensors stays on the CPU", "[staging]") {
  attention_problem p(device_case<bf16>(90, 130, call_form::batched));
  const attention_calls calls = calls_for<bf16>();
  calls.run(p, {.device = device_policy::cpu});
  const output_bits expected = bits_of(p);
  for (const device_policy policy : {device_policy::automatic, device_policy::where_the_data_is}) {
    const seqmix::dispatch_report report = calls.explain(p, {.device = policy});
    CAPTURE(report.text());
    CHECK(report.implementation == "flash");
    REQUIRE(report.candidates.size() >= 2);
    CHECK(report.candidates[0].implementation == "cuda");
    CHECK_FALSE(report.candidates[0].reason.empty());
    p.clear_outputs();
    calls.run(p, {.device = policy});
    CHECK(bits_of(p) == expected);
  }
  CHECK(calls.explain(p, on_cuda).implementation == "cuda");
}

TEST_CASE("large caches on the host stay there when the data decides", "[staging]") {
  // Only explained: 137 GFLOP.
  constexpr std::int64_t N = 8192;
  const std::vector<bf16> memory(64);
  std::vector<bf16> out(N * 8 * 64);
  const seqmix::tensor_view<const bf16, 4> x{memory.data(), {1, N, 8, 64}, {0, 0, 0, 1}};
  const seqmix::tensor_view<bf16, 4> o{out.data(),
                                       {std::int64_t{1}, N, std::int64_t{8}, std::int64_t{64}}};
  const auto report = seqmix::softmax_attention.explain(
      x, x, x, o, {}, {.device = device_policy::where_the_data_is});
  CHECK(report.implementation == "flash");
}

TEST_CASE("what only the CPU has is refused when a GPU is asked for", "[staging]") {
  attention_case c = device_case<float>(10, 20, call_form::batched);
  attention_problem p(c);
  seqmix::error e = error_of([&] { calls_for<float>().run(p, on_cuda); });
  CAPTURE(e.what());
  CHECK(std::string(e.what()).find("cuda: lacks f32") != std::string::npos);
  CHECK(p.o.untouched());
  CHECK(p.lse.untouched());

  c = device_case<bf16>(10, 20, call_form::batched);
  c.bias = bias_shape::full;
  attention_problem biased(c);
  e = error_of([&] { calls_for<bf16>().run(biased, on_cuda); });
  CHECK(std::string(e.what()).find("cuda: lacks bias") != std::string::npos);
  CHECK(biased.o.untouched());
}

TEST_CASE("a narrow window makes a call small", "[staging]") {
  // A quarter of 1.1 TFLOP, and then next to nothing.
  constexpr std::int64_t N = 8192;
  const std::vector<bf16> memory(64);
  std::vector<bf16> out(N * 64 * 64);
  const seqmix::tensor_view<const bf16, 4> x{memory.data(), {1, N, 64, 64}, {0, 0, 0, 1}};
  const auto o = seqmix::view(out.data(), 1, N, 64, 64);
  for (const auto& [left, served] : {std::pair{2047, "cuda"}, std::pair{0, "flash"}}) {
    const auto report =
        seqmix::softmax_attention.explain(x, x, x, o, {.causal = true, .window = {.left = left}});
    CAPTURE(left, report.text());
    CHECK(report.implementation == served);
  }
}

TEST_CASE("a large call on host tensors goes to the GPU, if it has the memory", "[staging]") {
  // 137 GFLOP on 8 MiB, and the same with more keys than any GPU holds; only explained.
  constexpr std::int64_t N = 8192;
  constexpr std::int64_t most = std::int64_t{1} << 30;
  const std::vector<bf16> memory(64);
  std::vector<bf16> out(N * 8 * 64);
  const seqmix::tensor_view<const bf16, 4> q{memory.data(), {1, N, 8, 64}, {0, 0, 0, 1}};
  const seqmix::tensor_view<const bf16, 4> huge{memory.data(), {1, most, 8, 64}, {0, 0, 0, 1}};
  const auto o = seqmix::view(out.data(), 1, N, 8, 64);
  const auto fits = seqmix::softmax_attention.explain(q, q, q, o);
  CAPTURE(fits.text());
  CHECK(fits.implementation == "cuda");
  const auto too_large = seqmix::softmax_attention.explain(q, huge, huge, o);
  CAPTURE(too_large.text());
  CHECK(too_large.implementation == "flash");
  CHECK(too_large.candidates[0].reason.find("memory") != std::string::npos);
}
