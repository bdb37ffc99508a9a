// SPDX-License-Identifier: Apache-2.0
// Tells pools whether the running test case has the tag [threads]. Linked into every Catch2
// program.
#define CATCH_CONFIG_EXTERNAL_INTERFACES
#include "support/catch.hpp"
#include "support/pool.hpp"

namespace {

#if __has_include(<catch2/catch_all.hpp>)
using listener_base = Catch::EventListenerBase;
#else
using listener_base = Catch::TestEventListenerBase;
#endif

struct thread_tag : listener_base {
  using listener_base::listener_base;
  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    listener_base::testCaseStarting(info);
    seqmix_test::threads_allowed = info.tagsAsString().find("[threads") != std::string::npos;
  }
};

}  // namespace

CATCH_REGISTER_LISTENER(thread_tag)
