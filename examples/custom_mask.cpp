// SPDX-License-Identifier: Apache-2.0
// A mask and a score of one's own: several documents in one row of tokens, each a question that is
// read both ways and an answer that is read from left to right, with a penalty on distance.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <seqmix/seqmix.hpp>
#include <vector>

/// Tokens of a document see each other; answers only what comes before them.
struct document_mask {
  const int* document;  // of each token
  const bool* answer;   // of each token

  bool operator()(const seqmix::score_context& at) const {
    return document[at.query] == document[at.key] && (!answer[at.key] || at.key <= at.query);
  }
  /// Documents lie one after another: a block whose keys are all of other documents is never
  /// computed.
  seqmix::block_visibility classify(const seqmix::mask_block& b) const {
    const bool apart = document[b.key_begin] > document[b.query_end - 1] ||
                       document[b.key_end - 1] < document[b.query_begin];
    return apart ? seqmix::block_visibility::empty : seqmix::block_visibility::partial;
  }
};

int main() {
  const int T = 600, H = 4, D = 32;
  std::vector<int> document(T);
  const auto answer = std::make_unique<bool[]>(T);
  for (int t = 0; t < T; ++t) {
    document[static_cast<std::size_t>(t)] = t / 200;
    answer[static_cast<std::size_t>(t)] = t % 200 >= 120;
  }
  std::vector<float> q(T * H * D), k(q), v(q), o(q), expected(q);
  for (std::size_t i = 0; i < q.size(); ++i) {
    q[i] = std::sin(0.37f * static_cast<float>(i));
    k[i] = std::cos(0.11f * static_cast<float>(i));
    v[i] = std::sin(0.05f * static_cast<float>(i));
  }
  const auto view = [&](std::vector<float>& x) { return seqmix::view(x.data(), 1, T, H, D); };

  const document_mask mask{document.data(), answer.get()};
  const auto near = [](float score, const seqmix::score_context& at) {
    return score - 0.01f * static_cast<float>(std::abs(at.query - at.key));
  };
  seqmix::softmax_attention(view(q), view(k), view(v), view(o), near, mask);

  // The oracle takes the same functors.
  seqmix::naive_softmax_attention(view(q), view(k), view(v), view(expected), near, mask);
  float worst = 0;
  for (std::size_t i = 0; i < o.size(); ++i) {
    worst = std::fmax(worst, std::abs(o[i] - expected[i]));
  }
  std::printf("%s",
              seqmix::softmax_attention.explain(view(q), view(k), view(v), view(o), near, mask)
                  .text()
                  .c_str());
  std::printf("largest difference to the oracle: %.2g\n", static_cast<double>(worst));
  return worst < 1e-5f ? 0 : 1;
}
