// SPDX-License-Identifier: Apache-2.0
// What a compiled back-end takes from the headers for one instruction set: kernels only, reached
// through their descriptors. Compiled once per instruction set; see CMakeLists.txt.
#include <seqmix/ops/softmax_attention/cpu.hpp>

namespace odr::SEQMIX_ODR_ISA {

using implementation = seqmix::dispatch::implementation<seqmix::softmax_attention_problem>;

template <class T>
constexpr const implementation* flash =
    &seqmix::detail::flash_attention_entry<T, T, T, T, seqmix::simd::default_arch>;

extern const implementation* const flash_f32;
extern const implementation* const flash_f64;
extern const implementation* const flash_bf16;
const implementation* const flash_f32 = flash<float>;
const implementation* const flash_f64 = flash<double>;
const implementation* const flash_bf16 = flash<seqmix::bf16>;

}  // namespace odr::SEQMIX_ODR_ISA
