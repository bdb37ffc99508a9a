// SPDX-License-Identifier: Apache-2.0
#pragma once

/// A back-end for softmax_attention that serves one kind of call only (float, not causal) and
/// fills the output with a constant.
namespace dummy_backend {

inline constexpr float filling = 42.0f;

int times_asked();
int times_run();

}  // namespace dummy_backend
