// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <seqmix/seqmix.hpp>
#include <string>

#include "dummy_backend.hpp"

namespace {

int failures = 0;

void check(bool holds, const char* what) {
  std::printf("%-7s%s\n", holds ? "ok" : "FAILED", what);
  failures += holds ? 0 : 1;
}

}  // namespace

int main() {
  std::printf("seqmix %s\n", seqmix::version_string());

  // One query and one key: attention gives the value.
  const float data[2] = {3, 5};
  float result[2] = {0, 0};
  const auto in = seqmix::view(data, 1, 1, 1, 2);
  const auto out = seqmix::view(result, 1, 1, 1, 2);

  seqmix::softmax_attention(in, in, in, out);
  check(dummy_backend::times_run() == 1, "the linked back-end runs the call that it supports");
  check(result[0] == dummy_backend::filling, "its result is the call's result");

  const int asked = dummy_backend::times_asked();
  seqmix::softmax_attention(in, in, in, out, {.causal = true});
  check(dummy_backend::times_asked() > asked, "the linked back-end is asked for every call");
  check(dummy_backend::times_run() == 1, "it does not run what it refused");
  check(result[0] == 3 && result[1] == 5, "the header's implementation ran instead");

  const auto report = seqmix::softmax_attention.explain(in, in, in, out, {.causal = true});
  check(report.text().find("lacks causal") != std::string::npos, "explain names what it lacks");

  return failures == 0 ? 0 : 1;
}
