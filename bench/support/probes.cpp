// SPDX-License-Identifier: Apache-2.0
#include "support/probes.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <seqmix/simd/fma.hpp>
#include <seqmix/simd/tile.hpp>

#include "support/bench.hpp"

namespace seqmix_bench {

namespace {

using arch = seqmix::simd::default_arch;
constexpr std::int64_t mebibyte = 1 << 20;
bool short_probes = false;

/// A probe runs this often and answers with the median, so that one interruption does not count.
constexpr int slices = 5;

template <class Slice>
double median_rate(double amount, Slice slice) {
  std::array<double, slices> seconds{};
  for (double& s : seconds) {
    const double start = now();
    slice();
    s = now() - start;
  }
  std::nth_element(seconds.begin(), seconds.begin() + slices / 2, seconds.end());
  return amount / seconds[slices / 2];
}

template <class Task>
void on_each(seqmix::executor_ref executor, Task task) {
  executor.run(executor.concurrency(), task);
}

// Latency times throughput is 8 to 10 on today's CPUs; 12 chains fit in 16 registers.
constexpr int chains = 12;

template <class C>
void multiply_add_chains(std::int64_t steps) {
  using V = seqmix::simd::vec<C, arch>;
  // Not DoNotOptimize: of a number that an asm statement may change in memory or in a register,
  // g++ can lose the value, and multiply denormal numbers from then on.
  volatile C factor = C(0.999);
  volatile C addend = C(0.001);
  const V a(static_cast<C>(factor));
  const V b(static_cast<C>(addend));
  V x[chains];
  for (V& v : x) {
    v = a;
  }
  for (std::int64_t i = 0; i < steps; ++i) {
    seqmix::simd::unroll<chains>(
        [&](auto c) __attribute__((always_inline)) { x[c] = seqmix::simd::fma(x[c], a, b); });
  }
  for (V& v : x) {
    C first = v.get(0);
    benchmark::DoNotOptimize(first);
  }
}

template <class C>
double fma_rate_of(seqmix::executor_ref executor) {
  static const std::int64_t steps = [] {
    const double wanted = short_probes ? 5e-4 : 3e-3;
    for (std::int64_t n = 4096;; n *= 2) {
      // The fastest of some: one interruption must not make the probe too short for all time.
      double fastest = wanted + 1;
      for (int i = 0; i < 3; ++i) {
        const double start = now();
        multiply_add_chains<C>(n);
        fastest = std::min(fastest, now() - start);
      }
      if (fastest > wanted) {
        return n;
      }
    }
  }();
  const int workers = executor.concurrency();
  const double flops =
      2.0 * chains * seqmix::simd::lanes<C, arch> * static_cast<double>(steps) * workers;
  return median_rate(
      flops, [&] { on_each(executor, [](std::int64_t, int) { multiply_add_chains<C>(steps); }); });
}

/// Memory several times the caches, walked in segments: a segment is met again only after all the
/// others, when no cache holds it any more.
class cold_memory {
 public:
  static cold_memory& get() {
    static cold_memory memory;
    return memory;
  }

  struct segment {
    float* data;
    std::int64_t count;
  };

  segment next(int workers) {
    const std::int64_t wanted = (short_probes ? 4 : 32) * mebibyte * workers;
    const std::int64_t count =
        std::min(wanted, bytes_ / 4) / static_cast<std::int64_t>(sizeof(float));
    const std::int64_t total = bytes_ / static_cast<std::int64_t>(sizeof(float));
    if (position_ + count > total) {
      position_ = 0;
    }
    const segment s{reinterpret_cast<float*>(data_.get()) + position_, count};
    position_ += count;
    return s;
  }

 private:
  cold_memory()
      : bytes_(std::max(4 * last_level_cache_bytes(), 256 * mebibyte)),
        data_(static_cast<std::byte*>(
            ::operator new(static_cast<std::size_t>(bytes_), std::align_val_t{64}))) {
    std::fill_n(reinterpret_cast<float*>(data_.get()),
                bytes_ / static_cast<std::int64_t>(sizeof(float)), 1.0f);
  }

  struct deleter {
    void operator()(std::byte* p) const noexcept { ::operator delete(p, std::align_val_t{64}); }
  };
  std::int64_t bytes_;
  std::unique_ptr<std::byte, deleter> data_;
  std::int64_t position_ = 0;
};

/// Part `index` of `parts`, a multiple of `grain` elements.
cold_memory::segment part_of(const cold_memory::segment& s, std::int64_t index, int parts,
                             std::int64_t grain) {
  const std::int64_t count = s.count / parts / grain * grain;
  return {s.data + index * count, count};
}

// Several streams at once go faster than one, which prefetchers lose at each page's end.
constexpr int streams = 4;
constexpr int read_chains = 2 * streams;
constexpr std::int64_t lanes = seqmix::simd::lanes<float, arch>;
constexpr std::int64_t read_grain = read_chains * lanes;

void sum(const cold_memory::segment& s) {
  using V = seqmix::simd::vec<float, arch>;
  const std::int64_t stream = s.count / streams;
  V x[read_chains];
  for (V& v : x) {
    v = V(0.0f);
  }
  for (std::int64_t i = 0; i < stream; i += 2 * lanes) {
    seqmix::simd::unroll<read_chains>([&](auto c) __attribute__((always_inline)) {
      x[c] = x[c] + V::load_unaligned(s.data + c / 2 * stream + i + c % 2 * lanes);
    });
  }
  for (V& v : x) {
    float first = v.get(0);
    benchmark::DoNotOptimize(first);
  }
}

}  // namespace

void use_short_probes() { short_probes = true; }

std::int64_t last_level_cache_bytes() {
  const benchmark::CPUInfo& cpu = benchmark::CPUInfo::Get();
  int level = 0;
  std::int64_t bytes = 0;
  for (const auto& cache : cpu.caches) {
    if (cache.level >= level && cache.type != "Instruction") {
      const int sharing = std::max(cache.num_sharing, 1);
      level = cache.level;
      bytes = static_cast<std::int64_t>(cache.size) * ((cpu.num_cpus + sharing - 1) / sharing);
    }
  }
  return std::max(bytes, 32 * mebibyte);
}

double fma_rate(seqmix::executor_ref executor, seqmix::scalar_type compute) {
  return compute == seqmix::scalar_type::f64 ? fma_rate_of<double>(executor)
                                             : fma_rate_of<float>(executor);
}

double read_rate(seqmix::executor_ref executor) {
  const int workers = executor.concurrency();
  const auto measured = part_of(cold_memory::get().next(workers), 0, workers, read_grain);
  return median_rate(static_cast<double>(measured.count) * sizeof(float) * workers, [&] {
    const auto segment = cold_memory::get().next(workers);
    on_each(executor, [&](std::int64_t i, int) { sum(part_of(segment, i, workers, read_grain)); });
  });
}

double copy_rate(seqmix::executor_ref executor) {
  const int workers = executor.concurrency();
  const auto measured = part_of(cold_memory::get().next(workers), 0, workers, read_grain);
  return median_rate(2.0 * static_cast<double>(measured.count) * sizeof(float) * workers, [&] {
    const auto from = cold_memory::get().next(workers);
    const auto to = cold_memory::get().next(workers);
    on_each(executor, [&](std::int64_t i, int) {
      const auto source = part_of(from, i, workers, read_grain);
      std::memcpy(part_of(to, i, workers, read_grain).data, source.data,
                  static_cast<std::size_t>(source.count) * sizeof(float));
      benchmark::ClobberMemory();
    });
  });
}

}  // namespace seqmix_bench
