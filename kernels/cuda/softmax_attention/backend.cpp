// SPDX-License-Identifier: Apache-2.0
#include "backend.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <limits>
#include <string>

#include "../common/gpu.hpp"
#include "../common/stream_memory.hpp"
#include "full_check.hpp"
#include "launch.hpp"
#include "plan.hpp"
#include "splits.hpp"
#include "staging.hpp"
#include "staging_policy.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

namespace {

using feature = softmax_attention_feature;
using text = dispatch::fixed_text<128>;

constexpr dispatch::feature_set<feature> supported{
    feature::causal,       feature::window, feature::sink_tokens, feature::grouped_heads,
    feature::unequal_dims, feature::varlen, feature::key_lengths, feature::lse,
    feature::f16,          feature::bf16,   feature::sink_logits, feature::softcap,
    feature::alibi_slopes};

/// What the kernels lack for this call, whatever the machine; empty when nothing.
text lacking(const softmax_attention_problem& p, const attention_kernels& kernels) {
  auto missing = p.required.without(supported);
  if (kernels.score_functor) {
    missing = missing.without(dispatch::feature_set<feature>{feature::score_functor});
  }
  if (kernels.mask_functor) {
    missing = missing.without(dispatch::feature_set<feature>{feature::mask_functor});
  }
  if (missing.contains(feature::score_functor) || missing.contains(feature::mask_functor)) {
    return "score and mask functors here: call from a .cu file that includes "
           "<seqmix/cuda/softmax_attention/functor.cuh>";
  }
  if (!missing.empty()) {
    return name(missing.first());
  }
  if (p.q.type != scalar_type::f16 && p.q.type != scalar_type::bf16) {
    return name(p.q.type);
  }
  if (const std::int64_t widest = std::max(p.key_dim(), p.value_dim());
      widest > largest_attention_width) {
    text t("head dimension ");
    t.append(std::to_string(widest));
    t.append(" (it has 1 to ");
    t.append(std::to_string(largest_attention_width));
    t.append(")");
    return t;
  }
  // Row numbers are 32 bits wide in the kernels, and so is a launch's number of blocks.
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max() - 1024;
  const std::int64_t rows = p.q.extents[1] / 16 + 1;
  if (p.q.extents[1] > most || p.k.extents[1] > most || p.heads() > most || p.sequences > most ||
      static_cast<double>(rows) * static_cast<double>(p.heads()) *
              static_cast<double>(p.sequences) >
          static_cast<double>(most)) {
    return "extents beyond 32 bits";
  }
  return {};
}

/// What is in the way of running on the device that holds the tensors.
text device_problem(const softmax_attention_problem& p) {
  const gpu_list& all = gpus();
  if (all.count == 0) {
    return all.problem;
  }
  if (p.q.memory.ordinal < 0 || p.q.memory.ordinal >= all.count) {
    text t("a CUDA device ");
    t.append(std::to_string(p.q.memory.ordinal));
    return t;
  }
  for (const any_view<1>* v : {&p.q_offsets, &p.k_offsets, &p.k_lengths}) {
    if (v->given() && v->extents[0] > 0 && v->memory != p.q.memory) {
      return "offsets or lengths in other memory than the device tensors'";
    }
  }
  return {};
}

/// What is in the way of staging host tensors.
text staging_problem(const softmax_attention_problem& p, const context& ctx) {
  const staging_work work = work_of(p, ctx);
  const bool asked_for = ctx.device == device_policy::cuda || ctx.pin.implementation == "cuda";
  if (!asked_for && work.operations < least_staged_operations) {
    return "a problem large enough to be worth a copy to the GPU";
  }
  const gpu_list& all = gpus();
  if (all.count == 0) {
    return all.problem;
  }
  if (asked_for) {
    return {};
  }
  const int ordinal = staging_ordinal();
  staging_work here = work;
  here.has_context = has_context(ordinal);
  if (!worth_staging(staging_constants_for(all.gpus[ordinal].name.view()), here)) {
    return "a problem large enough to be worth a copy to the GPU";
  }
  return fits(p, ordinal, here.has_context) ? "" : "free memory on the GPU for these tensors";
}

/// How a call on a device is computed, and for kernels that load element by element the tensor that
/// is in the way of the faster ones.
dispatch::fixed_text<64> algorithm_of(const softmax_attention_problem& p,
                                      const attention_plan& plan, bool boxes) {
  constexpr const char* slow = " element by element";
  const char* const outside_vectors = not_in_vectors(p);
  const char* const outside_boxes = boxes ? not_in_boxes(p) : outside_vectors;
  const bool slow_decode = plan.decode && outside_vectors != nullptr;
  const bool slow_prefill = plan.prefill && outside_boxes != nullptr;
  const char* const reason = slow_decode ? outside_vectors : slow_prefill ? outside_boxes : nullptr;
  dispatch::fixed_text<64> t;
  if (plan.prefill) {
    t.append("prefill");
    t.append(slow_prefill ? (slow_decode ? "" : slow) : boxes ? " by the copy engine" : "");
  }
  if (plan.decode) {
    t.append(plan.prefill ? " and decode" : "decode");
    t.append(slow_decode ? slow : "");
  }
  if (reason != nullptr) {
    t.append(": layout of ");
    t.append(reason);
  }
  return t;
}

}  // namespace

dispatch::offer query_attention(const softmax_attention_problem& p, const context& ctx,
                                const attention_kernels& kernels) {
  dispatch::offer answer;
  const bool on_device = !p.q.memory.on_host();
  const attention_plan plan(p, ctx, kernels);
  answer.lacks = lacking(p, kernels);
  if (answer.lacks.empty() && plan.problem != nullptr) {
    answer.lacks = plan.problem;
  }
  if (answer.lacks.empty()) {
    answer.lacks = on_device ? device_problem(p) : staging_problem(p, ctx);
  }
  if (!answer.lacks.empty()) {
    return answer;
  }
  const int ordinal = on_device ? p.q.memory.ordinal : staging_ordinal();
  const gpu& g = gpus().gpus[ordinal];
  const char digits[] = {static_cast<char>('0' + g.major % 10), static_cast<char>('0' + g.minor),
                         '\0'};
  answer.target = g.name;
  answer.target.append(" (sm_");
  if (g.major >= 10) {
    answer.target.append("1");
  }
  answer.target.append(digits);
  answer.target.append(")");
  if (!kernels.serves(g.major, g.minor)) {
    answer.lacks = "kernels for this GPU's architecture";
  }
  if (on_device) {
    answer.algorithm = algorithm_of(p, plan, plan.prefill && kernels.boxes(p, g.major));
  } else {
    answer.algorithm = plan.name();
    answer.algorithm.append(" after a copy to the GPU");
  }
  answer.splits = plan.splits;
  answer.workspace_bytes = on_device ? full_check_bytes(p, ctx) : staging_bytes(p);
  return answer;
}

namespace {

int combine(const attention_params& params, scalar_type type, int major, void* stream);

/// Splits have blocks of threads of their own where whole sequences would leave much of the GPU
/// idle, if there is memory for it: which it is moves no bit. Of packed sequences the GPU alone
/// knows how few are decoded.
int launch_decoding(const softmax_attention_problem& p, attention_params& params, const gpu& on,
                    void* stream, const attention_kernels& kernels) {
  const std::int64_t blocks =
      decode_row_blocks(most_decode_rows(params)) * params.kv_heads * params.sequences;
  const bool apart = params.splits > 1 && blocks < 2 * std::int64_t{on.processors};
  const std::size_t bytes =
      apart ? static_cast<std::size_t>(partial_floats(params)) * sizeof(float) : 0;
  const stream_memory memory(p.q.memory.ordinal, bytes, stream);
  params.partials = static_cast<float*>(memory.data());
  int status = kernels.decode(params, p, on.major, stream);
  if (params.partials != nullptr && status == cudaSuccess) {
    status = combine(params, p.q.type, on.major, stream);
  }
  return status;
}

detail::violation launch(const softmax_attention_problem& p, const context& ctx, std::byte* scratch,
                         const attention_kernels& kernels) {
  if (detail::violation broken = full_check(p, ctx, scratch)) {
    return broken;
  }
  const attention_plan plan(p, ctx, kernels);
  attention_params params = params_of(p, plan);
  if (p.q.size() == 0 || params.sequences == 0 || params.max_q == 0) {
    return {};  // no row belongs to a sequence
  }
  const gpu& on = gpus().gpus[p.q.memory.ordinal];
  int status = cudaSuccess;
  if (plan.prefill) {
    params.mapped = kernels.boxes(p, on.major) && not_in_boxes(p) == nullptr;
    status = kernels.prefill(params, p, on.major, ctx.cuda_stream);
  }
  if (plan.decode && status == cudaSuccess) {
    status = launch_decoding(p, params, on, ctx.cuda_stream, kernels);
  }
  return cuda_violation(softmax_attention_problem::operator_name, "kernel launch", status);
}

}  // namespace

detail::violation run_attention(const softmax_attention_problem& p, const context& ctx,
                                std::byte* scratch, const attention_kernels& kernels) {
  const bool on_device = !p.q.memory.on_host();
  const current_gpu guard(on_device ? p.q.memory.ordinal : staging_ordinal());
  if (guard.status() != cudaSuccess) {
    return cuda_violation(softmax_attention_problem::operator_name, "device", guard.status());
  }
  if (on_device) {
    return launch(p, ctx, scratch, kernels);
  }
  return run_staged(p, ctx, scratch, [&](const softmax_attention_problem& on_gpu) {
    return launch(on_gpu, {.cuda_stream = ctx.cuda_stream, .pin = ctx.pin}, nullptr, kernels);
  });
}

// ---- the library's own kernels ----

namespace {

/// The launchers of one kernel family, by type and width.
template <class Arch>
struct family {
  static int prefill(const attention_params& p, scalar_type type, void* stream) {
    if constexpr (std::is_same_v<Arch, hopper>) {
      if (p.mapped) {
        return with_width(attention_widths{}, p, [&]<int W>() {
          return type == scalar_type::bf16 ? launch_hopper_prefill<bf16, W>(p, stream)
                                           : launch_hopper_prefill<f16, W>(p, stream);
        });
      }
    }
    return with_width(attention_widths{}, p, [&]<int W>() {
      return type == scalar_type::bf16 ? launch_prefill<Arch, bf16, W>(p, stream)
                                       : launch_prefill<Arch, f16, W>(p, stream);
    });
  }
  static int combine(const attention_params& p, scalar_type type, void* stream) {
    return type == scalar_type::bf16 ? launch_combine<Arch, bf16>(p, stream)
                                     : launch_combine<Arch, f16>(p, stream);
  }
  static int decode(const attention_params& p, scalar_type type, void* stream) {
    return with_width(attention_widths{}, p, [&]<int W>() {
      return type == scalar_type::bf16 ? launch_decode<Arch, bf16, W>(p, stream)
                                       : launch_decode<Arch, f16, W>(p, stream);
    });
  }
};

// A family that is not built (CMAKE_CUDA_ARCHITECTURES leaves it out) is not named.
#if SEQMIX_CUDA_HOPPER
constexpr bool has_hopper = true;
#else
constexpr bool has_hopper = false;
#endif
#if SEQMIX_CUDA_PORTABLE
constexpr bool has_portable = true;
#else
constexpr bool has_portable = false;
#endif
static_assert(has_hopper || has_portable);

bool runs_hopper(int major) noexcept { return has_hopper && (major == 9 || !has_portable); }

/// `f` of the family that runs there.
template <class F>
int with_family(int major, F&& f) {
  if constexpr (has_hopper) {
    if (runs_hopper(major)) {
      return f(family<hopper>{});
    }
  }
  if constexpr (has_portable) {
    return f(family<portable>{});
  }
}

int combine(const attention_params& params, scalar_type type, int major, void* stream) {
  return with_family(major, [&](auto kernels) { return kernels.combine(params, type, stream); });
}

constexpr attention_kernels own_kernels{
    .decode_rows = 64,
    .score_functor = false,
    .mask_functor = false,
    .prefill =
        [](const attention_params& p, const softmax_attention_problem& call, int major,
           void* stream) {
          return with_family(major,
                             [&](auto kernels) { return kernels.prefill(p, call.q.type, stream); });
        },
    .decode =
        [](const attention_params& p, const softmax_attention_problem& call, int major,
           void* stream) {
          return with_family(major,
                             [&](auto kernels) { return kernels.decode(p, call.q.type, stream); });
        },
    .boxes = [](const softmax_attention_problem&, int major) { return runs_hopper(major); },
    .serves =
        [](int major, int minor) {
          return (has_hopper && major == 9 && minor == 0) || (has_portable && major >= 8);
        },
};

dispatch::backend<softmax_attention_problem> registered{
    .entry = {
        .name = "cuda",
        .runs_on = dispatch::processor::cuda,
        .query = [](const softmax_attention_problem& p,
                    const context& ctx) { return query_attention(p, ctx, own_kernels); },
        .run = [](const softmax_attention_problem& p, const context& ctx,
                  std::byte* scratch) { return run_attention(p, ctx, scratch, own_kernels); }},
    .preference = 100,
};

bool register_attention() noexcept {
  dispatch::registry<softmax_attention_problem>::add(registered);
  return true;
}

}  // namespace

}  // namespace cuda

SEQMIX_END_NAMESPACE

// seqmix::cuda asks the linker to keep this symbol, and with it this unit's initialiser.
extern "C" const bool seqmix_cuda_softmax_attention_registered;
const bool seqmix_cuda_softmax_attention_registered = seqmix::cuda::register_attention();
