// SPDX-License-Identifier: Apache-2.0
#include "mixers.hpp"

#include <concepts>
#include <stdexcept>

mixer mixer_for(const model_config& config, std::size_t layer, int capacity,
                const attention_choice& choice) {
  const bool plain = !choice.half && choice.device != seqmix::device_policy::cuda;
  if (config.mixers[layer] != mixer_kind::softmax) {
    if (!plain) {
      throw std::invalid_argument("a recurrent layer runs in fp32 on the CPU");
    }
    return recurrence(config, config.mixers[layer]);
  }
  const int window = choice.window > 0 ? choice.window : config.window;
  if (window > 0) {
    if (!plain) {
      throw std::invalid_argument("a window runs in fp32 on the CPU");
    }
    return window_attention(config, choice.sinks, window);
  }
  if (choice.half) {
    return full_attention<seqmix::f16>(config, capacity, choice.device);
  }
  return full_attention<float>(config, capacity, choice.device);
}

void attend(mixer& m, const attention_rows& t, const gate_rows& gates, const layer_weights& w,
            const seqmix::context& ctx) {
  std::visit(
      [&]<class M>(M& kind) {
        if constexpr (std::same_as<M, recurrence>) {
          kind.attend(t, gates, w.gates, ctx);
        } else {
          kind.attend(t, ctx);
        }
      },
      m);
}
