// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <seqmix/core/scalar.hpp>

#include "matrix_descriptor.cuh"

// The matrix products of a warpgroup (four warps, sm_90a), which run in the background.
//
// A product of 64 x N holds, in each thread, rows g and g + 8 of its warp's 16 and columns 8 j +
// 2 t and 8 j + 2 t + 1: c[4 j + 2 h + x] is row g + 8 h, column 8 j + 2 t + x, of lane 4 g + t.
// Those are the fragments of mma.m16n8k16, and packed in pairs they are the left operand of the
// next product.

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Before a warpgroup's first product, and after its registers were written.
__device__ __forceinline__ void products_begin() {
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}
/// Those since the last such call become one group.
__device__ __forceinline__ void products_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}
/// Waits until at most `Pending` groups are under way.
template <int Pending>
__device__ __forceinline__ void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(Pending) : "memory");
}
/// Keeps the compiler from moving what reads or writes these registers across this place.
template <int Count>
__device__ __forceinline__ void pin_registers(float (&c)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    asm volatile("" : "+f"(c[i])::"memory");
  }
}

/// The same where a product is about to overwrite them: what they held need not be kept.
template <int Count>
__device__ __forceinline__ void pin_free_registers(float (&c)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    asm volatile("" : "=f"(c[i])::"memory");
  }
}

/// c = a b or c += a b, 64 x N x 16.
template <class T, int N>
struct warpgroup_product;

// Each instruction names all its registers, in groups of eight: sixteen columns.
#define SEQMIX_WGMMA_8(c, i)                                                                  \
  "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), \
      "+f"(c[i + 6]), "+f"(c[i + 7])
#define SEQMIX_WGMMA_32(c, i)                                                \
  SEQMIX_WGMMA_8(c, i), SEQMIX_WGMMA_8(c, i + 8), SEQMIX_WGMMA_8(c, i + 16), \
      SEQMIX_WGMMA_8(c, i + 24)
#define SEQMIX_WGMMA_NAMES_0                 \
  "%0, %1, %2, %3, %4, %5, %6, %7, "         \
  "%8, %9, %10, %11, %12, %13, %14, %15, "   \
  "%16, %17, %18, %19, %20, %21, %22, %23, " \
  "%24, %25, %26, %27, %28, %29, %30, %31"
#define SEQMIX_WGMMA_NAMES_1                 \
  "%32, %33, %34, %35, %36, %37, %38, %39, " \
  "%40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, " \
  "%56, %57, %58, %59, %60, %61, %62, %63"
#define SEQMIX_WGMMA_NAMES_2                 \
  "%64, %65, %66, %67, %68, %69, %70, %71, " \
  "%72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, " \
  "%88, %89, %90, %91, %92, %93, %94, %95"
#define SEQMIX_WGMMA_NAMES_3                         \
  "%96, %97, %98, %99, %100, %101, %102, %103, "     \
  "%104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, " \
  "%120, %121, %122, %123, %124, %125, %126, %127"

// The operands after the accumulators: a (or its four registers), b, whether to add.
#define SEQMIX_WGMMA_OF(T, TYPE, N, NAMES, A, B, ADD, A0, A1, A2, A3, B_R, ADD_R, ...)         \
  template <>                                                                                  \
  struct warpgroup_product<T, N> {                                                             \
    /* Both from shared memory, both along their rows' elements: a b^T. */                     \
    static __device__ __forceinline__ void both_shared(float (&c)[N / 2], matrix_descriptor a, \
                                                       matrix_descriptor b, int add) {         \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" ADD                                    \
                   ", 0;\n"                                                                    \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" NAMES  \
                   "}, %" A ", %" B ", p, 1, 1, 0, 0;\n}\n"                                    \
                   : __VA_ARGS__                                                               \
                   : "l"(a.bits()), "l"(b.bits()), "r"(add));                                  \
    }                                                                                          \
    /* The left one from registers, the right one across its rows: a b. */                     \
    static __device__ __forceinline__ void left_in_registers(float (&c)[N / 2],                \
                                                             const std::uint32_t* a,           \
                                                             matrix_descriptor b, int add) {   \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" ADD_R                                  \
                   ", 0;\n"                                                                    \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" NAMES  \
                   "}, {%" A0 ", %" A1 ", %" A2 ", %" A3 "}, %" B_R ", p, 1, 1, 1;\n}\n"       \
                   : __VA_ARGS__                                                               \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits()), "r"(add));     \
    }                                                                                          \
  }

#define SEQMIX_WGMMA(N, ...)                     \
  SEQMIX_WGMMA_OF(bf16, "bf16", N, __VA_ARGS__); \
  SEQMIX_WGMMA_OF(f16, "f16", N, __VA_ARGS__)

SEQMIX_WGMMA(64, SEQMIX_WGMMA_NAMES_0, "32", "33", "34", "32", "33", "34", "35", "36", "37",
             SEQMIX_WGMMA_32(c, 0));
SEQMIX_WGMMA(80, SEQMIX_WGMMA_NAMES_0 ", %32, %33, %34, %35, %36, %37, %38, %39", "40", "41", "42",
             "40", "41", "42", "43", "44", "45", SEQMIX_WGMMA_32(c, 0), SEQMIX_WGMMA_8(c, 32));
SEQMIX_WGMMA(96,
             SEQMIX_WGMMA_NAMES_0
             ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47",
             "48", "49", "50", "48", "49", "50", "51", "52", "53", SEQMIX_WGMMA_32(c, 0),
             SEQMIX_WGMMA_8(c, 32), SEQMIX_WGMMA_8(c, 40));
SEQMIX_WGMMA(112,
             SEQMIX_WGMMA_NAMES_0
             ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
             "%48, %49, %50, %51, %52, %53, %54, %55",
             "56", "57", "58", "56", "57", "58", "59", "60", "61", SEQMIX_WGMMA_32(c, 0),
             SEQMIX_WGMMA_8(c, 32), SEQMIX_WGMMA_8(c, 40), SEQMIX_WGMMA_8(c, 48));
SEQMIX_WGMMA(128, SEQMIX_WGMMA_NAMES_0 ", " SEQMIX_WGMMA_NAMES_1, "64", "65", "66", "64", "65",
             "66", "67", "68", "69", SEQMIX_WGMMA_32(c, 0), SEQMIX_WGMMA_32(c, 32));
SEQMIX_WGMMA(192, SEQMIX_WGMMA_NAMES_0 ", " SEQMIX_WGMMA_NAMES_1 ", " SEQMIX_WGMMA_NAMES_2, "96",
             "97", "98", "96", "97", "98", "99", "100", "101", SEQMIX_WGMMA_32(c, 0),
             SEQMIX_WGMMA_32(c, 32), SEQMIX_WGMMA_32(c, 64));
SEQMIX_WGMMA(256,
             SEQMIX_WGMMA_NAMES_0 ", " SEQMIX_WGMMA_NAMES_1 ", " SEQMIX_WGMMA_NAMES_2
                                  ", " SEQMIX_WGMMA_NAMES_3,
             "128", "129", "130", "128", "129", "130", "131", "132", "133", SEQMIX_WGMMA_32(c, 0),
             SEQMIX_WGMMA_32(c, 32), SEQMIX_WGMMA_32(c, 64), SEQMIX_WGMMA_32(c, 96));

#undef SEQMIX_WGMMA
#undef SEQMIX_WGMMA_OF
#undef SEQMIX_WGMMA_NAMES_0
#undef SEQMIX_WGMMA_NAMES_1
#undef SEQMIX_WGMMA_NAMES_2
#undef SEQMIX_WGMMA_NAMES_3
#undef SEQMIX_WGMMA_32
#undef SEQMIX_WGMMA_8

}  // namespace cuda

SEQMIX_END_NAMESPACE
