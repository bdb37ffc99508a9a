// SPDX-License-Identifier: Apache-2.0
// Causal attention of 4 query heads over 2 key-value heads, on plain arrays and on Eigen matrices.
//   g++ -std=c++20 -O3 -march=native -I include -I /usr/include/eigen3 examples/quickstart.cpp
#include <Eigen/Core>
#include <cstdio>
#include <seqmix/interop/eigen.hpp>
#include <seqmix/seqmix.hpp>
#include <vector>

int main() {
  const int B = 2, T = 5, H = 4, HK = 2, D = 64;  // batch, tokens, heads, KV heads, head size

  // Plain memory: a view is a pointer and the extents, and strides where memory is not dense.
  std::vector<float> q(B * T * H * D, 0.5f), k(B * T * HK * D, 0.25f), v(B * T * HK * D);
  std::vector<float> o(B * T * H * D);
  const auto result = seqmix::view(o.data(), B, T, H, D);
  for (std::size_t i = 0; i < v.size(); ++i) {
    v[i] = static_cast<float>(i / (HK * D) % T);  // the values of token t are t
  }
  seqmix::softmax_attention(seqmix::view(q.data(), B, T, H, D), seqmix::view(k.data(), B, T, HK, D),
                            seqmix::view(v.data(), B, T, HK, D), result, {.causal = true});
  for (int t = 0; t < T; ++t) {
    std::printf("token %d: the mean of 0 to %d is %.2f\n", t, t, double{result(0, t, 0, 0)});
  }

  // Eigen: a row for each token, its heads side by side.
  using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const matrix queries = matrix::Random(T, H * D), keys = matrix::Random(T, HK * D);
  const matrix values = matrix::Constant(T, HK * D, 3);
  matrix out(T, H * D);
  seqmix::softmax_attention(seqmix::as_heads(queries, H), seqmix::as_heads(keys, HK),
                            seqmix::as_heads(values, HK), seqmix::as_heads(out, H));
  std::printf("a mean of threes: %.2f\n", double{out(T - 1, 0)});
}
