// SPDX-License-Identifier: Apache-2.0
// The operators around attention: a short convolution and rotary positions before it, partial
// results merged, a gated norm behind it. Ends with 1 when parts are not the whole.
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

  //! [causal_conv1d]
  // A causal convolution of W tokens for each channel: all but the last token at once ...
  const int C = H * D, W = 4;
  std::vector<float> taps(C * W, 0.25f), short_range(q), state(B * C * (W - 1));
  const auto rows = [&](std::vector<float>& x, int begin, int count) {
    return seqmix::view(x.data(), B, T, C).slice(1, begin, count);
  };
  const auto weights = seqmix::view(taps.data(), C, W);
  const auto last_inputs = seqmix::view(state.data(), B, C, W - 1);
  const auto silu = seqmix::conv_activation::silu;
  seqmix::causal_conv1d(rows(q, 0, T - 1), weights, rows(short_range, 0, T - 1),
                        {.activation = silu, .final_state = last_inputs});
  // ... and then the last, from the state of the inputs before it.
  seqmix::causal_conv1d_update(rows(q, T - 1, 1), weights, rows(short_range, T - 1, 1), last_inputs,
                               {.activation = silu});
  //! [causal_conv1d]
  std::vector<float> at_once(q);
  seqmix::causal_conv1d(rows(q, 0, T), weights, rows(at_once, 0, T), {.activation = silu});
  const bool same = at_once == short_range;
  std::printf("two calls of the convolution %s one\n", same ? "give the bits of" : "differ from");

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
  return same && worst < 1e-6f ? 0 : 1;
}
