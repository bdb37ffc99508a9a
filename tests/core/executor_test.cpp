// SPDX-License-Identifier: Apache-2.0
#include <seqmix/core/context.hpp>
#include <seqmix/core/executor.hpp>

#include <cstdint>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "support/executor_checks.hpp"
#include "support/pool.hpp"

using seqmix_test::pool_executor;

namespace {

struct const_callable {
  static constexpr int concurrency() { return 2; }
  void run(std::int64_t n, seqmix::task_ref f) const {
    for (std::int64_t i = n; i-- > 0;) {
      f(i, static_cast<int>(i % 2));
    }
  }
};

struct without_run {
  int concurrency() const { return 1; }
};

}  // namespace

TEST_CASE("the default executor runs in order on the calling thread") {
  const seqmix::executor_ref e;
  CHECK(e.concurrency() == 1);
  std::vector<std::int64_t> order;
  const auto caller = std::this_thread::get_id();
  const auto task = [&](std::int64_t index, int worker) {
    CHECK(worker == 0);
    CHECK(std::this_thread::get_id() == caller);
    order.push_back(index);
  };
  e.run(4, task);
  CHECK(order == std::vector<std::int64_t>{0, 1, 2, 3});
  CHECK(check_executor(e, 100) == 1);
  CHECK(check_executor(seqmix::context{}.executor, 3) == 1);
}

TEST_CASE("n = 0 calls nothing", "[threads]") {
  pool_executor pool(2);
  seqmix::inline_executor here;
  int calls = 0;
  const auto task = [&](std::int64_t, int) { ++calls; };
  seqmix::executor_ref{}.run(0, task);
  seqmix::executor_ref(here).run(0, task);
  seqmix::executor_ref(pool).run(0, task);
  CHECK(calls == 0);
}

TEST_CASE("a pool of std::thread keeps the promises", "[threads]") {
  for (const int workers : {1, 2, 3, 8}) {
    for (const std::uint64_t shuffle_seed : {0u, 5u}) {
      pool_executor pool(workers, shuffle_seed);
      const seqmix::executor_ref e(pool);
      CHECK(e.concurrency() == workers);
      CHECK(check_executor(e, 1) == 1);
      CHECK(check_executor(e, 1000) <= workers);
    }
  }
}

TEST_CASE("a const executor and copies of the reference work") {
  const const_callable c;
  const seqmix::executor_ref e(c);
  const seqmix::executor_ref copy = e;
  check_executor(copy, 17);
  static_assert(std::is_trivially_copyable_v<seqmix::executor_ref>);
}

TEST_CASE("a task may be any callable, functions and mutable ones too") {
  static std::int64_t sum = 0;
  struct adder {
    std::int64_t total = 0;
    void operator()(std::int64_t i, int) { total += i; }
  } add;
  seqmix::executor_ref{}.run(5, add);
  CHECK(add.total == 10);
  auto* plain = +[](std::int64_t i, int) { sum += i; };
  seqmix::executor_ref{}.run(5, plain);
  CHECK(sum == 10);
}

TEST_CASE("what is no executor", "[threads]") {
  static_assert(!seqmix::executor<without_run>);
  static_assert(!seqmix::executor<int>);
  static_assert(!std::is_constructible_v<seqmix::executor_ref, without_run&>);
  static_assert(!std::is_constructible_v<seqmix::executor_ref, pool_executor>);  // would dangle
  static_assert(std::is_constructible_v<seqmix::executor_ref, pool_executor&>);
  SUCCEED();
}
