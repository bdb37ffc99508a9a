// SPDX-License-Identifier: Apache-2.0
#include <seqmix/interop/dlpack.hpp>

#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

#include "support/catch.hpp"
#include "support/errors.hpp"

using seqmix::from_dlpack;
using seqmix::tensor_view;
using seqmix::to_dlpack;

namespace {

/// A float tensor [2, 3, 4] whose parts a test may change.
struct sample {
  float data[64] = {};
  std::int64_t shape[3] = {2, 3, 4};
  std::int64_t strides[3] = {24, 8, 2};
  DLTensor tensor{};

  sample() {
    tensor.data = data;
    tensor.device.device_type = kDLCPU;
    tensor.ndim = 3;
    tensor.dtype = {kDLFloat, 32, 1};
    tensor.shape = shape;
    tensor.strides = strides;
  }
  sample(const sample&) = delete;
};

template <class T = const float, class Change>
seqmix::error refusal(Change change) {
  sample s;
  change(s);
  const auto e = error_of([&] { from_dlpack<T, 3>(s.tensor); });
  CHECK(e.operator_name() == "from_dlpack");
  return e;
}

}  // namespace

TEST_CASE("a DLTensor with strides") {
  sample s;
  const auto v = from_dlpack<float, 3>(s.tensor);
  static_assert(std::is_same_v<decltype(v), const tensor_view<float, 3>>);
  CHECK(v.data_handle() == s.data);
  CHECK(v.extent(0) == 2);
  CHECK(v.extent(2) == 4);
  CHECK(v.stride(0) == 24);
  CHECK(v.stride(2) == 2);
  CHECK(v.memory() == seqmix::device{});
  CHECK(from_dlpack<const float, 3>(s.tensor).data_handle() == s.data);
}

TEST_CASE("null strides are dense and row-major") {
  sample s;
  s.tensor.strides = nullptr;
  const auto v = from_dlpack<const float, 3>(s.tensor);
  CHECK(v.stride(0) == 12);
  CHECK(v.stride(1) == 4);
  CHECK(v.stride(2) == 1);
}

TEST_CASE("byte_offset moves the data") {
  sample s;
  s.tensor.byte_offset = 20;
  CHECK(from_dlpack<float, 3>(s.tensor).data_handle() == s.data + 5);
  const auto e = refusal([](sample& t) { t.tensor.byte_offset = 6; });
  CHECK(e.argument() == "byte_offset");
  CHECK(e.expected() == "data aligned to 4 bytes");
  CHECK(e.actual() == "2 bytes past");
}

TEST_CASE("every element type has its code") {
  const auto accepts = []<class T>(std::type_identity<T>, DLDataTypeCode code, int bits) {
    for (int c = 0; c <= 5; ++c) {
      for (const int b : {8, 16, 32, 64}) {
        sample s;
        s.tensor.dtype = {static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(b), 1};
        bool accepted = true;
        try {
          from_dlpack<T, 3>(s.tensor);
        } catch (const seqmix::error& e) {
          accepted = false;
          CHECK(e.argument() == "dtype");
        }
        CHECK(accepted == (c == static_cast<int>(code) && b == bits));
      }
    }
  };
  accepts(std::type_identity<float>{}, kDLFloat, 32);
  accepts(std::type_identity<const double>{}, kDLFloat, 64);
  accepts(std::type_identity<seqmix::f16>{}, kDLFloat, 16);
  accepts(std::type_identity<const seqmix::bf16>{}, kDLBfloat, 16);
  accepts(std::type_identity<std::int32_t>{}, kDLInt, 32);
  accepts(std::type_identity<std::int64_t>{}, kDLInt, 64);
}

TEST_CASE("what a DLTensor must not be") {
  CHECK(std::string(refusal([](sample& s) { s.tensor.ndim = 2; }).what()) ==
        "seqmix::from_dlpack: ndim: expected 3, got 2");
  CHECK(refusal([](sample& s) { s.tensor.ndim = 0; }).argument() == "ndim");

  const auto lanes = refusal([](sample& s) { s.tensor.dtype.lanes = 4; });
  CHECK(lanes.argument() == "dtype");
  CHECK(lanes.expected() == "dtype {code 2, bits 32, lanes 1} for f32");
  CHECK(lanes.actual() == "dtype {code 2, bits 32, lanes 4}");

  const auto device = refusal([](sample& s) { s.tensor.device.device_type = kDLROCM; });
  CHECK(device.argument() == "device");
  CHECK(device.expected() == "CPU, CUDA or CUDA host memory");
  CHECK(device.actual() == "device type 10");

  const auto negative = refusal([](sample& s) { s.shape[1] = -3; });
  CHECK(negative.argument() == "shape");
  CHECK(negative.actual() == "axis 1 = -3");
  CHECK(refusal([](sample& s) { s.tensor.shape = nullptr; }).argument() == "shape");
  CHECK(refusal([](sample& s) {
          s.shape[0] = std::numeric_limits<std::int64_t>::max() / 2;
        }).argument() == "shape");

  const auto null = refusal([](sample& s) { s.tensor.data = nullptr; });
  CHECK(null.argument() == "data");
  CHECK(null.expected() == "data for shape [2, 3, 4]");
}

TEST_CASE("a tensor without elements may have null data") {
  sample s;
  s.shape[1] = 0;
  s.tensor.data = nullptr;
  s.tensor.byte_offset = 8;
  const auto v = from_dlpack<const float, 3>(s.tensor);
  CHECK(v.empty());
  CHECK(v.data_handle() == nullptr);
  CHECK(v.extent(0) == 2);
  CHECK(v.extent(1) == 0);
}

TEST_CASE("devices") {
  sample s;
  s.tensor.device.device_type = kDLCUDA;
  s.tensor.device.device_id = 3;
  CHECK(from_dlpack<float, 3>(s.tensor).memory() == seqmix::device{seqmix::device_kind::cuda, 3});
  s.tensor.device.device_type = kDLCUDAHost;
  CHECK(from_dlpack<float, 3>(s.tensor).memory().kind == seqmix::device_kind::cuda_pinned);
}

TEST_CASE("a view as a DLTensor, and back") {
  seqmix::bf16 x[40] = {};
  const seqmix::device gpu{seqmix::device_kind::cuda, 2};
  const tensor_view<const seqmix::bf16, 3> v{x + 7, {2, 3, 4}, {16, 5, -1}, gpu};
  seqmix::dlpack_shape<3> shape;
  const DLTensor t = to_dlpack(v, shape);
  CHECK(t.data == x + 7);
  CHECK(t.byte_offset == 0);
  CHECK(t.ndim == 3);
  CHECK(t.dtype.code == kDLBfloat);
  CHECK(t.dtype.bits == 16);
  CHECK(t.dtype.lanes == 1);
  CHECK(t.device.device_type == kDLCUDA);
  CHECK(t.device.device_id == 2);
  CHECK(t.shape == shape.extents);
  CHECK(t.shape[2] == 4);
  CHECK(t.strides[2] == -1);

  const auto back = from_dlpack<const seqmix::bf16, 3>(t);
  CHECK(back.data_handle() == v.data_handle());
  CHECK(back.extents().values == v.extents().values);
  CHECK(back.strides().values == v.strides().values);
  CHECK(back.memory() == gpu);

  seqmix::dlpack_shape<1> one;
  float y[2] = {};
  CHECK(to_dlpack(seqmix::view(y, 2), one).device.device_type == kDLCPU);
  const tensor_view<float, 1> pinned{y, {2}, seqmix::device{seqmix::device_kind::cuda_pinned, 0}};
  CHECK(to_dlpack(pinned, one).device.device_type == kDLCUDAHost);
}
