// SPDX-License-Identifier: Apache-2.0
// Attention on device memory: a causal prefill, then a decode step from a KV cache, each against
// the CPU. Takes a C++ compiler, the CUDA runtime and seqmix::cuda; ends with 77 without a GPU.
#include <cuda_runtime_api.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <seqmix/seqmix.hpp>
#include <vector>

using seqmix::bf16;

void need(cudaError_t status) {
  if (status != cudaSuccess) {
    std::printf("CUDA: %s\n", cudaGetErrorString(status));
    std::exit(1);
  }
}

/// A copy in GPU memory; its view says where the memory is.
template <class T, std::size_t Rank>
seqmix::tensor_view<T, Rank> to_gpu(const std::vector<T>& x, seqmix::index_list<Rank> extents) {
  void* p = nullptr;
  need(cudaMalloc(&p, x.size() * sizeof(T)));
  need(cudaMemcpy(p, x.data(), x.size() * sizeof(T), cudaMemcpyHostToDevice));
  return {static_cast<T*>(p), extents, seqmix::device{seqmix::device_kind::cuda, 0}};
}

int main() {
  int gpus = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&gpus); status != cudaSuccess || gpus == 0) {
    std::printf("skipped, no GPU: %s\n", cudaGetErrorString(status));
    return 77;
  }
  const int B = 2, T = 100, S = 128, H = 8, HK = 2, D = 64;  // S: what the cache has room for
  std::vector<bf16> q(B * T * H * D), k(B * S * HK * D), v(k.size()), o(q.size()), expected(o);
  for (std::vector<bf16>* x : {&q, &k, &v}) {
    for (bf16& value : *x) {
      value = bf16(static_cast<float>(std::rand()) / static_cast<float>(RAND_MAX) - 0.5f);
    }
  }
  const std::vector<std::int32_t> lengths{T, 57};  // tokens in the cache
  const auto hq = seqmix::view(q.data(), B, T, H, D),
             he = seqmix::view(expected.data(), B, T, H, D);
  const auto hk = seqmix::view(k.data(), B, S, HK, D), hv = seqmix::view(v.data(), B, S, HK, D);
  const auto gq = to_gpu<bf16, 4>(q, hq.extents()), go = to_gpu<bf16, 4>(o, hq.extents());
  const auto gk = to_gpu<bf16, 4>(k, hk.extents()), gv = to_gpu<bf16, 4>(v, hk.extents());

  cudaStream_t stream = nullptr;
  need(cudaStreamCreate(&stream));
  const seqmix::context ctx{.cuda_stream = stream};  // calls are queued there and return at once
  bool good = true;
  const auto compare = [&](const char* what) {
    need(cudaMemcpyAsync(o.data(), go.data_handle(), o.size() * sizeof(bf16),
                         cudaMemcpyDeviceToHost, stream));
    need(cudaStreamSynchronize(stream));
    float worst = 0;
    for (std::size_t i = 0; i < o.size(); ++i) {
      const float off = std::abs(static_cast<float>(o[i]) - static_cast<float>(expected[i]));
      worst = std::fmax(worst, off);
      good = good && off < 0.01f;  // nor NaN
    }
    std::printf("%s: the GPU is off by at most %.4f\n", what, double{worst});
  };

  seqmix::softmax_attention(gq, gk.slice(1, 0, T), gv.slice(1, 0, T), go, {.causal = true}, ctx);
  seqmix::naive_softmax_attention(hq, hk.slice(1, 0, T), hv.slice(1, 0, T), he, {.causal = true});
  compare("prefill");

  // One query of each sequence sees the keys in use; the lengths are on the GPU too.
  const seqmix::kv_view cache(gk, gv, {.lengths = to_gpu<std::int32_t, 1>(lengths, B)});
  seqmix::softmax_attention(gq.slice(1, 0, 1), cache, go.slice(1, 0, 1), {}, ctx);
  const seqmix::kv_view host_cache(hk, hv, {.lengths = seqmix::view(lengths.data(), B)});
  seqmix::naive_softmax_attention(hq.slice(1, 0, 1), host_cache, he.slice(1, 0, 1));
  compare("decode");
  return good ? 0 : 1;
}
