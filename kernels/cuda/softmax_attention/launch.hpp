// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/scalar.hpp>
#include <utility>

#include "params.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// The kernel families: which architectures a launcher was compiled for.
struct portable {};  // sm_80 and, through PTX, everything later
struct hopper {};    // sm_90a

/// The widths of the library's kernels; rows of other lengths are padded to the next. The last one
/// is the largest head dimension.
using attention_widths = std::integer_sequence<int, 64, 96, 128, 192, 256>;
inline constexpr int largest_attention_width = 256;

/// `f.operator()<W>()` with the least of the widths that holds the rows of a call.
template <int... W, class F>
int with_width(std::integer_sequence<int, W...>, const attention_params& p, F&& f) {
  const std::int32_t dim = p.key_dim > p.value_dim ? p.key_dim : p.value_dim;
  int result = 0;
  (void)((dim <= W && (result = f.template operator()<W>(), true)) || ...);
  return result;
}

/// Launches on the current device and on `stream`, a cudaStream_t; gives a cudaError_t. One
/// function for each kernel, instantiated in instances/: kernels themselves are local to their
/// unit.
template <class Arch, class T, int W>
int launch_prefill(const attention_params& p, void* stream);

template <class Arch, class T, int W>
int launch_decode(const attention_params& p, void* stream);

/// After decoding with `partials`: what it leaves there becomes results.
template <class Arch, class T>
int launch_combine(const attention_params& p, void* stream);

/// Prefill of tensors that the copy engine reads: in the Hopper family only.
template <class T, int W>
int launch_hopper_prefill(const attention_params& p, void* stream);

}  // namespace cuda

SEQMIX_END_NAMESPACE
