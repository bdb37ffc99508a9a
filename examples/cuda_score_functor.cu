// SPDX-License-Identifier: Apache-2.0
// Attention with a score of one's own, compiled into the kernel by nvcc: soft-capped, and lower the
// farther a key is from the query. The CPU runs the same functor. Ends with 77 without a GPU.
#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <seqmix/common/math.hpp>
#include <seqmix/cuda/softmax_attention/functor.cuh>
#include <seqmix/seqmix.hpp>
#include <vector>

using seqmix::bf16;

/// `score` is scale q.k; what is returned goes into the softmax.
struct capped_and_near {
  float cap, slope;
  float inverse = 1 / cap;  // a division for each score would cost as much as its tanh

  SEQMIX_HOST_DEVICE float operator()(float score, const seqmix::score_context& at) const {
    const auto distance = at.query + (at.keys - at.queries) - at.key;  // ends are aligned
    return cap * seqmix::math::tanh(score * inverse) -
           slope / static_cast<float>(1 + at.head) * static_cast<float>(distance);
  }
};

void need(cudaError_t status) {
  if (status != cudaSuccess) {
    std::printf("CUDA: %s\n", cudaGetErrorString(status));
    std::exit(1);
  }
}

std::vector<bf16> noise(std::size_t n, float size) {
  static std::mt19937 generator(1);
  std::uniform_real_distribution<float> uniform(-size, size);
  std::vector<bf16> x(n);
  for (bf16& value : x) {
    value = bf16(uniform(generator));
  }
  return x;
}

int main() {
  int gpus = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&gpus); status != cudaSuccess || gpus == 0) {
    std::printf("skipped, no GPU: %s\n", cudaGetErrorString(status));
    return 77;
  }
  const int B = 2, T = 150, S = 200, H = 4, HK = 2, D = 64;
  // Queries and keys large enough for the cap to bend the scores.
  const std::vector<bf16> q = noise(B * T * H * D, 3), k = noise(B * S * HK * D, 3);
  const std::vector<bf16> v = noise(k.size(), 1);
  std::vector<bf16> o(q.size()), expected(q.size());
  const capped_and_near functor{10, 0.05f};

  const auto to_gpu = [](const std::vector<bf16>& x) {
    bf16* p = nullptr;
    need(cudaMalloc(&p, x.size() * sizeof(bf16)));
    need(cudaMemcpy(p, x.data(), x.size() * sizeof(bf16), cudaMemcpyHostToDevice));
    return p;
  };
  const auto on_gpu = [](bf16* p, int tokens, int heads) {
    return seqmix::tensor_view<bf16, 4>(p, {B, tokens, heads, D}, {seqmix::device_kind::cuda, 0});
  };
  bf16* const o_gpu = to_gpu(o);
  const seqmix::context ctx{};  // the default stream
  seqmix::softmax_attention(on_gpu(to_gpu(q), T, H), on_gpu(to_gpu(k), S, HK),
                            on_gpu(to_gpu(v), S, HK), on_gpu(o_gpu, T, H), functor,
                            {.causal = true}, ctx);
  need(cudaMemcpy(o.data(), o_gpu, o.size() * sizeof(bf16), cudaMemcpyDeviceToHost));

  seqmix::softmax_attention(seqmix::view(q.data(), B, T, H, D), seqmix::view(k.data(), B, S, HK, D),
                            seqmix::view(v.data(), B, S, HK, D),
                            seqmix::view(expected.data(), B, T, H, D), functor, {.causal = true},
                            seqmix::context{.device = seqmix::device_policy::cpu});
  float worst = 0;
  bool good = true;
  for (std::size_t i = 0; i < o.size(); ++i) {
    const float off = std::abs(static_cast<float>(o[i]) - static_cast<float>(expected[i]));
    worst = std::fmax(worst, off);
    good = good && off < 0.02f;  // nor NaN
  }
  std::printf("the GPU differs from the CPU by at most %.4f\n", static_cast<double>(worst));
  return good ? 0 : 1;
}
