// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/device_calls.hpp"
#include "support/errors.hpp"

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::tensor_view;

namespace {

constexpr seqmix::device_kind cuda = seqmix::device_kind::cuda;

std::string gpu_name(int ordinal) {
  cudaDeviceProp properties;
  cuda_check(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties");
  return properties.name;
}

}  // namespace

TEST_CASE("explain names the GPU that runs a call on device tensors", "[device]") {
  for (const call_form form : {call_form::batched, call_form::packed, call_form::cached}) {
    for (const std::int64_t T : {1, 200}) {
      attention_problem p(device_case<bf16>(T, 300, form));
      for (const auto policy :
           {seqmix::device_policy::automatic, seqmix::device_policy::where_the_data_is,
            seqmix::device_policy::cuda}) {
        const auto report = device_calls_for<bf16>().explain(p, {.device = policy});
        CAPTURE(p.c, report.text());
        CHECK(report.implementation == "cuda");
        CHECK(report.target.find(gpu_name(0)) != std::string::npos);
        CHECK_FALSE(report.algorithm.empty());
        REQUIRE_FALSE(report.candidates.empty());
        CHECK(report.candidates[0].chosen);
      }
    }
  }
}

TEST_CASE("explain names how tensors are read, and the one in the way", "[device]") {
  const auto algorithm_of = [](std::int64_t T, layout k, layout v,
                               call_form form = call_form::batched) {
    attention_case c = device_case<bf16>(T, 300, form);
    c.k = k;
    c.v = v;
    attention_problem p(c);
    return device_calls_for<bf16>().explain(p, {}).algorithm;
  };
  cudaDeviceProp properties;
  cuda_check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  const char* const prefill = properties.major == 9 ? "prefill by the copy engine" : "prefill";
  CHECK(algorithm_of(200, layout::dense, layout::dense) == prefill);
  CHECK(algorithm_of(200, layout::head_first, layout::dense) == prefill);
  CHECK(algorithm_of(200, layout::dense, layout::strided) ==
        "prefill element by element: layout of v");
  CHECK(algorithm_of(1, layout::dense, layout::dense) == "decode");
  CHECK(algorithm_of(1, layout::misaligned, layout::dense) ==
        "decode element by element: layout of k");
  CHECK(algorithm_of(200, layout::dense, layout::strided, call_form::packed) ==
        "prefill and decode element by element: layout of v");
}

TEST_CASE("keys that sequences and heads share by strides of zero", "[device]") {
  for (const std::int64_t T : {1, 200}) {
    attention_case c = device_case<bf16>(T, 300, call_form::batched);
    attention_problem copied(c);
    c.k = c.v = layout::shared;
    attention_problem p(c);
    for (tensor<4> attention_problem::* t : {&attention_problem::k, &attention_problem::v}) {
      (copied.*t).for_each([&](const tensor<4>::index& i) { (copied.*t).set(i, (p.*t)[i]); });
    }
    const auto calls = device_calls_for<bf16>();
    CHECK(calls.explain(p, {}).algorithm == calls.explain(copied, {}).algorithm);
    run(calls, copied, {});
    run(calls, p, {});
    CAPTURE(p.c);
    CHECK(bits_of(p) == bits_of(copied));
    CHECK(verify(p, attention_reference(p)) == "");
  }
}

TEST_CASE("a decoded sequence has the same bits alone and in a batch that fills the GPU",
          "[device]") {
  attention_case c = device_case<bf16>(1, 1000, call_form::batched);
  c.B = 600;
  attention_problem many(c);
  c.B = 1;
  attention_problem one(c);
  const auto calls = device_calls_for<bf16>();
  CHECK(calls.explain(one, {}).splits == 4);
  CHECK(calls.explain(many, {}).splits == 4);
  run(calls, many, {});
  for (const std::int64_t b : {0, 599}) {
    for (tensor<4> attention_problem::* t :
         {&attention_problem::q, &attention_problem::k, &attention_problem::v}) {
      (one.*t).for_each(
          [&](const tensor<4>::index& i) { (one.*t).set(i, (many.*t)[{b, i[1], i[2], i[3]}]); });
    }
    run(calls, one, {});
    CAPTURE(b);
    bool same = true;
    one.o.for_each([&](const tensor<4>::index& i) {
      same &= one.o.bits(i) == many.o.bits({b, i[1], i[2], i[3]});
    });
    CHECK(same);
  }
  CHECK(verify(one, attention_reference(one)) == "");
}

TEST_CASE("tensors on another GPU are served there", "[device]") {
  if (cuda_device_count() < 2) {
    std::printf("not run: tensors on another GPU, of which this machine has none\n");
    return;
  }
  for (const call_form form : {call_form::batched, call_form::packed, call_form::cached}) {
    for (const std::int64_t T : {1, 200}) {
      attention_problem p(device_case<bf16>(T, 300, form));
      run(device_calls_for<bf16>(), p, {});
      const output_bits expected = bits_of(p);
      p.clear_outputs();
      const cuda_device_scope scope(0);
      device_residence there(p, {cuda, 1});
      with_device_views<bf16>(p, [&](const auto&... a) {
        const auto report = seqmix::softmax_attention.explain(a...);
        CHECK(report.target.find(gpu_name(1)) != std::string::npos);
        CHECK(current_cuda_device() == 0);
        seqmix::softmax_attention(a...);
      });
      CHECK(current_cuda_device() == 0);
      there.fetch_outputs();
      CAPTURE(p.c);
      if (gpu_name(0) == gpu_name(1)) {
        CHECK(bits_of(p) == expected);
      }
      CHECK(verify(p, attention_reference(p)) == "");
      CHECK(there.inputs_unchanged());
    }
  }
}

TEST_CASE("tensors of several devices in one call are refused", "[device]") {
  attention_problem p(device_case<bf16>(5, 9, call_form::batched));
  device_residence there(p);
  const auto q = p.q.view<bf16>();
  const auto k = p.k.view<bf16>();
  const auto v = p.v.view<bf16>();
  const auto o = p.o.view<bf16>();
  const auto elsewhere = [](const tensor_view<bf16, 4>& x, seqmix::device where) {
    return tensor_view<bf16, 4>{x.data_handle(), x.extents(), x.strides(), where};
  };
  const auto refused = [&](const char* argument, auto&&... tensors) {
    const seqmix::error e = error_of([&] { seqmix::softmax_attention(tensors..., p.options()); });
    CHECK(e.argument() == argument);
  };
  for (const seqmix::device other : {seqmix::device{cuda, 1}, seqmix::device{}}) {
    refused("k", q, elsewhere(k, other), v, o);
    refused("v", q, k, elsewhere(v, other), o);
    refused("o", q, k, v, elsewhere(o, other));
    refused("k", elsewhere(q, other), k, v, o);
  }
  // A device that the machine has not.
  const seqmix::device none{cuda, cuda_device_count()};
  const seqmix::error e = error_of([&] {
    seqmix::softmax_attention(elsewhere(q, none), elsewhere(k, none), elsewhere(v, none),
                              elsewhere(o, none));
  });
  CAPTURE(e.what());
  CHECK(std::string(e.what()).find("CUDA device " + std::to_string(none.ordinal)) !=
        std::string::npos);
  there.fetch_outputs();
  CHECK(p.o.untouched());
  CHECK(p.lse.untouched());
}

namespace {

/// A tensor of shape [3, 3, 3, 64] in shared memory of the device, in which one axis has a stride
/// beyond 2^31 elements.
tensor_view<bf16, 4> far_view(std::byte* memory, std::int64_t slot, std::size_t axis,
                              std::int64_t stride) {
  std::int64_t strides[4] = {9 * 64, 3 * 64, 64, 1};
  strides[axis] = stride;
  bf16* first = reinterpret_cast<bf16*>(memory) + slot * 2048 + (stride < 0 ? -2 * stride : 0);
  return {first, {3, 3, 3, 64}, {strides[0], strides[1], strides[2], strides[3]}, {cuda, 0}};
}

/// Copies the rows of the last axis between a tensor and far-apart memory.
void copy_far(tensor<4>& t, const tensor_view<bf16, 4>& there, bool to_device) {
  auto* dense = reinterpret_cast<std::byte*>(t.view<bf16>().data_handle());
  for (std::int64_t b = 0; b < 3; ++b) {
    for (std::int64_t s = 0; s < 3; ++s) {
      for (std::int64_t h = 0; h < 3; ++h) {
        std::byte* here = dense + ((b * 3 + s) * 3 + h) * 64 * 2;
        void* row = &there(b, s, h, 0);
        cuda_check(
            cudaMemcpy(to_device ? row : here, to_device ? here : row, 64 * 2, cudaMemcpyDefault),
            "cudaMemcpy of a row");
      }
    }
  }
}

}  // namespace

TEST_CASE("strides beyond 2^31 elements on the GPU", "[device]") {
  constexpr std::int64_t far = (std::int64_t{1} << 31) + 16384;
  constexpr std::size_t bytes = (2 * static_cast<std::size_t>(far + 8) + 4 * 2048) * 2;
  std::size_t free = 0;
  std::size_t total = 0;
  cuda_check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  if (free < bytes + (std::size_t{1} << 29)) {
    std::printf(
        "not run: strides beyond 2^31 elements, which take %zu MiB of the GPU's memory; "
        "%zu MiB are free\n",
        bytes >> 20, free >> 20);
    return;
  }
  const cuda_memory memory(bytes, {cuda, 0});
  attention_case c{.B = 3, .T = 3, .S = 3, .H = 3, .HK = 3, .D = 64, .V = 64, .causal = true};
  c.types = device_types_of<bf16>();
  attention_problem p(c);
  c.q = c.k = c.v = layout::strided;
  attention_problem apart(c);
  for (const algorithm how : {algorithm::prefill, algorithm::decode}) {
    run(device_calls_for<bf16>(), p, {.how = how});
    run(device_calls_for<bf16>(), apart, {.how = how});
    const output_bits in_chunks = bits_of(p);
    const output_bits by_elements = bits_of(apart);
    for (std::size_t axis = 0; axis < 3; ++axis) {
      // Rows on 16-byte borders, rows that are not, and rows in descending order.
      for (const std::int64_t stride : {far, far + 3, -far}) {
        const auto q = far_view(memory.data(), 0, axis, stride);
        const auto k = far_view(memory.data(), 1, axis, stride);
        const auto v = far_view(memory.data(), 2, axis, stride);
        const auto o = far_view(memory.data(), 3, axis, stride);
        copy_far(p.q, q, true);
        copy_far(p.k, k, true);
        copy_far(p.v, v, true);
        p.clear_outputs();
        copy_far(p.o, o, true);
        cuda_check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
        seqmix::softmax_attention(q, k, v, o, {.causal = true}, {.pin = pin_of(how)});
        cuda_check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
        copy_far(p.o, o, false);
        CAPTURE(name(how), axis, stride);
        CHECK(bits_of(p) == (stride == far ? in_chunks : by_elements));
      }
    }
  }
}
