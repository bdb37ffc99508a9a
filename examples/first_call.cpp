// SPDX-License-Identifier: Apache-2.0
// The README's first call: each token gets the mean of the values up to it.
//! [first_call]
#include <cstdio>
#include <seqmix/seqmix.hpp>
#include <vector>

int main() {
  const int B = 1, T = 4, H = 2, D = 8;  // batch, tokens, heads, head dimension
  std::vector<float> q(B * T * H * D, 1), k = q, v = q, o = q;
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = float(i / (H * D));  // token t holds t
  auto out = seqmix::view(o.data(), B, T, H, D);
  seqmix::softmax_attention(seqmix::view(q.data(), B, T, H, D), seqmix::view(k.data(), B, T, H, D),
                            seqmix::view(v.data(), B, T, H, D), out, {.causal = true});
  for (int t = 0; t < T; ++t) std::printf("%.1f ", out(0, t, 0, 0));
}
//! [first_call]
