// SPDX-License-Identifier: Apache-2.0
#include "dummy_backend.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <seqmix/dispatch/registry.hpp>
#include <seqmix/ops/softmax_attention/problem.hpp>

namespace dummy_backend {
namespace {

using problem = seqmix::softmax_attention_problem;

std::atomic<int> asked{0};
std::atomic<int> ran{0};

seqmix::dispatch::offer query(const problem& p, const seqmix::context&) {
  ++asked;
  if (p.o.type != seqmix::scalar_type::f32) {
    return {.lacks = "types other than f32"};
  }
  if (p.causal) {
    return {.lacks = "causal"};
  }
  return {.algorithm = "constant", .target = "none"};
}

seqmix::detail::violation run(const problem& p, const seqmix::context&, std::byte*) {
  ++ran;
  for (std::int64_t i = 0; i < p.o.size(); ++i) {
    static_cast<float*>(p.o.data)[i] = filling;
  }
  return {};
}

seqmix::dispatch::backend<problem> entry{
    .entry = {.name = "dummy", .query = query, .run = run},
    .preference = 1,
};

bool register_entry() {
  seqmix::dispatch::registry<problem>::add(entry);
  return true;
}

}  // namespace

int times_asked() { return asked; }
int times_run() { return ran; }

}  // namespace dummy_backend

// The symbol that the target's --undefined names: it keeps this unit, and so the initialiser.
extern "C" const bool seqmix_dummy_backend_registered;
const bool seqmix_dummy_backend_registered = dummy_backend::register_entry();
