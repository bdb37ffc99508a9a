// SPDX-License-Identifier: Apache-2.0
#include "../common/isa.hpp"
#include "amx_instances.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch::amx {

namespace {

const attention& of(const softmax_attention_problem& p) noexcept {
  return p.o.type == scalar_type::bf16 ? tiles_bf16 : tiles_f32;
}

/// Changes nothing in the process: permission is a matter of `run`.
dispatch::offer query(const softmax_attention_problem& p, const context& ctx) {
  dispatch::offer answer;
  answer.target = target(isa::amx);
  answer.lacks = lacking(isa::amx);
  return answer.lacks.empty() ? of(p).query(p, ctx) : answer;
}

detail::violation run(const softmax_attention_problem& p, const context& ctx, std::byte* scratch) {
  if (!permit_tiles()) {
    return error(softmax_attention_problem::operator_name, "context.pin.implementation",
                 "one that the system permits",
                 "amx, whose tile registers it refuses this process");
  }
  return of(p).run(p, ctx, scratch);
}

/// Weights are rounded to bf16 here, and not in the other kernels: taken only where it is asked
/// for.
bool add() noexcept {
  static dispatch::backend<softmax_attention_problem> b{
      .entry = {"amx", dispatch::processor::cpu, &query, &run, /*automatic=*/false},
      .preference = 5};
  dispatch::registry<softmax_attention_problem>::add(b);
  return true;
}

}  // namespace

}  // namespace multiarch::amx

SEQMIX_END_NAMESPACE

// Its name keeps the unit in programs that name nothing of it.
extern "C" const bool seqmix_multiarch_softmax_attention_amx_registered =
    seqmix::multiarch::amx::add();
