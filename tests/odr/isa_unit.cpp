// SPDX-License-Identifier: Apache-2.0
// What a compiled back-end takes from the headers for one instruction set: kernels only, reached
// through their descriptors. Compiled once per instruction set; see CMakeLists.txt.
#include <seqmix/ops/matrix_recurrence/cpu.hpp>
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

using recurrence = seqmix::dispatch::implementation<seqmix::matrix_recurrence_problem>;
using seqmix::state_decay;
using seqmix::state_update;

template <class C, state_decay Decay, state_update Update>
constexpr const recurrence* entry =
    &seqmix::detail::matrix_recurrence_entry<C, seqmix::simd::default_arch, Decay, Update>;

extern const recurrence* const delta_f32;
extern const recurrence* const general_f32;
extern const recurrence* const gated_f64;
const recurrence* const delta_f32 = entry<float, state_decay::scalar, state_update::delta>;
const recurrence* const general_f32 = entry<float, state_decay::per_key, state_update::general>;
const recurrence* const gated_f64 = entry<double, state_decay::per_key, state_update::none>;

}  // namespace odr::SEQMIX_ODR_ISA
