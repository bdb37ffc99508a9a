// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/small_attention.hpp"

// No back-end is linked here: only the header's own implementations.

using seqmix::device_policy;

namespace {
const char* isa() { return seqmix::simd::isa_name<seqmix::simd::default_arch>(); }
}  // namespace

TEST_CASE("explain tells what runs") {
  small_attention a(3);
  const auto r = a.explain();
  CHECK(r.operator_name == "softmax_attention");
  CHECK(r.implementation == "flash");
  CHECK(r.target == isa());
  CHECK(r.workspace_bytes == a.workspace_bytes());
  REQUIRE(r.candidates.size() == 2);
  CHECK(r.candidates[0].chosen);
  CHECK(r.candidates[0].reason.empty());
  CHECK(!r.candidates[1].chosen);
  CHECK(r.candidates[1].implementation == "naive");
  CHECK(r.candidates[1].reason == "runs only when pinned");
  CHECK(a.wrote_nothing());
  CHECK(r.text() == "softmax_attention: flash on " + std::string(isa()) + ", algorithm " +
                        r.algorithm + ", splits " + std::to_string(r.splits) + ", workspace " +
                        std::to_string(r.workspace_bytes) + " bytes\n  flash (" + isa() +
                        "): chosen\n  naive (" + isa() + "): runs only when pinned\n");
}

TEST_CASE("pins of implementation and algorithm") {
  small_attention a(3);
  CHECK(a.explain({.pin = {.implementation = "naive"}}).implementation == "naive");
  CHECK(a.explain({.pin = {.implementation = "flash"}}).implementation == "flash");
  CHECK(a.explain({.pin = {.algorithm = "tiled"}}).algorithm == "tiled");
  CHECK(a.explain({.pin = {.algorithm = "split_kv"}}).algorithm == "split_kv");
  CHECK(a.explain({.pin = {.isa = isa()}}).implementation == "flash");
  a();
  const auto want = a.o;
  for (const char* algorithm : {"tiled", "split_kv"}) {
    a.reset();
    a({.pin = {.implementation = "flash", .algorithm = algorithm, .isa = isa()}});
    for (std::size_t i = 0; i < want.size(); ++i) {
      REQUIRE(std::fabs(a.o[i] - want[i]) < 1e-5f);
    }
  }
}

TEST_CASE("a wrong pin is an error that lists what there is") {
  small_attention a(3);
  {
    const auto e = error_of([&] { a({.pin = {.implementation = "flesh"}}); });
    CHECK(std::string(e.what()) ==
          "seqmix::softmax_attention: context.pin.implementation: expected one of flash, naive, "
          "got flesh");
  }
  {
    const auto e = error_of([&] { a({.pin = {.algorithm = "tilde"}}); });
    CHECK(e.argument() == "call");
    CHECK(e.actual().find("flash: lacks the pinned algorithm (it has tiled, split_kv, two_pass and "
                          "three_pass)") != std::string::npos);
  }
  {
    const auto e = error_of([&] { a({.pin = {.implementation = "naive", .algorithm = "tiled"}}); });
    CHECK(e.actual().find("naive: lacks the pinned algorithm (it has naive)") != std::string::npos);
    CHECK(e.actual().find("flash: another implementation is pinned") != std::string::npos);
  }
  {
    const auto e = error_of([&] { a({.pin = {.isa = "mmx"}}); });
    CHECK(e.argument() == "call");
    CHECK(e.actual().find("flash: the pinned instruction set is mmx") != std::string::npos);
  }
  CHECK(a.wrote_nothing());
}

TEST_CASE("explain of a call that nothing can run lists the reasons, and is no error") {
  small_attention a(3);
  const auto r = a.explain({.pin = {.isa = "mmx"}});
  CHECK(r.implementation.empty());
  CHECK(r.text() == "softmax_attention: no implementation can run this call\n  flash (" +
                        std::string(isa()) + "): the pinned instruction set is mmx\n  naive (" +
                        isa() + "): runs only when pinned\n");
}

TEST_CASE("device policies on host tensors, without CUDA") {
  small_attention a(3);
  for (const auto policy :
       {device_policy::automatic, device_policy::where_the_data_is, device_policy::cpu}) {
    a.reset();
    a({.device = policy});
    CHECK(!a.wrote_nothing());
  }
  a.reset();
  const auto e = error_of([&] { a({.device = device_policy::cuda}); });
  CHECK(std::string(e.what()) ==
        "seqmix::softmax_attention: context.device: expected another policy, since no CUDA "
        "back-end is linked, got cuda");
  CHECK(a.wrote_nothing());
  const auto r = a.explain({.device = device_policy::cuda});
  CHECK(r.implementation.empty());
  CHECK(r.candidates[0].reason == "the device policy is cuda");
}

TEST_CASE("device tensors without CUDA are an error under every policy, and are not touched") {
  small_attention a(3);
  a.memory = {seqmix::device_kind::cuda, 1};
  for (const auto policy : {device_policy::automatic, device_policy::where_the_data_is,
                            device_policy::cpu, device_policy::cuda}) {
    const auto e = error_of([&] { a({.device = policy}); });
    CHECK(std::string(e.what()) ==
          "seqmix::softmax_attention: tensors: expected host memory, since no CUDA back-end is "
          "linked, got memory of cuda:1");
    CHECK(a.wrote_nothing());
  }
  CHECK(a.explain().candidates[0].reason == "the tensors are on a CUDA device");
}

TEST_CASE("device pointers are never read on the way to the error") {
  // Addresses that fault when the CPU follows them, offsets and lengths too.
  const seqmix::device gpu{seqmix::device_kind::cuda, 0};
  auto* const nowhere = reinterpret_cast<float*>(std::uintptr_t{64});
  const seqmix::tensor_view<float, 3> x{nowhere, {5, 2, 4}, gpu};
  const seqmix::tensor_view<float, 3> o{nowhere + 4096, {5, 2, 4}, gpu};
  const seqmix::tensor_view<const std::int32_t, 1> offsets{
      reinterpret_cast<const std::int32_t*>(nowhere), {3}, gpu};
  const seqmix::softmax_attention_options options{
      .varlen = {.q_offsets = offsets, .k_offsets = offsets, .max_q = 5, .max_k = 5}};
  CHECK(error_of([&] { seqmix::softmax_attention(x, x, x, o, options); }).argument() == "tensors");
  CHECK(seqmix::softmax_attention.explain(x, x, x, o, options).implementation.empty());

  const seqmix::tensor_view<float, 4> y{nowhere, {2, 5, 2, 4}, gpu};
  const seqmix::tensor_view<float, 4> out{nowhere + 4096, {2, 5, 2, 4}, gpu};
  const seqmix::tensor_view<const std::int32_t, 1> lengths{
      reinterpret_cast<const std::int32_t*>(nowhere), {2}, gpu};
  const seqmix::kv_view cache{y, y, {.lengths = lengths}};
  CHECK(error_of([&] { seqmix::softmax_attention(y, cache, out); }).argument() == "tensors");
}

TEST_CASE("tensors on different devices are an error") {
  small_attention a(3);
  a.with_views([&](auto q, auto k, auto v, auto o) {
    const seqmix::tensor_view<float, 4> elsewhere{k.data_handle(), k.extents(),
                                                  seqmix::device{seqmix::device_kind::cuda, 0}};
    const auto e = error_of([&] { seqmix::softmax_attention(q, elsewhere, v, o); });
    CHECK(e.argument() == "k");
    CHECK(e.expected() == "host memory, as q");
    CHECK(e.actual() == "memory of cuda:0");
  });
  CHECK(a.wrote_nothing());
}

TEST_CASE("explain and workspace_bytes check the contract") {
  small_attention a(3);
  a.with_views([&](auto q, auto k, auto v, auto o) {
    const auto short_o = o.slice(1, 0, 2);
    CHECK(error_of([&] { seqmix::softmax_attention.explain(q, k, v, short_o); }).argument() == "o");
    CHECK(error_of([&] {
            seqmix::softmax_attention.workspace_bytes(q, k, v, short_o);
          }).argument() == "o");
  });
}
