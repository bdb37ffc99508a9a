// SPDX-License-Identifier: Apache-2.0
// seqmix on the CPU, and the probes of support/, behind a C interface, for run.py.
#include <exception>
#include <seqmix/core/version.hpp>
#include <seqmix/simd/arch.hpp>
#include <string>

#include "seqmix_bench_build.hpp"
#include "seqmix_cpu.hpp"
#include "support/bench.hpp"
#include "support/probes.hpp"

namespace {

using namespace seqmix_bench;

thread_local std::string text;  // what the functions below return

/// f(operator, context); what went wrong is left in `text`, and the answer is false.
bool with_operator(const peer_call& call, const auto& f) {
  const peer_operator* op = find_recurrence(call.operation);
  op = op != nullptr ? op : find_scan(call.operation);
  op = op != nullptr ? op : find_softmax(call.operation);
  if (op == nullptr) {
    text = std::string("no operator ") + call.operation;
    return false;
  }
  try {
    team workers(call.threads);
    seqmix::context ctx;
    if (call.threads > 1) {
      ctx.executor = workers;
    }
    if (call.implementation != nullptr) {
      ctx.pin.implementation = call.implementation;
    }
    f(*op, ctx);
    return true;
  } catch (const std::exception& e) {
    text = e.what();
    return false;
  }
}

}  // namespace

/// Makes the call `repeats` times. Null, or what is wrong with it, valid until the thread's next
/// call.
SEQMIX_PEER_EXPORT const char* seqmix_peer_run(const peer_call* call, std::int64_t repeats) {
  const bool ran = with_operator(*call, [&](const peer_operator& op, const seqmix::context& ctx) {
    for (std::int64_t i = 0; i < repeats; ++i) {
      op.run(*call, ctx);
    }
  });
  return ran ? nullptr : text.c_str();
}

/// The implementation and the algorithm that dispatch chose, or what is wrong with the call.
SEQMIX_PEER_EXPORT const char* seqmix_peer_explain(const peer_call* call) {
  with_operator(*call, [&](const peer_operator& op, const seqmix::context& ctx) {
    const seqmix::dispatch_report report = op.explain(*call, ctx);
    text = report.implementation + " " + report.algorithm;
  });
  return text.c_str();
}

/// FLOP/s of "fma", in float, bytes/s of "read" and "copy", on so many threads.
SEQMIX_PEER_EXPORT double seqmix_peer_probe(const char* what, std::int32_t threads) {
  const std::string_view name(what);
  team workers(threads);
  seqmix::executor_ref executor;
  if (threads > 1) {
    executor = workers;
  }
  return name == "fma"    ? fma_rate(executor, seqmix::scalar_type::f32)
         : name == "read" ? read_rate(executor)
         : name == "copy" ? copy_rate(executor)
                          : 0.0;
}

SEQMIX_PEER_EXPORT void seqmix_peer_short_probes() { use_short_probes(); }

SEQMIX_PEER_EXPORT std::int32_t seqmix_peer_all_threads() { return all_threads(); }

/// "seqmix", "isa", "compiler" or "flags" of this library.
SEQMIX_PEER_EXPORT const char* seqmix_peer_about(const char* what) {
  const std::string_view name(what);
  text = name == "seqmix"     ? SEQMIX_VERSION_STRING " " SEQMIX_BENCH_COMMIT
         : name == "isa"      ? seqmix::simd::isa_name<seqmix::simd::default_arch>()
         : name == "compiler" ? SEQMIX_BENCH_COMPILER
         : name == "flags"    ? SEQMIX_BENCH_FLAGS
                              : "";
  return text.c_str();
}
