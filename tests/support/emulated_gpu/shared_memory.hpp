// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "block.hpp"

namespace seqmix_test {

/// A block's dynamic shared memory. Threads see what they write; copies and products (the async
/// proxy) do not, until the thread that wrote says so. Addresses are 32 bits wide, and begin at a
/// multiple of 128, as kernels ask for, which is none of 1024.
class shared_memory_window {
 public:
  static constexpr std::uint32_t first = 384;

  /// Begins full of NaN.
  void reset(std::byte* of_threads, std::size_t bytes, std::size_t threads) {
    of_threads_ = of_threads;
    bytes_ = bytes;
    std::memset(of_threads_, 0xff, bytes_);
    of_engines_.assign(bytes_, std::byte{0xff});
    unfenced_.assign(threads, {});
  }

  std::uint32_t address_of(const void* p) const {
    return first + static_cast<std::uint32_t>(static_cast<const std::byte*>(p) - of_threads_);
  }

  template <class Word>
  Word load(std::uint32_t from) const {
    Word x;
    std::memcpy(&x, of_threads_ + offset(from, sizeof(x)), sizeof(x));
    return x;
  }
  template <class Word>
  void store(std::uint32_t to, const Word& x) {
    std::memcpy(of_threads_ + offset(to, sizeof(x)), &x, sizeof(x));
    unfenced_[emulated_block::current().thread()].push_back({to, sizeof(x)});
  }
  void fence() {
    std::vector<range>& mine = unfenced_[emulated_block::current().thread()];
    for (const range& r : mine) {
      const std::size_t at = offset(r.begin, r.bytes);
      std::memcpy(of_engines_.data() + at, of_threads_ + at, r.bytes);
    }
    mine.clear();
  }

  /// What a copy of 16 bytes that a thread has issued brings: for threads, too.
  static constexpr std::size_t brought_bytes = 16;
  using brought = std::array<std::byte, brought_bytes>;
  void bring(std::uint32_t to, const brought& x) {
    std::memcpy(of_threads_ + offset(to, sizeof(x)), x.data(), sizeof(x));
  }

  // What the copy engine and products see.

  const std::byte* read(std::uint32_t from, std::size_t bytes) const {
    return of_engines_.data() + offset(from, bytes);
  }
  void write(std::uint32_t to, const void* from, std::size_t bytes) {
    const std::size_t at = offset(to, bytes);
    std::memcpy(of_engines_.data() + at, from, bytes);
    std::memcpy(of_threads_ + at, from, bytes);
  }

 private:
  struct range {
    std::uint32_t begin;
    std::size_t bytes;
  };

  std::size_t offset(std::uint32_t address, std::size_t bytes) const {
    const std::size_t alignment = std::min<std::size_t>(bytes, 16);
    if (address < first || address - first + bytes > bytes_ || address % alignment != 0) {
      emulated_block::current().fault("no access to shared memory at " + std::to_string(address));
    }
    return address - first;
  }

  std::byte* of_threads_ = nullptr;
  std::size_t bytes_ = 0;
  std::vector<std::byte> of_engines_;
  std::vector<std::vector<range>> unfenced_;  // of each thread
};

}  // namespace seqmix_test
