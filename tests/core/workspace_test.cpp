// SPDX-License-Identifier: Apache-2.0
#include <seqmix/core/workspace.hpp>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"

namespace {

std::atomic<long> allocations{0};
std::atomic<long> releases{0};

void* counted_allocation(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  // aligned_alloc wants a multiple of the alignment.
  bytes = (bytes + alignment - 1) / alignment * alignment;
  void* p = std::aligned_alloc(alignment, bytes == 0 ? alignment : bytes);
  if (p == nullptr) {
    throw std::bad_alloc();
  }
  return p;
}

void counted_release(void* p) noexcept {
  releases += p != nullptr;
  std::free(p);
}

}  // namespace

// The nothrow forms too: a sanitizer's own would not match these releases.
void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
  return counted_allocation(n, alignof(std::max_align_t));
}
void* operator new(std::size_t n) { return counted_allocation(n, alignof(std::max_align_t)); }
void* operator new(std::size_t n, std::align_val_t a) {
  return counted_allocation(n, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { counted_release(p); }
void operator delete(void* p, std::size_t) noexcept { counted_release(p); }
void operator delete(void* p, std::align_val_t) noexcept { counted_release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { counted_release(p); }

namespace {

using seqmix::detail::scratch_layout;
using seqmix::detail::scratch_lease;

std::uintptr_t address(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }

/// A causal call of several rows and one of a single row: tiled, and split over the keys.
struct attention {
  std::int64_t T, S;
  std::vector<float> q, k, v, o;

  attention(std::int64_t rows, std::int64_t keys)
      : T(rows),
        S(keys),
        q(fill(rows * 2 * 8)),
        k(fill(keys * 2 * 8)),
        v(fill(keys * 2 * 8)),
        o(static_cast<std::size_t>(rows * 2 * 8), -1.0f) {}

  static std::vector<float> fill(std::int64_t n) {
    std::vector<float> x(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<float>(i * 37 % 101) / 50.0f - 1.0f;
    }
    return x;
  }
  void operator()(const seqmix::context& ctx = {}) {
    seqmix::softmax_attention(seqmix::view(q.data(), 1, T, 2, 8),
                              seqmix::view(k.data(), 1, S, 2, 8),
                              seqmix::view(v.data(), 1, S, 2, 8),
                              seqmix::view(o.data(), 1, T, 2, 8), {.causal = true}, ctx);
  }
  std::size_t bytes() const {
    return seqmix::softmax_attention.workspace_bytes(
        seqmix::view(q.data(), 1, T, 2, 8), seqmix::view(k.data(), 1, S, 2, 8),
        seqmix::view(v.data(), 1, S, 2, 8), seqmix::view(const_cast<float*>(o.data()), 1, T, 2, 8),
        {.causal = true});
  }
};

}  // namespace

TEST_CASE("blocks of a layout are aligned and do not overlap") {
  alignas(64) static std::byte memory[1024];
  scratch_layout sizes;
  CHECK(sizes.take<float>(3) == nullptr);
  CHECK(sizes.take<double>(9) == nullptr);
  CHECK(sizes.take<char>(0) == nullptr);
  CHECK(sizes.take<char>(65) == nullptr);
  CHECK(sizes.bytes() == 64 + 128 + 0 + 128);

  scratch_layout out(memory);
  const auto* a = out.take<float>(3);
  const auto* b = out.take<double>(9);
  out.take<char>(0);
  const auto* c = out.take<char>(65);
  CHECK(out.bytes() == sizes.bytes());
  CHECK(address(a) == address(memory));
  CHECK(address(b) == address(memory) + 64);
  CHECK(address(c) == address(memory) + 192);
}

TEST_CASE("the arena's memory is aligned, kept, and grows") {
  seqmix::release_thread_memory();
  const std::byte* first = nullptr;
  {
    const scratch_lease lease({}, 100);
    first = lease.data();
    CHECK(address(first) % seqmix::scratch_alignment == 0);
    std::memset(lease.data(), 1, 100);
  }
  const long before = allocations;
  for (std::size_t n : {100u, 1u, 64u, 100u}) {
    const scratch_lease lease({}, n);
    CHECK(lease.data() == first);
  }
  CHECK(allocations == before);
  {
    const scratch_lease larger({}, 100000);
    std::memset(larger.data(), 2, 100000);
  }
  CHECK(allocations == before + 1);
  {
    const scratch_lease again({}, 100000);
  }
  CHECK(allocations == before + 1);
}

TEST_CASE("nested leases have memory of their own") {
  seqmix::release_thread_memory();
  for (int round = 0; round < 3; ++round) {
    const scratch_lease outer({}, 256);
    std::memset(outer.data(), 7, 256);
    {
      const scratch_lease inner({}, 4096);
      std::memset(inner.data(), 9, 4096);
      const bool apart = address(inner.data()) + 4096 <= address(outer.data()) ||
                         address(outer.data()) + 256 <= address(inner.data());
      CHECK(apart);
      const scratch_lease third({}, 10000);
      std::memset(third.data(), 11, 10000);
    }
    for (int i = 0; i < 256; ++i) {
      REQUIRE(outer.data()[i] == std::byte{7});
    }
  }
}

TEST_CASE("a lease of nothing takes nothing") {
  seqmix::release_thread_memory();
  const long before = allocations;
  const scratch_lease lease({}, 0);
  CHECK(lease.data() == nullptr);
  CHECK(allocations == before);
}

TEST_CASE("a caller's span is used, from its first aligned byte") {
  alignas(64) std::byte memory[512];
  const long before = allocations;
  for (std::size_t shift : {0u, 1u, 63u}) {
    const scratch_lease lease({memory + shift, sizeof(memory) - shift}, 128);
    CHECK(lease.data() == memory + (shift == 0 ? 0 : 64));
  }
  CHECK(allocations == before);
}

TEST_CASE("release_thread_memory frees the thread's blocks, but none in use") {
  seqmix::release_thread_memory();
  {
    const scratch_lease lease({}, 1000);
    const long freed = releases;
    seqmix::release_thread_memory();
    CHECK(releases == freed);
    std::memset(lease.data(), 1, 1000);
  }
  const long freed = releases;
  seqmix::release_thread_memory();
  CHECK(releases > freed);
  const long after = releases;
  seqmix::release_thread_memory();
  CHECK(releases == after);
  const scratch_lease lease({}, 1000);
  std::memset(lease.data(), 1, 1000);
}

TEST_CASE("each thread has an arena, which ends with it", "[threads]") {
  const scratch_lease here({}, 64);
  const std::byte* there = nullptr;
  const long alive = allocations - releases;
  std::thread([&] {
    const scratch_lease lease({}, 1 << 16);
    there = lease.data();
  }).join();
  CHECK(there != here.data());
  CHECK(allocations - releases == alive);
}

TEST_CASE("an operator allocates nothing in steady state") {
  seqmix::release_thread_memory();
  attention tiled(200, 200);
  attention split(1, 3000);
  const long cold = allocations;
  tiled();
  split();
  CHECK(allocations > cold);
  const long warm = allocations;
  for (int i = 0; i < 3; ++i) {
    split();
    tiled();
  }
  CHECK(allocations == warm);

  seqmix::release_thread_memory();
  tiled();
  CHECK(allocations > warm);
}

TEST_CASE("an operator with a workspace never allocates") {
  attention a(50, 70);
  a();
  const auto want = a.o;
  std::vector<std::byte> memory(a.bytes());
  std::fill(a.o.begin(), a.o.end(), -1.0f);
  seqmix::release_thread_memory();
  const long before = allocations;
  a({.workspace = memory});
  CHECK(allocations == before);
  CHECK(a.o == want);
}

TEST_CASE("workspace_bytes is enough for a span of any alignment, and not exceeded") {
  for (auto [T, S] : {std::pair{50, 70}, {1, 3000}, {3, 5}}) {
    attention a(T, S);
    a();
    const auto want = a.o;
    const std::size_t n = a.bytes();
    for (const std::size_t shift : {0u, 1u, 4u, 63u}) {
      std::vector<std::byte> memory(n + 192, std::byte{0x5a});
      auto* base = memory.data();
      base += (64 - address(base) % 64) % 64 + shift;
      std::fill(a.o.begin(), a.o.end(), -1.0f);
      a({.workspace = {base, n}});
      CHECK(a.o == want);
      for (auto* p = base + n; p != memory.data() + memory.size(); ++p) {
        REQUIRE(*p == std::byte{0x5a});
      }
      for (auto* p = memory.data(); p != base; ++p) {
        REQUIRE(*p == std::byte{0x5a});
      }
    }
  }
}

TEST_CASE("a workspace that is too small is refused, with nothing written") {
  attention a(50, 70);
  const std::size_t n = a.bytes();
  std::vector<std::byte> memory(n, std::byte{0x5a});
  const auto e = error_of([&] { a({.workspace = {memory.data(), n - 1}}); });
  CHECK(e.operator_name() == "softmax_attention");
  CHECK(e.argument() == "context.workspace");
  CHECK(e.expected() == "at least " + std::to_string(n) + " bytes");
  CHECK(e.actual() == std::to_string(n - 1) + " bytes");
  CHECK(a.o == std::vector<float>(a.o.size(), -1.0f));
  CHECK(memory == std::vector<std::byte>(n, std::byte{0x5a}));
  // A span of no bytes is a workspace too, if it points somewhere.
  CHECK(error_of([&] { a({.workspace = {memory.data(), 0}}); }).argument() == "context.workspace");
}
