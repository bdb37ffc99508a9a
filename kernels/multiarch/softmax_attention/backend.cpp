// SPDX-License-Identifier: Apache-2.0
#include "../common/backend.hpp"
#include "instances.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

namespace {

struct attention_kernels {
  using problem = softmax_attention_problem;

  static dispatch::fixed_text<128> lacking(const problem& p) noexcept {
    using feature = softmax_attention_feature;
    if (p.required.contains(feature::score_functor) || p.required.contains(feature::mask_functor)) {
      return "functors: only the caller's unit knows their types";
    }
    if (of<isa::avx2>(p) == nullptr) {
      return "these element types (it has f32, f64, f16, bf16, and f32 over f16, bf16 or i8)";
    }
    return {};
  }

  /// Null where there is none for these element types.
  template <isa I>
  static const attention* of(const problem& p) noexcept {
    for (const kernel& x : kernels) {
      if (p.q.type == x.q && p.o.type == x.q && p.k.type == x.kv && p.v.type == x.kv) {
        return I == isa::avx2 ? x.avx2 : x.avx512;
      }
    }
    return nullptr;
  }

 private:
  struct kernel {
    scalar_type q;  // and the output's
    scalar_type kv;
    const attention* avx2;
    const attention* avx512;
  };
  static constexpr kernel kernels[] = {
      {scalar_type::f32, scalar_type::f32, &avx2::flash_f32, &avx512::flash_f32},
      {scalar_type::f64, scalar_type::f64, &avx2::flash_f64, &avx512::flash_f64},
      {scalar_type::f16, scalar_type::f16, &avx2::flash_f16, &avx512::flash_f16},
      {scalar_type::bf16, scalar_type::bf16, &avx2::flash_bf16, &avx512::flash_bf16},
      {scalar_type::f32, scalar_type::f16, &avx2::flash_f32_over_f16, &avx512::flash_f32_over_f16},
      {scalar_type::f32, scalar_type::bf16, &avx2::flash_f32_over_bf16,
       &avx512::flash_f32_over_bf16},
      {scalar_type::f32, scalar_type::i8, &avx2::flash_f32_over_i8, &avx512::flash_f32_over_i8},
  };
};

}  // namespace

}  // namespace multiarch

SEQMIX_END_NAMESPACE

// Its name keeps the unit in programs that name nothing of it.
extern "C" const bool seqmix_multiarch_softmax_attention_registered =
    seqmix::multiarch::backends<seqmix::multiarch::attention_kernels>::add();
