// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/device_calls.hpp"
#include "support/errors.hpp"
#include "support/packed_problem.hpp"

// Offsets and lengths in device memory: nobody has read them before the kernels do.

using namespace seqmix_test;
using seqmix::bf16;

namespace {

using numbers = std::vector<std::int64_t>;
const seqmix::context full{.check = seqmix::check_level::full};

/// Three sequences, one of them short enough for decoding.
attention_problem packed() {
  attention_problem p = packed_problem(device_case<bf16>(1, 1, call_form::packed), {0, 90, 93, 150},
                                       {0, 100, 220, 300});
  p.max_q = 90;
  p.max_k = 120;
  p.lengths = index_tensor({100, 119, 70}, true);
  for (std::size_t b = 0; b < 3; ++b) {
    p.sequences[b].keys = static_cast<std::int64_t>(p.lengths[{static_cast<std::int64_t>(b)}]);
  }
  return p;
}

attention_problem cached(std::int64_t T) {
  attention_problem p(device_case<bf16>(T, 200, call_form::cached));
  const numbers lengths{200, 7, 0};
  p.lengths = index_tensor(lengths, false);
  for (std::size_t b = 0; b < 3; ++b) {
    p.sequences[b].keys = lengths[b];
  }
  return p;
}

void assign(tensor<1>& t, const numbers& values) {
  REQUIRE(t.size() == static_cast<std::int64_t>(values.size()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    t.set({static_cast<std::int64_t>(i)}, static_cast<double>(values[i]));
  }
}

void call(attention_problem& p, const seqmix::context& ctx) {
  with_device_views<bf16>(p, [&](const auto&... a) { seqmix::softmax_attention(a..., ctx); });
}

/// Wrong contents of one vector: harmless by default, an error when they are to be checked.
void check_wrong(attention_problem p, tensor<1> attention_problem::* which, const numbers& wrong,
                 const char* argument) {
  CAPTURE(argument, wrong);
  assign(p.*which, wrong);
  p.clear_outputs();
  device_residence there(p);
  const seqmix::error e = error_of([&] { call(p, full); });
  CAPTURE(e.what());
  CHECK(e.argument() == argument);
  there.fetch_outputs();
  CHECK(p.o.untouched());
  CHECK(p.lse.untouched());

  call(p, {});
  there.fetch_outputs();
  CHECK(p.o.gaps_untouched());
  CHECK(p.lse.gaps_untouched());
  CHECK(there.inputs_unchanged());
}

constexpr std::int64_t huge = std::int64_t{1} << 40;

}  // namespace

TEST_CASE("sound offsets and lengths pass the full check", "[offsets]") {
  for (attention_problem p : {packed(), cached(1), cached(70)}) {
    p.clear_outputs();
    device_residence there(p);
    call(p, full);
    there.fetch_outputs();
    CAPTURE(p.c);
    CHECK(verify(p, attention_reference(p)) == "");
  }
  // Strided vectors, of either width.
  for (const std::uint64_t seed : {3u, 6u, 9u, 12u}) {
    for (const call_form form : {call_form::packed, call_form::cached}) {
      attention_case c = device_case<bf16>(40, 90, form);
      c.seed = seed;
      attention_problem p(c);
      p.clear_outputs();
      device_residence there(p);
      call(p, full);
      there.fetch_outputs();
      CAPTURE(c);
      CHECK(verify(p, attention_reference(p)) == "");
    }
  }
}

TEST_CASE("wrong query offsets do no harm", "[offsets]") {
  for (const numbers& wrong :
       {numbers{0, 93, 90, 150}, numbers{0, 90, 93, 151}, numbers{0, 90, 93, huge},
        numbers{-1, 90, 93, 150}, numbers{0, -huge, 93, 150}, numbers{1, 90, 93, 150},
        numbers{0, 91, 93, 150}, numbers{150, 90, 93, 0}, numbers{huge, huge, -huge, huge},
        numbers{-5, -4, -3, -2}}) {
    check_wrong(packed(), &attention_problem::q_offsets, wrong, "options.varlen.q_offsets");
  }
}

TEST_CASE("wrong key offsets do no harm", "[offsets]") {
  // These are int32.
  constexpr std::int64_t most = 0x7fffffff;
  for (const numbers& wrong :
       {numbers{0, 220, 100, 300}, numbers{0, 100, 220, 301}, numbers{0, 100, 220, most},
        numbers{-1, 100, 220, 300}, numbers{0, -most, 220, 300}, numbers{2, 100, 220, 300},
        numbers{0, 100, 221, 300}, numbers{300, 220, 100, 0}, numbers{most, most, -most, most}}) {
    check_wrong(packed(), &attention_problem::k_offsets, wrong, "options.varlen.k_offsets");
  }
}

TEST_CASE("wrong lengths of packed sequences are clamped", "[offsets]") {
  for (const numbers& wrong : {numbers{101, 119, 70}, numbers{100, -1, 70}, numbers{100, 119, 81},
                               numbers{huge, -huge, huge}}) {
    check_wrong(packed(), &attention_problem::lengths, wrong, "options.varlen.k_lengths");
    // What the clamped lengths say is what comes out.
    attention_problem p = packed();
    assign(p.lengths, wrong);
    const std::int64_t slots[] = {100, 120, 80};
    for (std::size_t b = 0; b < 3; ++b) {
      p.sequences[b].keys = std::min(std::max<std::int64_t>(wrong[b], 0), slots[b]);
    }
    run(device_calls_for<bf16>(), p, {});
    CAPTURE(wrong);
    CHECK(verify(p, attention_reference(p)) == "");
  }
}

TEST_CASE("wrong lengths of a cache are clamped", "[offsets]") {
  constexpr std::int64_t most = 0x7fffffff;
  for (const std::int64_t T : {1, 70}) {
    for (const numbers& wrong : {numbers{201, 7, 0}, numbers{200, 7, -1}, numbers{-3, 205, 7},
                                 numbers{most, -most, most}}) {
      CAPTURE(T, wrong);
      check_wrong(cached(T), &attention_problem::lengths, wrong, "kv.layout.lengths");
      attention_problem p = cached(T);
      assign(p.lengths, wrong);
      for (std::size_t b = 0; b < 3; ++b) {
        p.sequences[b].keys = std::min<std::int64_t>(std::max<std::int64_t>(wrong[b], 0), 200);
      }
      run(device_calls_for<bf16>(), p, {});
      CHECK(verify(p, attention_reference(p)) == "");
    }
  }
}

TEST_CASE("offsets and lengths on the host are refused beside device tensors", "[offsets]") {
  const auto refuses = [](attention_problem p, tensor<1> attention_problem::* which) {
    p.clear_outputs();
    device_residence there(p);
    (p.*which).take_back();
    const seqmix::error e = error_of([&] { call(p, {}); });
    CAPTURE(e.what());
    CHECK(std::string(e.what()).find("offsets or lengths") != std::string::npos);
    there.fetch_outputs();
    CHECK(p.o.untouched());
    CHECK(p.lse.untouched());
  };
  refuses(packed(), &attention_problem::q_offsets);
  refuses(packed(), &attention_problem::k_offsets);
  refuses(packed(), &attention_problem::lengths);
  refuses(cached(1), &attention_problem::lengths);
}

TEST_CASE("offsets on a device need the longest lengths", "[offsets]") {
  attention_problem p = packed();
  device_residence there(p);
  for (const bool keys : {false, true}) {
    seqmix::softmax_attention_options options = p.options();
    (keys ? options.varlen.max_k : options.varlen.max_q) = 0;
    const seqmix::error e = error_of([&] {
      seqmix::softmax_attention(p.q.packed_view<bf16>(), p.k.packed_view<bf16>(),
                                p.v.packed_view<bf16>(), p.o.packed_view<bf16>(), options);
    });
    CHECK(e.argument() == (keys ? "options.varlen.k_offsets" : "options.varlen.q_offsets"));
    CHECK(e.expected().find("maximal length") != std::string::npos);
  }
  there.fetch_outputs();
  CHECK(p.o.untouched());
}
