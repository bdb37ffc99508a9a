// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <seqmix/seqmix.hpp>
#include <string>
#include <vector>

// A program that links seqmix::multiarch and names nothing of it: where the CPU has AVX2, code for
// it serves the call, whatever the program was compiled for.
int main() {
  const std::vector<float> memory(4 * 64, 1.0f);
  const auto in = seqmix::view(memory.data(), 1, 4, 1, 64);
  std::vector<float> result(memory.size());
  const auto out = seqmix::view(result.data(), 1, 4, 1, 64);

  const auto report = seqmix::softmax_attention.explain(in, in, in, out);
  std::printf("%s", report.text().c_str());
  if (report.text().find("multiarch (") == std::string::npos) {
    std::printf("seqmix::multiarch is not registered\n");
    return 1;
  }
  if (__builtin_cpu_supports("avx2") && report.implementation != "multiarch") {
    std::printf("seqmix::multiarch does not serve the call\n");
    return 1;
  }
  seqmix::softmax_attention(in, in, in, out);
  return result[0] == 1.0f ? 0 : 1;
}
