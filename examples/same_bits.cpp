// SPDX-License-Identifier: Apache-2.0
// What a result depends on, and what not: against the oracle, with choices pinned, alone and in a
// batch. Ends with 1 when a promise is broken.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <seqmix/seqmix.hpp>
#include <string>
#include <vector>

int main() {
  const int B = 3, T = 50, H = 2, D = 32;
  std::vector<float> q(B * T * H * D), k(q), v(q), o(q), expected(q), alone(T * H * D);
  for (std::size_t i = 0; i < q.size(); ++i) {
    q[i] = std::sin(0.37f * static_cast<float>(i));
    k[i] = std::cos(0.11f * static_cast<float>(i));
    v[i] = std::sin(0.05f * static_cast<float>(i));
  }
  const auto view = [&](std::vector<float>& x) { return seqmix::view(x.data(), B, T, H, D); };

  //! [oracle]
  seqmix::softmax_attention(view(q), view(k), view(v), view(o), {.causal = true});
  seqmix::naive_softmax_attention(view(q), view(k), view(v), view(expected), {.causal = true});
  double errors = 0, squares = 0;
  for (std::size_t i = 0; i < o.size(); ++i) {
    errors += std::pow(double{o[i]} - double{expected[i]}, 2);
    squares += std::pow(double{expected[i]}, 2);
  }
  const double rms_error = std::sqrt(errors / squares);
  //! [oracle]
  std::printf("RMS error against the oracle: %.1e\n", rms_error);

  //! [batch]
  // Sequence 1 by itself: the same bits as in the batch of three.
  const auto one = [&](std::vector<float>& x) { return view(x).slice(0, 1, 1); };
  seqmix::softmax_attention(one(q), one(k), one(v), seqmix::view(alone.data(), 1, T, H, D),
                            {.causal = true});
  const bool same = std::memcmp(alone.data(), &one(o)(0, 0, 0, 0), alone.size() * 4) == 0;
  //! [batch]
  std::printf("alone and in a batch: %s\n", same ? "bit-identical" : "DIFFERENT");

  //! [pin]
  const auto report =
      seqmix::softmax_attention.explain(view(q), view(k), view(v), view(o), {.causal = true});
  // Wherever the program runs: this implementation and instruction set, or an error.
  seqmix::context ctx{.device = seqmix::device_policy::cpu};
  ctx.pin = {.implementation = report.implementation, .isa = report.target};
  seqmix::softmax_attention(view(q), view(k), view(v), view(o), {.causal = true}, ctx);
  //! [pin]
  std::printf("%s", report.text().c_str());
  return same && rms_error < 2e-6 ? 0 : 1;
}
