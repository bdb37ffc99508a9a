// SPDX-License-Identifier: Apache-2.0
#include "../common/isa.hpp"
#include "instances.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

namespace {

using problem = softmax_attention_problem;
using feature = softmax_attention_feature;

/// The kernels of one instruction set.
struct attention_table {
  const char* target;  // as `explain` names it: what the kernels' own tag is called
  const attention *f32, *f64, *f16, *bf16, *f32_over_f16, *f32_over_bf16;

  /// Null where there are none for these element types.
  const attention* of(const problem& p) const noexcept {
    const auto are = [&](scalar_type q, scalar_type kv) {
      return p.q.type == q && p.o.type == q && p.k.type == kv && p.v.type == kv;
    };
    return are(scalar_type::f32, scalar_type::f32)     ? f32
           : are(scalar_type::f64, scalar_type::f64)   ? f64
           : are(scalar_type::f16, scalar_type::f16)   ? f16
           : are(scalar_type::bf16, scalar_type::bf16) ? bf16
           : are(scalar_type::f32, scalar_type::f16)   ? f32_over_f16
           : are(scalar_type::f32, scalar_type::bf16)  ? f32_over_bf16
                                                       : nullptr;
  }
};

template <isa I>
const attention_table& table() noexcept {
  if constexpr (I == isa::avx2) {
    static const attention_table t{
        "fma3+avx2",       &avx2::flash_f32,          &avx2::flash_f64,          &avx2::flash_f16,
        &avx2::flash_bf16, &avx2::flash_f32_over_f16, &avx2::flash_f32_over_bf16};
    return t;
  } else {
    static const attention_table t{"avx512bw",
                                   &avx512::flash_f32,
                                   &avx512::flash_f64,
                                   &avx512::flash_f16,
                                   &avx512::flash_bf16,
                                   &avx512::flash_f32_over_f16,
                                   &avx512::flash_f32_over_bf16};
    return t;
  }
}

template <isa I>
dispatch::offer query(const problem& p, const context& ctx) {
  dispatch::offer answer;
  answer.target = table<I>().target;
  const attention* kernel = table<I>().of(p);
  answer.lacks = lacking(I);
  if (!answer.lacks.empty()) {
    return answer;
  }
  if (p.required.contains(feature::score_functor) || p.required.contains(feature::mask_functor)) {
    answer.lacks = "functors: only the caller's unit knows their types";
  } else if (kernel == nullptr) {
    answer.lacks = "these element types (it has f32, f64, f16, bf16, and f32 over f16 or bf16)";
  } else {
    answer = kernel->query(p, ctx);
  }
  return answer;
}

template <isa I>
detail::violation run(const problem& p, const context& ctx, std::byte* scratch) {
  return table<I>().of(p)->run(p, ctx, scratch);
}

/// The widest set first; a GPU is asked before.
template <isa I>
dispatch::backend<problem>& entry() noexcept {
  static dispatch::backend<problem> b{
      .entry = {"multiarch", dispatch::processor::cpu, &query<I>, &run<I>},
      .preference = I == isa::avx512 ? 20 : 10};
  return b;
}

}  // namespace

}  // namespace multiarch

SEQMIX_END_NAMESPACE

// Its name keeps the unit in programs that name nothing of it.
extern "C" const bool seqmix_multiarch_softmax_attention_registered = [] {
  using namespace seqmix;
  dispatch::registry<softmax_attention_problem>::add(multiarch::entry<multiarch::isa::avx512>());
  dispatch::registry<softmax_attention_problem>::add(multiarch::entry<multiarch::isa::avx2>());
  return true;
}();
