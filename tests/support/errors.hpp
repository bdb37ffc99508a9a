// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <seqmix/core/error.hpp>

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
