// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <seqmix/core/config.hpp>

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

/// Memory of the current GPU for what one call queues on a stream: there from here on in the order
/// of the stream, and given back in the order of the stream when this ends. In a stream that is
/// captured both become part of the graph. It comes from a pool of the library's own, which keeps
/// it for later calls until `release_thread_memory`. Where there is none, `data` is null.
class stream_memory {
 public:
  /// `stream` is a cudaStream_t.
  stream_memory(int ordinal, std::size_t bytes, void* stream) noexcept;
  stream_memory(const stream_memory&) = delete;
  stream_memory& operator=(const stream_memory&) = delete;
  ~stream_memory();

  void* data() const noexcept { return data_; }

 private:
  void* data_ = nullptr;
  void* stream_;
};

}  // namespace cuda

SEQMIX_END_NAMESPACE
