// SPDX-License-Identifier: Apache-2.0
#include "isa.hpp"

#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <string_view>

SEQMIX_BEGIN_NAMESPACE

namespace multiarch {

namespace {

struct registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

registers cpuid(unsigned leaf, unsigned part = 0) noexcept {
  registers r;
  __get_cpuid_count(leaf, part, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

constexpr bool has(unsigned word, std::initializer_list<int> bits) noexcept {
  for (const int b : bits) {
    if (((word >> b) & 1u) == 0) {
      return false;
    }
  }
  return true;
}

/// Register states that the system saves when it changes threads: without them instructions fault
/// that the CPU has.
std::uint64_t saved_states() noexcept {
  constexpr int osxsave = 27;
  if (!has(cpuid(1).ecx, {osxsave})) {
    return 0;
  }
  unsigned low = 0;
  unsigned high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32) | low;
}

/// The component of the extended state that tile registers are.
constexpr long tile_data = 18;

/// Whether the system can give a process tile registers. They are not part of what it saves of a
/// thread before the process asks.
bool system_has_tiles() noexcept {
#if defined(__linux__)
  constexpr long get_supported = 0x1021;  // ARCH_GET_XCOMP_SUPP
  std::uint64_t supported = 0;
  return syscall(SYS_arch_prctl, get_supported, &supported) == 0 &&
         ((supported >> tile_data) & 1u) != 0;
#else
  return false;
#endif
}

/// What x86-64-v3 and x86-64-v4 promise to the compiler, and AMX beside the latter.
bool cpu_runs(isa i) noexcept {
  const registers one = cpuid(1);
  const registers seven = cpuid(7);
  const registers extended = cpuid(0x80000001u);
  const std::uint64_t states = saved_states();
  constexpr std::uint64_t of_avx = 0x6;      // XMM, upper halves of YMM
  constexpr std::uint64_t of_avx512 = 0xe6;  // and masks, upper halves of ZMM, ZMM16 to 31
  constexpr std::uint64_t of_amx = 0x60000;  // tile configuration and tile data
  enum { fma = 12, movbe = 22, avx = 28, f16c = 29 };  // leaf 1, ecx
  enum { bmi1 = 3, avx2_bit = 5, bmi2 = 8 };           // leaf 7, ebx
  enum { avx512f = 16, avx512dq = 17, avx512cd = 28, avx512bw = 30, avx512vl = 31 };
  enum { amx_bf16 = 22, amx_tile = 24 };  // leaf 7, edx
  enum { avx512_bf16 = 5 };               // leaf 7 part 1, eax
  enum { lzcnt = 5 };                     // leaf 0x80000001, ecx
  const bool v3 = (states & of_avx) == of_avx && has(one.ecx, {fma, movbe, avx, f16c}) &&
                  has(seven.ebx, {bmi1, avx2_bit, bmi2}) && has(extended.ecx, {lzcnt});
  if (i == isa::avx2) {
    return v3;
  }
  const bool v4 = v3 && (states & of_avx512) == of_avx512 &&
                  has(seven.ebx, {avx512f, avx512dq, avx512cd, avx512bw, avx512vl});
  if (i == isa::avx512) {
    return v4;
  }
  return v4 && (states & of_amx) == of_amx && has(seven.edx, {amx_bf16, amx_tile}) &&
         has(cpuid(7, 1).eax, {avx512_bf16}) && system_has_tiles();
}

/// As SEQMIX_ISA has it.
const char* short_name(isa i) noexcept { return i == isa::avx2 ? "avx2" : "avx512"; }

/// Read once: what a process runs does not change on its way.
std::string_view chosen() noexcept {
  static const char* const value = std::getenv("SEQMIX_ISA");
  return value == nullptr ? std::string_view() : std::string_view(value);
}

}  // namespace

const char* target(isa i) noexcept {
  constexpr const char* names[] = {"fma3+avx2", "avx512bw", "amx_bf16"};
  return names[static_cast<int>(i)];
}

dispatch::fixed_text<128> lacking(isa i) noexcept {
  static const bool runs[] = {cpu_runs(isa::avx2), cpu_runs(isa::avx512), cpu_runs(isa::amx)};
  constexpr const char* names[] = {"AVX2 (x86-64-v3)", "AVX-512 (x86-64-v4)",
                                   "AMX (amx_tile, amx_bf16)"};
  dispatch::fixed_text<128> text;
  if (!runs[static_cast<int>(i)]) {
    text.append("a CPU and a system with ");
    text.append(names[static_cast<int>(i)]);
  } else if (!chosen().empty() && chosen() != short_name(i)) {
    const bool known = chosen() == "avx2" || chosen() == "avx512" || chosen() == "header";
    text.append(known ? "the instruction set of the environment: SEQMIX_ISA is "
                      : "a known SEQMIX_ISA, one of avx512, avx2 and header: it is ");
    text.append(chosen());
  }
  return text;
}

bool permit_tiles() noexcept {
#if defined(__linux__)
  constexpr long request = 0x1023;  // ARCH_REQ_XCOMP_PERM
  static const bool granted = syscall(SYS_arch_prctl, request, tile_data) == 0;
  return granted;
#else
  return false;
#endif
}

}  // namespace multiarch

SEQMIX_END_NAMESPACE
