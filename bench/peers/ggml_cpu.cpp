// SPDX-License-Identifier: Apache-2.0
// ggml's operators on the CPU behind a C interface, for run.py. A block of calls is one graph of as
// many nodes, so that what ggml needs for a graph counts once.
#include <ggml-cpu.h>
#include <ggml.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "call.hpp"

namespace {

thread_local std::string text;  // what the functions below return

constexpr std::size_t most_leaves = 16;

class block {
 public:
  block(const peer_call& call, std::int64_t nodes)
      : call_(call),
        context_(ggml_init(
            {.mem_size = ggml_tensor_overhead() * (static_cast<std::size_t>(nodes) + most_leaves) +
                         ggml_graph_overhead_custom(size_of(nodes), false),
             .mem_buffer = nullptr,
             .no_alloc = true})) {
    ggml_threadpool_params threads = ggml_threadpool_params_default(call.threads);
    pool_.reset(ggml_threadpool_new(&threads));
    graph_ = ggml_new_graph_custom(context_.get(), size_of(nodes), false);
    const std::vector<ggml_tensor*> leaves = make_leaves();
    for (std::int64_t i = 0; i < nodes; ++i) {
      ggml_tensor* node = make_node(leaves);
      if (node == nullptr) {
        return;
      }
      node->data = call.output;
      ggml_build_forward_expand(graph_, node);
    }
    plan_ = ggml_graph_plan(graph_, call.threads, pool_.get());
    work_.resize(plan_.work_size);
    plan_.work_data = work_.data();
    ready_ = true;
  }

  bool ready() const { return ready_; }
  bool run() { return ggml_graph_compute(graph_, &plan_) == GGML_STATUS_SUCCESS; }

 private:
  struct free_context {
    void operator()(ggml_context* p) const { ggml_free(p); }
  };
  struct free_pool {
    void operator()(ggml_threadpool* p) const { ggml_threadpool_free(p); }
  };

  static std::size_t size_of(std::int64_t nodes) {
    return static_cast<std::size_t>(nodes) + most_leaves;
  }

  /// A dense tensor in the caller's memory; the first extent is that of neighbours in memory.
  ggml_tensor* leaf(const void* data, std::initializer_list<std::int64_t> extents,
                    ggml_type type = GGML_TYPE_F32) {
    ggml_tensor* t =
        ggml_new_tensor(context_.get(), type, static_cast<int>(extents.size()), extents.begin());
    t->data = const_cast<void*>(data);
    return t;
  }

  bool is(std::string_view name) const { return name == call_.operation; }

  std::vector<ggml_tensor*> make_leaves() {
    const peer_call& c = call_;
    const auto row = [&](int i) { return leaf(c.inputs[i], {c.K, c.H, c.T}); };
    if (is("gated_linear_attn")) {
      return {row(0), row(1), row(2), row(3), leaf(c.state, {c.K * c.K * c.H, 1})};
    }
    if (is("rwkv_wkv7")) {
      return {row(0), row(1), row(2), row(3), row(4), row(5), leaf(c.state, {c.K * c.K * c.H, 1})};
    }
    if (is("gated_delta_net") || is("gated_delta_net_per_key")) {
      const bool one = is("gated_delta_net");
      return {row(0),
              row(1),
              row(2),
              leaf(c.inputs[3], {one ? 1 : c.K, c.H, c.T}),
              leaf(c.inputs[4], {1, c.H, c.T}),
              leaf(c.state, {c.K, c.K, c.H, 1})};
    }
    if (is("ssm_conv")) {
      return {leaf(c.inputs[0], {c.K - 1 + c.T, c.H, 1}), leaf(c.inputs[1], {c.K, c.H})};
    }
    if (is("ssm_scan") || is("ssm_scan_per_state")) {
      static constexpr std::int32_t first_sequence = 0;
      const std::int64_t decays = is("ssm_scan") ? 1 : c.K;
      return {leaf(c.state, {c.K, c.V, c.H, 1}),        leaf(c.inputs[0], {c.V, c.H, c.T, 1}),
              leaf(c.inputs[1], {c.H, c.T, 1}),         leaf(c.inputs[2], {decays, c.H}),
              leaf(c.inputs[3], {c.K, 1, c.T, 1}),      leaf(c.inputs[4], {c.K, 1, c.T, 1}),
              leaf(&first_sequence, {1}, GGML_TYPE_I32)};
    }
    if (is("flash_attn_ext")) {
      ggml_tensor* k = leaf(c.inputs[1], {c.K, c.HK, c.S}, cache_type());
      ggml_tensor* v = leaf(c.inputs[2], {c.V, c.HK, c.S}, cache_type());
      ggml_tensor* mask = c.causal != 0 ? leaf(c.inputs[3], {c.S, c.T}, GGML_TYPE_F16) : nullptr;
      return {heads_last(row(0)), heads_last(k), heads_last(v), mask};
    }
    return {};
  }

  /// Of keys and values; ggml's int8 are blocks of 32 with a scale of f16.
  ggml_type cache_type() const {
    return call_.types == peer_types::f32_over_bf16 ? GGML_TYPE_BF16
           : call_.types == peer_types::f32_over_i8 ? GGML_TYPE_Q8_0
                                                    : GGML_TYPE_F32;
  }

  /// [channels, heads, tokens] seen as [channels, tokens, heads].
  static ggml_tensor* heads_last(ggml_tensor* t) {
    std::swap(t->ne[1], t->ne[2]);
    std::swap(t->nb[1], t->nb[2]);
    return t;
  }

  ggml_tensor* make_node(std::span<ggml_tensor* const> x) {
    ggml_context* ctx = context_.get();
    const auto scale = static_cast<float>(call_.scale);
    if (is("gated_linear_attn")) {
      return ggml_gated_linear_attn(ctx, x[0], x[1], x[2], x[3], x[4], scale);
    }
    if (is("rwkv_wkv7")) {
      return ggml_rwkv_wkv7(ctx, x[0], x[1], x[2], x[3], x[4], x[5], x[6]);
    }
    if (is("gated_delta_net") || is("gated_delta_net_per_key")) {
      return ggml_gated_delta_net(ctx, x[0], x[1], x[2], x[3], x[4], x[5], 1);
    }
    if (is("ssm_conv")) {
      return ggml_ssm_conv(ctx, x[0], x[1]);
    }
    if (is("ssm_scan") || is("ssm_scan_per_state")) {
      return ggml_ssm_scan(ctx, x[0], x[1], x[2], x[3], x[4], x[5], x[6], 1);
    }
    if (is("flash_attn_ext")) {
      return ggml_flash_attn_ext(ctx, x[0], x[1], x[2], x[3], scale, 0.0f, 0.0f);
    }
    return nullptr;
  }

  peer_call call_;
  std::unique_ptr<ggml_context, free_context> context_;
  std::unique_ptr<ggml_threadpool, free_pool> pool_;
  ggml_cgraph* graph_ = nullptr;
  ggml_cplan plan_{};
  std::vector<std::uint8_t> work_;
  bool ready_ = false;
};

}  // namespace

/// A graph of `nodes` equal calls, which reads and writes the call's memory; null when ggml has no
/// such operator. ggml ends the process when it takes no such shapes.
SEQMIX_PEER_EXPORT void* ggml_peer_open(const peer_call* call, std::int64_t nodes) {
  auto made = std::make_unique<block>(*call, nodes);
  return made->ready() ? made.release() : nullptr;
}

/// Computes the graph: 1, or 0 when it could not.
SEQMIX_PEER_EXPORT std::int32_t ggml_peer_run(void* opened) {
  return static_cast<block*>(opened)->run() ? 1 : 0;
}

SEQMIX_PEER_EXPORT void ggml_peer_close(void* opened) { delete static_cast<block*>(opened); }

/// "ggml": version and commit; "isa": what it was compiled to.
SEQMIX_PEER_EXPORT const char* ggml_peer_about(const char* what) {
  if (std::string_view(what) == "ggml") {
    text = std::string(ggml_version()) + " " + ggml_commit();
  } else {
    text = ggml_cpu_has_avx512() != 0 ? "avx512" : ggml_cpu_has_avx2() != 0 ? "avx2" : "other";
    text += ggml_cpu_has_fma() != 0 ? " fma" : "";
  }
  return text.c_str();
}
