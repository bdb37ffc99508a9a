// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <cstddef>

namespace seqmix_test {

/// Zeroed memory of which only the touched pages exist.
class sparse_memory {
 public:
  explicit sparse_memory(std::size_t bytes) : bytes_(bytes) {
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    data_ = p == MAP_FAILED ? nullptr : p;
  }
  sparse_memory(const sparse_memory&) = delete;
  sparse_memory& operator=(const sparse_memory&) = delete;
  ~sparse_memory() {
    if (data_ != nullptr) {
      munmap(data_, bytes_);
    }
  }
  float* data() const noexcept { return static_cast<float*>(data_); }

 private:
  void* data_;
  std::size_t bytes_;
};

}  // namespace seqmix_test
