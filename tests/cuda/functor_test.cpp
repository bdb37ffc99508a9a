// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "functor_calls.hpp"
#include "support/catch.hpp"
#include "support/device_calls.hpp"
#include "support/errors.hpp"

// A user's functors inside the kernels, against the same functors inside the oracle.

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::f16;

namespace {

/// A call with functors: on a GPU with a context, else the oracle.
using functor_call = std::function<void(attention_problem&, const seqmix::context*)>;

functor_call masked_by(const test_mask& mask) {
  return [mask](attention_problem& p, const seqmix::context* ctx) { run_masked(p, mask, ctx); };
}
functor_call scored_and_masked_by(const test_mask& mask) {
  return [mask](attention_problem& p, const seqmix::context* ctx) {
    run_scored_and_masked(p, mask, ctx);
  };
}

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

void run_on_gpu(attention_problem& p, const functor_call& call, const seqmix::context& ctx) {
  p.clear_outputs();
  device_residence there(p);
  call(p, &ctx);
  there.fetch_outputs();
}

/// The oracle's results, with the shape and the scale of a reference.
attention_reference oracle_of(attention_problem& p, const functor_call& call) {
  p.clear_outputs();
  call(p, nullptr);
  attention_reference expected(p);
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
  return expected;
}

/// Prefill and decode against the oracle.
void check(const attention_case& c, const functor_call& call) {
  attention_problem p(c);
  const attention_reference expected = oracle_of(p, call);
  for (const algorithm how : {algorithm::automatic, algorithm::prefill, algorithm::decode}) {
    run_on_gpu(p, call, {.pin = pin_of(how)});
    CAPTURE(c, name(how));
    CHECK(verify(p, expected, bound::ceiling) == "");
  }
}

constexpr call_form forms[] = {call_form::batched, call_form::packed, call_form::cached};
constexpr test_mask::rule rules[] = {test_mask::rule::scattered, test_mask::rule::chunks,
                                     test_mask::rule::prefix, test_mask::rule::nothing};

}  // namespace

TEST_CASE("a score functor of a .cu file runs in the kernel", "[functor]") {
  int cases = 0;
  for (const std::int64_t D : {64, 72, 128, 160}) {
    for (const call_form form : forms) {
      for (const auto& [queries, S] : {std::pair{1, 90}, std::pair{70, 65}, std::pair{150, 260}}) {
        for (const bool causal : {false, true}) {
          for (const layout kind : {layout::dense, layout::strided}) {
            attention_case c = case_of<bf16>(queries, S, D, form);
            c.causal = causal;
            c.magnitude = 3;
            c.q = c.k = c.v = c.o = kind;
            c.seed = static_cast<std::uint64_t>(++cases);
            if (cases % 3 == 0) {  // after the terms, before the mask
              c.softcap = 4;
              c.alibi = c.sink_logits = true;
              c.window = {.left = 50};
              c.sinks = 2;
            }
            check(c, &run_scored);
          }
        }
      }
    }
  }
  std::printf("score functor: %d cases\n", cases);
  CHECK(cases == 144);
}

TEST_CASE("a mask functor hides pairs, alone and with everything else", "[functor]") {
  std::uint64_t seed = 0;
  for (const test_mask::rule rule : rules) {
    for (const call_form form : forms) {
      for (const auto& [T, S] : {std::pair{1, 300}, std::pair{7, 90}, std::pair{150, 300}}) {
        for (const layout kind : {layout::dense, layout::strided}) {
          attention_case c = case_of<f16>(T, S, 64, form);
          c.q = c.k = c.v = c.o = kind;
          c.seed = ++seed;
          check(c, masked_by({rule}));
          c.types = device_types_of<bf16>();
          c.D = 128;
          c.V = 100;
          c.causal = true;
          c.window = {.left = 60};
          c.sinks = 3;
          c.alibi = true;
          c.sink_logits = true;
          check(c, scored_and_masked_by({rule}));
        }
      }
    }
  }
}

TEST_CASE("lists of kept blocks in the GPU's memory", "[functor]") {
  for (const auto& [block_queries, block_keys] : block_sizes) {
    const random_block_lists lists(block_queries, block_keys);
    const auto copied = [](const std::vector<std::int32_t>& x) {
      const std::size_t bytes = x.size() * sizeof(std::int32_t);
      auto there =
          std::make_unique<cuda_memory>(bytes, seqmix::device{seqmix::device_kind::cuda, 0});
      cuda_check(cudaMemcpy(there->data(), x.data(), bytes, cudaMemcpyDefault), "cudaMemcpy");
      return there;
    };
    const auto begins_there = copied(lists.begins);
    const auto blocks_there = copied(lists.blocks);
    const test_mask here = lists.mask();
    test_mask there = here;
    there.lists.begins = reinterpret_cast<const std::int32_t*>(begins_there->data());
    there.lists.blocks = reinterpret_cast<const std::int32_t*>(blocks_there->data());
    const functor_call call = [&](attention_problem& p, const seqmix::context* ctx) {
      run_masked(p, ctx != nullptr ? there : here, ctx);
    };
    for (const call_form form : forms) {
      for (const auto& [T, S] : {std::pair{7, 300}, std::pair{150, 300}, std::pair{300, 500}}) {
        attention_case c = case_of<f16>(T, S, 64, form);
        check(c, call);
        c.causal = true;
        check(c, call);
      }
    }
  }
}

TEST_CASE("classification moves no bits on the GPU", "[functor]") {
  for (const test_mask::rule rule : {test_mask::rule::chunks, test_mask::rule::prefix}) {
    for (const auto& [T, S] : {std::pair{4, 300}, std::pair{300, 300}, std::pair{100, 500}}) {
      attention_problem p(case_of<f16>(T, S, 64, call_form::batched));
      run_on_gpu(p, masked_by({rule}), {});
      const output_bits expected = bits_of(p);
      run_on_gpu(p, masked_by({rule, false}), {});
      CAPTURE(T, S);
      CHECK((bits_of(p) == expected));
    }
  }
}

TEST_CASE("empty and full blocks ask nothing of a mask functor", "[functor]") {
  for (const std::int64_t T : {16, 1024}) {
    attention_case c = case_of<f16>(T, 1030, 64, call_form::batched);
    attention_problem p(c);
    const cuda_memory counter(sizeof(unsigned long long), {seqmix::device_kind::cuda, 0});
    const auto asked = [&](bool answers) {
      unsigned long long count = 0;
      cuda_check(cudaMemcpy(counter.data(), &count, sizeof count, cudaMemcpyDefault), "cudaMemcpy");
      auto* const there = reinterpret_cast<unsigned long long*>(counter.data());
      run_on_gpu(p, masked_by({test_mask::rule::chunks, answers, there}), {});
      cuda_check(cudaMemcpy(&count, counter.data(), sizeof count, cudaMemcpyDefault), "cudaMemcpy");
      return count;
    };
    CAPTURE(T);
    CHECK(asked(false) >= static_cast<unsigned long long>(c.B * c.H * T * 1030));
    CHECK(asked(true) < static_cast<unsigned long long>(c.B * c.H * T * 1030 / 2));
    CHECK(asked(true) > 0);
  }
}

TEST_CASE("what a mask functor hides has no influence on the GPU, whatever it holds", "[functor]") {
  for (const test_mask::rule rule : rules) {
    for (const algorithm how : {algorithm::prefill, algorithm::decode}) {
      for (const std::int64_t T : {20, 150}) {
        const test_mask mask{rule};
        attention_problem p(case_of<f16>(T, 190, 64, call_form::batched));
        run_on_gpu(p, masked_by(mask), {.pin = pin_of(how)});
        const attention_problem clean = p;
        p.k.set({0, 40, 1, 3}, std::numeric_limits<double>::quiet_NaN());
        p.v.set({1, 17, 0, 5}, infinity);
        p.v.set({1, 170, 1, 6}, std::numeric_limits<double>::quiet_NaN());
        run_on_gpu(p, masked_by(mask), {.pin = pin_of(how)});
        bool right = true;
        p.o.for_each([&](const tensor<4>::index& i) {
          const bool key = i[0] == 0 && i[2] / 2 == 1 && mask({0, i[2], i[1], 40, T, 190});
          const bool value =
              (i[0] == 1 && i[2] / 2 == 0 && i[3] == 5 && mask({1, i[2], i[1], 17, T, 190})) ||
              (i[0] == 1 && i[2] / 2 == 1 && i[3] == 6 && mask({1, i[2], i[1], 170, T, 190}));
          right &= key     ? std::isnan(p.o[i])
                   : value ? !std::isfinite(p.o[i])
                           : p.o.bits(i) == clean.o.bits(i);
        });
        CAPTURE(static_cast<int>(rule), name(how), T);
        CHECK(right);
      }
    }
  }
}

TEST_CASE("host tensors with functors are staged", "[functor]") {
  attention_problem p(case_of<bf16>(90, 130, 64, call_form::batched));
  for (const functor_call& call :
       {functor_call(&run_scored), scored_and_masked_by({test_mask::rule::chunks})}) {
    const attention_reference expected = oracle_of(p, call);
    p.clear_outputs();
    const seqmix::context ctx{.device = seqmix::device_policy::cuda};
    call(p, &ctx);
    CHECK(verify(p, expected, bound::ceiling) == "");
  }
}

TEST_CASE("a functor that nvcc did not compile is refused with the way to do it", "[functor]") {
  attention_problem p(case_of<bf16>(9, 9, 64, call_form::batched));
  p.clear_outputs();
  device_residence there(p);
  const auto refused = [&](const auto& functor) {
    const seqmix::error e = error_of([&] {
      seqmix::softmax_attention(p.q.view<bf16>(), p.k.view<bf16>(), p.v.view<bf16>(),
                                p.o.view<bf16>(), functor);
    });
    CAPTURE(e.what());
    CHECK(std::string(e.what()).find(".cu file") != std::string::npos);
    CHECK(std::string(e.what()).find("functor.cuh") != std::string::npos);
  };
  refused([](float s, const seqmix::score_context&) { return s; });
  refused([](const seqmix::score_context&) { return true; });
}
