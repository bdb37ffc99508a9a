// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <string>

#include "support/catch.hpp"
#include "support/device_calls.hpp"
#include "support/errors.hpp"

// What the CUDA kernels have not: device tensors have nowhere else to go, so each is an error that
// names it and leaves the outputs alone.

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::f16;

namespace {

attention_case sound() {
  return {.B = 2, .T = 5, .S = 9, .H = 4, .HK = 2, .D = 64, .V = 64, .lse = scalar_type::f32};
}

template <class TQ, class TK = TQ, class TV = TK, class TO = TQ>
void refuses(attention_case c, const std::string& what, const seqmix::context& ctx = {}) {
  c.types = calls_for<TQ, TK, TV, TO>().types;
  attention_problem p(c);
  device_residence there(p);
  const seqmix::error e = error_of([&] {
    with_views<TQ, TK, TV, TO>(p, [&](const auto&... a) { seqmix::softmax_attention(a..., ctx); });
  });
  CAPTURE(c, what, e.what());
  CHECK(e.operator_name() == "softmax_attention");
  CHECK(std::string(e.what()).find(what) != std::string::npos);
  there.fetch_outputs();
  CHECK(p.o.untouched());
  CHECK(p.lse.untouched());
}

}  // namespace

TEST_CASE("features that no kernel has are refused by name", "[refusals]") {
  attention_case c = sound();
  c.alibi = true;
  c.between = alibi_between::integers;
  refuses<bf16>(c, "cuda: lacks alibi (indexes");
  c = sound();
  c.bias = bias_shape::heads_and_keys;
  refuses<f16>(c, "cuda: lacks bias");
  c = sound();
  c.relative = bias_shape::heads_and_keys;
  refuses<f16>(c, "cuda: lacks relative_bias");
  c = sound();
  c.log_length = true;
  refuses<bf16>(c, "cuda: lacks log_length");
  c = sound();
  c.D = 257;
  refuses<bf16>(c, "cuda: lacks head dimension 257 (it has 1 to 256)");
  c = sound();
  c.V = 300;
  refuses<bf16>(c, "cuda: lacks head dimension 300");
  refuses<float>(sound(), "cuda: lacks f32");
  refuses<double>(sound(), "cuda: lacks f64");
  refuses<bf16, f16>(sound(), "cuda: lacks mixed_types");
  refuses<float, bf16>(sound(), "cuda: lacks mixed_types");
  refuses<bf16, bf16, bf16, float>(sound(), "cuda: lacks mixed_types");
}

TEST_CASE("policies and pins that exclude the GPU are refused beside device tensors",
          "[refusals]") {
  refuses<bf16>(sound(), "the device policy is cpu", {.device = seqmix::device_policy::cpu});
  refuses<bf16>(sound(), "flash: the tensors are on a CUDA device",
                {.pin = {.implementation = "flash"}});
  refuses<bf16>(sound(), "naive: the tensors are on a CUDA device",
                {.pin = {.implementation = "naive"}});
  refuses<bf16>(sound(), "the pinned algorithm", {.pin = {.algorithm = "tiled"}});
}

TEST_CASE("outputs over inputs are refused on the GPU too", "[refusals]") {
  attention_case c = sound();
  c.types = types_of_all<bf16>();
  c.HK = c.H;
  c.S = c.T;
  attention_problem p(c);
  device_residence there(p);
  const seqmix::error e = error_of([&] {
    seqmix::softmax_attention(p.q.view<bf16>(), p.k.view<bf16>(), p.v.view<bf16>(),
                              p.v.view<bf16>());
  });
  CHECK(e.argument() == "o");
  CHECK(there.inputs_unchanged());
}
