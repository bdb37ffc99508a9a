// SPDX-License-Identifier: Apache-2.0
// The operators around attention: rotary positions before it, partial results merged, a gated norm
// behind it. Ends with 1 when the merged parts are not the whole.
#include <cmath>
#include <cstdio>
#include <seqmix/seqmix.hpp>
#include <vector>

int main() {
  const int B = 2, T = 6, H = 4, D = 16;
  const int S = T, first = 2;  // keys, and how many of them are in the first part
  std::vector<float> q(B * T * H * D), k(q), v(q), gate(q);
  for (std::size_t i = 0; i < q.size(); ++i) {
    q[i] = std::sin(0.37f * static_cast<float>(i));
    k[i] = std::cos(0.11f * static_cast<float>(i));
    v[i] = std::sin(0.05f * static_cast<float>(i));
    gate[i] = std::cos(0.23f * static_cast<float>(i));
  }
  const auto heads = [&](std::vector<float>& x) { return seqmix::view(x.data(), B, T, H, D); };

  //! [rope]
  const seqmix::rope_options turn{.layout = seqmix::rope_layout::half_split, .base = 10000};
  seqmix::rope_inplace(heads(q), turn);
  seqmix::rope_inplace(heads(k), turn);
  //! [rope]

  //! [merge]
  // Attention over keys [0, first) and over [first, S), each with its log-sum-exp ...
  std::vector<float> o_a(q), o_b(q), o(q), lse_a(B * H * T), lse_b(lse_a);
  const auto part = [&](int begin, int count, std::vector<float>& out, std::vector<float>& lse) {
    seqmix::softmax_attention(heads(q), heads(k).slice(1, begin, count),
                              heads(v).slice(1, begin, count), heads(out),
                              {.lse = seqmix::view(lse.data(), B, H, T)});
  };
  part(0, first, o_a, lse_a);
  part(first, S - first, o_b, lse_b);
  // ... are attention over all keys.
  seqmix::merge_attention(heads(o_a), seqmix::view(lse_a.data(), B, H, T), heads(o_b),
                          seqmix::view(lse_b.data(), B, H, T), heads(o));
  //! [merge]

  std::vector<float> whole(q);
  seqmix::softmax_attention(heads(q), heads(k), heads(v), heads(whole));
  float worst = 0;
  for (std::size_t i = 0; i < o.size(); ++i) {
    worst = std::fmax(worst, std::abs(o[i] - whole[i]));
  }
  std::printf("two parts and the whole differ by at most %.1g\n", static_cast<double>(worst));

  //! [output_norm]
  std::vector<float> weight(D, 1.0f);
  seqmix::output_norm_inplace(heads(o), {.kind = seqmix::output_norm_kind::rms,
                                         .eps = 1e-6,
                                         .weight = seqmix::view(weight.data(), 1, D),
                                         .gate = heads(gate),
                                         .gate_by = seqmix::output_gate::silu});
  //! [output_norm]
  std::printf("behind the gated norm: %.3f\n", static_cast<double>(o[0]));
  return worst < 1e-6f ? 0 : 1;
}
