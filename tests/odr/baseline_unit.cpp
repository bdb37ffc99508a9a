// SPDX-License-Identifier: Apache-2.0
// What a program compiled for the baseline takes from the headers: whole calls.
#include <seqmix/seqmix.hpp>

namespace odr::SEQMIX_ODR_ISA {

template <class T>
void attend(seqmix::tensor_view<const T, 4> q, seqmix::tensor_view<const T, 4> k,
            seqmix::tensor_view<const T, 4> v, seqmix::tensor_view<T, 4> o) {
  seqmix::softmax_attention(q, k, v, o, {.causal = true});
}

template void attend(seqmix::tensor_view<const float, 4>, seqmix::tensor_view<const float, 4>,
                     seqmix::tensor_view<const float, 4>, seqmix::tensor_view<float, 4>);
template void attend(seqmix::tensor_view<const double, 4>, seqmix::tensor_view<const double, 4>,
                     seqmix::tensor_view<const double, 4>, seqmix::tensor_view<double, 4>);
template void attend(seqmix::tensor_view<const seqmix::bf16, 4>,
                     seqmix::tensor_view<const seqmix::bf16, 4>,
                     seqmix::tensor_view<const seqmix::bf16, 4>,
                     seqmix::tensor_view<seqmix::bf16, 4>);

void remember(seqmix::tensor_view<const float, 4> x, seqmix::tensor_view<const float, 3> gate,
              seqmix::tensor_view<float, 4> o);
void remember(seqmix::tensor_view<const float, 4> x, seqmix::tensor_view<const float, 3> gate,
              seqmix::tensor_view<float, 4> o) {
  seqmix::gated_delta_rule(x, x, x, gate, gate, o);
  seqmix::rwkv7(x, x, x, x, x, x, o);
}

}  // namespace odr::SEQMIX_ODR_ISA
