// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/elementwise_scan/cpu.hpp>
#include <seqmix/ops/elementwise_scan/gated_steps.hpp>
#include <seqmix/ops/elementwise_scan/modes.hpp>

#include "instances.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

/// All forms that compute in C and read and write rows of T where they lie.
template <class C, class T, class Arch>
constexpr elementwise_scans scans_of() noexcept {
  elementwise_scans all{};
  using types = detail::scan_types<C, T>;
  const auto put = [&]<class Form>(scan_form form) {
    all[static_cast<std::size_t>(form)] = {"scan", dispatch::processor::cpu,
                                           &detail::scan_cpu<Arch, Form>::query,
                                           &detail::scan_cpu<Arch, Form>::run};
  };
  const auto steps = [&]<template <class, class> class... Step>() {
    (put.template operator()<detail::fixed_scan<types, Arch, Step>>(Step<C, Arch>::form), ...);
  };
  const auto modes = [&]<template <class, class> class... Mode>() {
    (put.template operator()<detail::mode_scan<types, Arch, Mode>>(Mode<C, Arch>::form), ...);
  };
  steps.template operator()<
      detail::affine_of<false>::step, detail::affine_of<true>::step, detail::complex_step,
      detail::log_sum_exp_step, detail::max_step, detail::sum_step, detail::hgrn_of<false>::step,
      detail::hgrn_of<true>::step, detail::rg_lru_step, detail::min_gru_step, detail::rwkv4_step,
      detail::prefix_softmax_step, detail::token_shift_step, detail::sum_of_four_step>();
  modes.template operator()<detail::damped_mode, detail::complex_mode>();
  return all;
}

}  // namespace multiarch

SEQMIX_END_NAMESPACE
