// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/matrix_recurrence/cpu.hpp>

#include "instances.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

template <class C, class Arch>
constexpr recurrence_table table_of() noexcept {
  recurrence_table t{};
  const auto put = [&]<state_decay Decay, state_update Update>() {
    t.of[static_cast<int>(Decay)][static_cast<int>(Update)] =
        &detail::matrix_recurrence_entry<C, Arch, Decay, Update>;
  };
  put.template operator()<state_decay::none, state_update::none>();
  put.template operator()<state_decay::scalar, state_update::none>();
  put.template operator()<state_decay::per_key, state_update::none>();
  put.template operator()<state_decay::none, state_update::delta>();
  put.template operator()<state_decay::scalar, state_update::delta>();
  put.template operator()<state_decay::per_key, state_update::delta>();
  put.template operator()<state_decay::per_key, state_update::general>();
  return t;
}

}  // namespace multiarch

SEQMIX_END_NAMESPACE
