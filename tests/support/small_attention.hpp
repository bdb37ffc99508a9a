// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>
#include <vector>

/// A small float call, [1, T, 2, 4] on 6 keys, whose output starts as `untouched`: for tests of
/// everything around the kernel. Its tensors may claim to be on a device.
struct small_attention {
  static constexpr float untouched = -7.0f;
  std::int64_t T;
  seqmix::device memory{};
  std::vector<float> q, k, v, o;

  explicit small_attention(std::int64_t rows = 3)
      : T(rows), q(fill(rows * 8)), k(fill(48)), v(fill(48)) {
    reset();
  }

  static std::vector<float> fill(std::int64_t n) {
    std::vector<float> x(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<float>(i * 37 % 101) / 50.0f - 1.0f;
    }
    return x;
  }
  void reset() { o.assign(q.size(), untouched); }
  bool wrote_nothing() const { return o == std::vector<float>(o.size(), untouched); }

  template <class F>
  auto with_views(F&& f) {
    return f(tensor(q, T), tensor(k, 6), tensor(v, 6), tensor(o, T));
  }
  void operator()(const seqmix::context& ctx = {},
                  const seqmix::softmax_attention_options& options = {}) {
    with_views([&](auto q4, auto k4, auto v4, auto o4) {
      seqmix::softmax_attention(q4, k4, v4, o4, options, ctx);
    });
  }
  seqmix::dispatch_report explain(const seqmix::context& ctx = {},
                                  const seqmix::softmax_attention_options& options = {}) {
    return with_views([&](auto q4, auto k4, auto v4, auto o4) {
      return seqmix::softmax_attention.explain(q4, k4, v4, o4, options, ctx);
    });
  }
  std::size_t workspace_bytes(const seqmix::context& ctx = {}) {
    return with_views([&](auto q4, auto k4, auto v4, auto o4) {
      return seqmix::softmax_attention.workspace_bytes(q4, k4, v4, o4, {}, ctx);
    });
  }

 private:
  seqmix::tensor_view<float, 4> tensor(std::vector<float>& x, std::int64_t time) const {
    return {x.data(), {std::int64_t{1}, time, std::int64_t{2}, std::int64_t{4}}, memory};
  }
};
