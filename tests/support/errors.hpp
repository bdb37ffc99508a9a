// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <seqmix/core/context.hpp>
#include <seqmix/core/error.hpp>
#include <string>

#include "catch.hpp"

/// Calls `f`, which must throw seqmix::error, and returns the error.
template <class F>
seqmix::error error_of(F&& f) {
  try {
    f();
  } catch (const seqmix::error& e) {
    return e;
  }
  FAIL("no seqmix::error was thrown");
  return {"", "", "", ""};
}

/// That an operator refused a call for this reason.
inline void check_error(const seqmix::error& e, const char* operator_name, const char* argument,
                        const std::string& expected, const std::string& actual) {
  CAPTURE(e.what());
  CHECK(e.operator_name() == operator_name);
  CHECK(e.argument() == argument);
  CHECK(e.expected().find(expected) != std::string::npos);
  CHECK(e.actual().find(actual) != std::string::npos);
}

/// That a call, which `refusal()` makes and returns the error of, is refused where the context
/// `ctx` names nothing that could run it.
template <class Refusal>
void check_no_place(seqmix::context& ctx, Refusal&& refusal) {
  ctx.pin.implementation = "magic";
  CHECK(refusal().argument() == "context.pin.implementation");
  ctx.pin = {.algorithm = "magic"};
  CHECK(refusal().argument() == "call");
  ctx.pin = {};
  ctx.device = seqmix::device_policy::cuda;
  CHECK(refusal().argument() == "context.device");
  ctx.device = seqmix::device_policy::automatic;
  std::byte one{};
  ctx.workspace = {&one, 1};
  CHECK(refusal().argument() == "context.workspace");
  ctx.workspace = {};
}
