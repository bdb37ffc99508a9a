// SPDX-License-Identifier: Apache-2.0
#include "functor_calls.hpp"

#include <cstdint>
#include <cstdio>
#include <string>

#include "support/catch.hpp"
#include "support/device_calls.hpp"
#include "support/errors.hpp"

// A user's score functor inside the kernel, against the same functor inside the oracle.

using namespace seqmix_test;

namespace {

template <class T>
attention_case case_of(std::int64_t T_, std::int64_t S, std::int64_t D, call_form form) {
  attention_case c{.B = 2,
                   .T = T_,
                   .S = S,
                   .H = 4,
                   .HK = 2,
                   .D = D,
                   .V = D,
                   .lse = scalar_type::f32,
                   .form = form};
  c.types = device_types_of<T>();
  return c;
}

/// What is wrong with the GPU's result.
std::string difference_to_oracle(attention_problem& p, const seqmix::context& ctx, bool staged) {
  p.clear_outputs();
  run_scored_naive(p);
  attention_reference expected(p);  // for its shape and scale
  expected.o = p.o.values();
  expected.lse = p.lse.values();
  const std::vector<char> owned = p.owned_rows();
  std::size_t at = 0;
  p.o.for_each([&](const tensor<4>::index& i) {
    expected.o[at] = owned[static_cast<std::size_t>(i[1])] == 0 ? 0 : expected.o[at];
    ++at;
  });
  at = 0;
  p.lse.for_each([&](const tensor<3>::index& i) {
    expected.lse[at] = owned[static_cast<std::size_t>(i[2])] == 0 ? 0 : expected.lse[at];
    ++at;
  });
  p.clear_outputs();
  if (staged) {
    run_scored(p, ctx);
  } else {
    device_residence there(p);
    run_scored(p, ctx);
    there.fetch_outputs();
  }
  return verify(p, expected, bound::ceiling);
}

template <class T>
int check_type() {
  int cases = 0;
  for (const std::int64_t D : {64, 128}) {
    for (const call_form form : {call_form::batched, call_form::packed, call_form::cached}) {
      for (const auto& [queries, S] : {std::pair{1, 90}, std::pair{70, 65}, std::pair{150, 260}}) {
        for (const bool causal : {false, true}) {
          for (const layout kind : {layout::dense, layout::strided}) {
            attention_case c = case_of<T>(queries, S, D, form);
            c.causal = causal;
            c.magnitude = 3;
            c.q = c.k = c.v = c.o = kind;
            c.seed = static_cast<std::uint64_t>(++cases);
            attention_problem p(c);
            CAPTURE(c);
            CHECK(difference_to_oracle(p, {}, false) == "");
          }
        }
      }
    }
  }
  return cases;
}

}  // namespace

TEST_CASE("a score functor of a .cu file runs in the kernel", "[functor]") {
  const int cases = check_type<seqmix::bf16>() + check_type<seqmix::f16>();
  std::printf("score functor: %d cases\n", cases);
  CHECK(cases == 144);
}

TEST_CASE("host tensors with a score functor are staged", "[functor]") {
  attention_problem p(case_of<seqmix::bf16>(90, 130, 64, call_form::batched));
  CHECK(difference_to_oracle(p, {.device = seqmix::device_policy::cuda}, true) == "");
}

TEST_CASE("a functor that nvcc did not compile is refused with the way to do it", "[functor]") {
  attention_problem p(case_of<seqmix::bf16>(9, 9, 64, call_form::batched));
  p.clear_outputs();
  device_residence there(p);
  const seqmix::error e = error_of([&] {
    seqmix::softmax_attention(p.q.view<seqmix::bf16>(), p.k.view<seqmix::bf16>(),
                              p.v.view<seqmix::bf16>(), p.o.view<seqmix::bf16>(),
                              [](float s, const seqmix::score_context&) { return s; });
  });
  CAPTURE(e.what());
  CHECK(std::string(e.what()).find(".cu file") != std::string::npos);
  CHECK(std::string(e.what()).find("functor.cuh") != std::string::npos);
}
