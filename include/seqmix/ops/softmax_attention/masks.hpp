// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/ops/softmax_attention/masks/blocks.hpp>
#include <seqmix/ops/softmax_attention/masks/combined.hpp>
#include <seqmix/ops/softmax_attention/masks/regular.hpp>
#include <seqmix/ops/softmax_attention/masks/token_ids.hpp>
#include <seqmix/ops/softmax_attention/masks/tree.hpp>

// Mask functors for structures in common use. A query's place is that of the key which stands where
// it does, `query + keys - queries`: with a cache the same functor serves prefill and steps. Only
// maps of blocks have rows of their own. All are intersected with the options' causal bound and
// window.
