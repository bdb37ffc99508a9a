// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <seqmix/common/sequence.hpp>
#include <seqmix/core/view_of.hpp>
#include <seqmix/ops/elementwise_scan/options.hpp>

SEQMIX_BEGIN_NAMESPACE

/// What a scan does with a token: the step that its engine is compiled for.
enum class scan_form {
  affine,
  affine_log,
  affine_complex,
  log_sum_exp,
  max,
  sum,
  hgrn,
  hgrn_log,
  rg_lru,
  min_gru,
  rwkv4,
  prefix_softmax,
  token_shift,
  sum_of_four,
  damped_ema,
  diagonal_ssm,
};
inline constexpr int scan_form_count = 16;

/// The descriptor of one scan over time. Tensors [B, T1, T2, H, D] run over T1 T2 tokens, T2
/// fastest; where an axis does not appear in a call it has extent 1, and what does not change along
/// one has stride 0 there.
struct scan_problem {
  static constexpr const char* operator_name = "elementwise_scan";
  static constexpr std::size_t most_inputs = 4;
  static constexpr std::size_t most_parameters = 6;

  std::array<any_view<5>, most_inputs> inputs{};
  std::array<const char*, most_inputs> names{};
  std::array<any_view<3>, most_parameters> parameters{};  // [D, N, 1 or 2]: what does not change
  std::array<const char*, most_parameters> parameter_names{};
  std::array<any_out<5>, 2> outputs{};  // the second of complex numbers only
  scan_form form = scan_form::affine;
  scan_monoid monoid = scan_monoid::affine;
  bool exclusive = false;
  bool log_decay = false;           // decays are given as logarithms
  bool flag = false;                // a choice of the form
  bool accumulate = false;          // outputs are added to what there is
  std::array<double, 2> numbers{};  // numbers of the form
  std::int64_t state_numbers = 1;   // S
  bool head_states = false;         // states are [N, H, S] with D channels among the S

  any_view<3> initial_state;  // [N or pool, D, S]
  any_out<3> final_state;
  any_view<1> initial_slots;
  any_view<1> final_slots;
  scan_direction direction = scan_direction::forward;

  bool packed = false;
  std::int64_t sequences = 0;
  any_view<1> offsets;  // [sequences + 1], packed only

  constexpr const any_out<5>& out() const noexcept { return outputs[0]; }
  constexpr std::int64_t inner_tokens() const noexcept { return out().extents[2]; }
  constexpr std::int64_t tokens() const noexcept { return out().extents[1] * out().extents[2]; }
  constexpr std::int64_t heads() const noexcept { return out().extents[3]; }
  constexpr std::int64_t channels() const noexcept { return out().extents[4]; }
};

namespace detail {

SEQMIX_ALWAYS_INLINE sequence_place sequence_at(const scan_problem& p, std::int64_t n) noexcept {
  return sequence_place_at(p, n, p.tokens(), p.direction == scan_direction::reverse);
}

/// The place of token `place`'s row in a tensor of a scan.
template <class Pointer>
SEQMIX_ALWAYS_INLINE std::int64_t scan_row_at(const erased_view<Pointer, 5>& x,
                                              std::int64_t inner_tokens, std::int64_t batch,
                                              std::int64_t place, std::int64_t head) noexcept {
  return batch * x.strides[0] + place / inner_tokens * x.strides[1] +
         place % inner_tokens * x.strides[2] + head * x.strides[3];
}

/// Where number s of the state of channel d lies, beside the states' entry.
SEQMIX_ALWAYS_INLINE std::int64_t scan_state_at(const scan_problem& p,
                                                const std::array<std::int64_t, 3>& strides,
                                                std::int64_t head, std::int64_t d,
                                                std::int64_t s) noexcept {
  // Of a head: the numbers that its channels share, then one for each channel.
  return p.head_states ? head * strides[1] + (s + (s + 1 == p.state_numbers ? d : 0)) * strides[2]
                       : (head * p.channels() + d) * strides[1] + s * strides[2];
}

}  // namespace detail

SEQMIX_END_NAMESPACE
