// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace odr {

inline constexpr std::int64_t queries = 37, keys = 91, heads = 2, dim = 40;

// Each computes causal attention and names the instruction set that it would run on.
namespace baseline {
std::string attend(const float* q, const float* k, const float* v, float* o);
}
namespace avx2 {
std::string attend(const float* q, const float* k, const float* v, float* o);
}

}  // namespace odr
