// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <seqmix/cuda/softmax_attention/staging_policy.hpp>
#include <seqmix/seqmix.hpp>
#include <string>
#include <vector>

// A program that links seqmix::cuda and names nothing of it: the back-end must be registered all
// the same, and say why it does not serve a small call on host tensors.
int main() {
  std::vector<seqmix::bf16> memory(4 * 64, seqmix::bf16(1.0f));
  const auto in = seqmix::view(memory.data(), 1, 4, 1, 64);
  std::vector<seqmix::bf16> result(memory.size());
  const auto out = seqmix::view(result.data(), 1, 4, 1, 64);

  const std::string text = seqmix::softmax_attention.explain(in, in, in, out).text();
  std::printf("%s", text.c_str());
  if (text.find("cuda (") == std::string::npos || text.find("flash") == std::string::npos) {
    std::printf("the CUDA back-end is not registered\n");
    return 1;
  }
  seqmix::softmax_attention(in, in, in, out);
  if (static_cast<float>(result[0]) != 1.0f) {
    std::printf("the CPU did not serve the call\n");
    return 1;
  }
  return seqmix::cuda::staging_constants_for("a GPU nobody measured").fixed_seconds > 0 ? 0 : 1;
}
