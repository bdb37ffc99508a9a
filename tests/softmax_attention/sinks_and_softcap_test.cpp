// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "support/attention_target.hpp"
#include "support/catch.hpp"

// Sink logits and softcap where their results are known.

using namespace seqmix_test;

namespace {

std::vector<algorithm> algorithms() {
  return target::algorithms({algorithm::tiled, algorithm::split_kv, algorithm::naive});
}

std::vector<attention_calls> all_calls() { return target::calls<element_types<float>>(); }

attention_case case_of(const attention_calls& calls, std::int64_t T, std::int64_t S) {
  const head_dims n = target::dims({16, 12})[0];
  attention_case c{
      .B = 2, .T = T, .S = S, .H = 4, .HK = 2, .D = n.D, .V = n.V, .lse = scalar_type::f32};
  c.types = calls.types;
  return c;
}

}  // namespace

TEST_CASE("a row without a visible key and with a sink gives zeros and the sink's logit",
          "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    for (const algorithm how : algorithms()) {
      attention_case c = case_of(calls, 30, 10);
      c.causal = true;
      c.sink_logits = true;
      attention_problem p(c);
      run(calls, p, {.how = how});
      CAPTURE(c, name(how));
      bool zeros = true;
      p.o.for_each([&](const tensor<4>::index& i) { zeros &= i[1] >= 20 || p.o[i] == 0; });
      CHECK(zeros);
      double worst = 0;
      bool none = true;
      p.lse.for_each([&](const tensor<3>::index& i) {
        if (i[2] < 20 && i[1] == 0) {
          none &= p.lse[i] == -infinity;  // the first head's sink is none
        } else if (i[2] < 20) {
          worst = std::max(worst, std::abs(p.lse[i] - p.sink[{i[1]}]));
        }
      });
      CHECK(none);
      CHECK(worst < 1e-5);
    }
  }
}

TEST_CASE("a sink of minus infinity moves no bits", "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    for (const algorithm how : algorithms()) {
      attention_case c = case_of(calls, 20, 400);
      attention_problem plain(c);
      run(calls, plain, {.how = how});
      c.sink_logits = true;
      attention_problem p(c);
      p.sink.for_each([&](const tensor<1>::index& h) { p.sink.set(h, -infinity); });
      run(calls, p, {.how = how});
      CAPTURE(c, name(how));
      CHECK((bits_of(p) == bits_of(plain)));
    }
  }
}

TEST_CASE("a sink far above every score leaves nothing", "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    for (const algorithm how : algorithms()) {
      attention_case c = case_of(calls, 20, 100);
      c.sink_logits = true;
      attention_problem p(c);
      p.sink = tensor<1>(scalar_type::f64, {c.H});
      p.sink.for_each([&](const tensor<1>::index& h) { p.sink.set(h, 500); });
      run(calls, p, {.how = how});
      CAPTURE(c, name(how));
      bool zeros = true;
      bool sinks = true;
      p.o.for_each([&](const tensor<4>::index& i) { zeros &= p.o[i] == 0; });
      p.lse.for_each([&](const tensor<3>::index& i) { sinks &= std::abs(p.lse[i] - 500) < 1e-3; });
      CHECK(zeros);
      CHECK(sinks);
    }
  }
}

TEST_CASE("softcap bounds the scores, and a high one does nothing", "[softmax_attention]") {
  for (const attention_calls& calls : all_calls()) {
    for (const algorithm how : algorithms()) {
      attention_case c = case_of(calls, 20, 100);
      c.magnitude = 4;
      attention_problem plain(c);
      run(calls, plain, {.how = how});
      for (const double cap : {1e4, 1e6, 1e30}) {
        c.softcap = cap;
        attention_problem high(c);
        run(calls, high, {.how = how});
        CAPTURE(c, name(how));
        CHECK(compare(high.o.values(), plain.o.values(), output_tolerance(c), bound::ceiling) ==
              "");
        CHECK(compare(high.lse.values(), plain.lse.values(), tolerance_of(scalar_type::f32),
                      bound::ceiling, 1.0) == "");
      }

      // Scores of both signs far beyond it are c and -c: two keys weigh as a sigmoid of 2 c.
      const double large = calls.types.q == scalar_type::f16 ? 3e4 : 1e30;
      attention_case two{.T = 20, .S = 2, .D = 1, .V = 1, .softcap = 1.25};
      two.types = calls.types;
      attention_problem p(two);
      p.q.for_each([&](const tensor<4>::index& i) { p.q.set(i, large); });
      p.k.for_each([&](const tensor<4>::index& i) { p.k.set(i, i[1] == 0 ? large : -large); });
      p.v.for_each([&](const tensor<4>::index& i) { p.v.set(i, i[1] == 0 ? 1 : 0); });
      run(calls, p, {.how = how});
      CAPTURE(name(how));
      CHECK(std::abs(p.o[{0, 7, 0, 0}] / (1 / (1 + std::exp(-2.5))) - 1) <
            output_tolerance(two).element);
    }
  }
}
