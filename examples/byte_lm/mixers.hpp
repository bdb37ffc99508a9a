// SPDX-License-Identifier: Apache-2.0
// A layer's mixer: what it remembers of a sequence, and how new tokens read and change it.
#pragma once

#include <cstddef>
#include <variant>

#include "attention.hpp"
#include "config.hpp"
#include "recurrence.hpp"

using mixer =
    std::variant<full_attention<float>, full_attention<seqmix::f16>, window_attention, recurrence>;

/// Room for `capacity` tokens, where a layer remembers all. Throws std::invalid_argument for a
/// choice that the layer cannot honour.
mixer mixer_for(const model_config& config, std::size_t layer, int capacity,
                const attention_choice& choice);

/// Adds the tokens of t to what m remembers, and writes what each of them gets from it.
void attend(mixer& m, const attention_rows& t, const gate_rows& gates, const layer_weights& w,
            const seqmix::context& ctx);
