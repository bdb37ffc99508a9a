// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

// Replaces operator new of a program by one that counts. For one unit of it.

namespace seqmix_test {

inline std::atomic<long> allocations{0};

inline void* counted(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  void* p = nullptr;
  if (posix_memalign(&p, alignment < sizeof(void*) ? sizeof(void*) : alignment,
                     bytes == 0 ? 1 : bytes) != 0) {
    throw std::bad_alloc();
  }
  return p;
}

/// Never inlined: g++ would take free() of what operator new returned for a mistake.
[[gnu::noinline]] inline void given_back(void* p) noexcept { std::free(p); }

}  // namespace seqmix_test

void* operator new(std::size_t n) { return seqmix_test::counted(n, alignof(std::max_align_t)); }
void* operator new[](std::size_t n) { return seqmix_test::counted(n, alignof(std::max_align_t)); }
void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
  ++seqmix_test::allocations;
  return std::malloc(n == 0 ? 1 : n);
}
void* operator new(std::size_t n, std::align_val_t a) {
  return seqmix_test::counted(n, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t n, std::align_val_t a) {
  return seqmix_test::counted(n, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { seqmix_test::given_back(p); }
void operator delete[](void* p) noexcept { seqmix_test::given_back(p); }
void operator delete(void* p, std::size_t) noexcept { seqmix_test::given_back(p); }
void operator delete[](void* p, std::size_t) noexcept { seqmix_test::given_back(p); }
void operator delete(void* p, std::align_val_t) noexcept { seqmix_test::given_back(p); }
void operator delete[](void* p, std::align_val_t) noexcept { seqmix_test::given_back(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept {
  seqmix_test::given_back(p);
}
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept {
  seqmix_test::given_back(p);
}
