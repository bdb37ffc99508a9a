// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "attention_problem.hpp"
#include "cuda_checks.hpp"

namespace seqmix_test {

/// Memory that a GPU reads: exactly so many bytes, so that memory checkers see every stray access.
class cuda_memory {
 public:
  cuda_memory() = default;
  cuda_memory(std::size_t bytes, seqmix::device where) : where_(where) {
    const cuda_device_scope scope(where.ordinal);
    void* p = nullptr;
    if (where.kind == seqmix::device_kind::cuda) {
      cuda_check(cudaMalloc(&p, bytes), "cudaMalloc");
    } else {
      cuda_check(cudaHostAlloc(&p, bytes, cudaHostAllocDefault), "cudaHostAlloc");
    }
    data_ = static_cast<std::byte*>(p);
  }
  cuda_memory(const cuda_memory&) = delete;
  cuda_memory& operator=(const cuda_memory&) = delete;
  ~cuda_memory() {
    if (data_ == nullptr) {
      return;
    }
    if (where_.kind == seqmix::device_kind::cuda) {
      cuda_note(cudaFree(data_), "cudaFree");
    } else {
      cuda_note(cudaFreeHost(data_), "cudaFreeHost");
    }
  }
  std::byte* data() const noexcept { return data_; }

 private:
  std::byte* data_ = nullptr;
  seqmix::device where_{};
};

/// A tensor's twin in memory of a device: while it lives, the tensor's views point there. The whole
/// memory travels, guards and poisoned gaps too. The tensor must outlive it and not be assigned to.
template <std::size_t Rank>
class resident {
 public:
  explicit resident(tensor<Rank>& t, seqmix::device where = {seqmix::device_kind::cuda, 0})
      : tensor_(&t), where_(where), twin_(t.memory().size(), where) {
    send();
    t.place_at(twin_.data(), where);
  }
  resident(const resident&) = delete;
  resident& operator=(const resident&) = delete;
  ~resident() { tensor_->take_back(); }

  /// Copies the tensor to its twin, which is complete at the return: a plain copy from pageable
  /// memory may still be under way then, and other streams do not wait for it.
  void send() {
    const auto bytes = tensor_->memory();
    const cuda_device_scope scope(where_.ordinal);
    cuda_check(cudaMemcpy(twin_.data(), bytes.data(), bytes.size(), cudaMemcpyDefault),
               "cudaMemcpy to the device");
    cuda_check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
  /// Waits for the device and copies the twin to the tensor.
  void fetch() { read(tensor_->memory().data()); }
  /// Whether the twin still holds what the tensor holds.
  bool unchanged() {
    std::vector<std::byte> now(tensor_->memory().size());
    read(now.data());
    return std::memcmp(now.data(), tensor_->memory().data(), now.size()) == 0;
  }

 private:
  void read(std::byte* to) {
    const cuda_device_scope scope(where_.ordinal);
    cuda_check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    cuda_check(cudaMemcpy(to, twin_.data(), tensor_->memory().size(), cudaMemcpyDefault),
               "cudaMemcpy from the device");
  }

  tensor<Rank>* tensor_;
  seqmix::device where_;
  cuda_memory twin_;
};

/// All tensors of a problem on a device: its calls then run there.
class device_residence {
 public:
  explicit device_residence(attention_problem& p,
                            seqmix::device where = {seqmix::device_kind::cuda, 0})
      : q_(p.q, where), k_(p.k, where), v_(p.v, where), o_(p.o, where) {
    if (p.lse.type() != scalar_type::none) {
      lse_ = std::make_unique<resident<3>>(p.lse, where);
    }
    for (tensor<4>* t : {&p.bias, &p.relative}) {
      if (t->type() != scalar_type::none) {
        biases_.push_back(std::make_unique<resident<4>>(*t, where));
      }
    }
    for (tensor<2>* t : {&p.alibi_query, &p.alibi_key}) {
      if (t->type() != scalar_type::none) {
        alibi_.push_back(std::make_unique<resident<2>>(*t, where));
      }
    }
    for (tensor<1>* t : {&p.q_offsets, &p.k_offsets, &p.lengths, &p.sink, &p.slopes}) {
      if (t->type() != scalar_type::none) {
        indices_.push_back(std::make_unique<resident<1>>(*t, where));
      }
    }
  }

  void send_inputs() {
    q_.send();
    k_.send();
    v_.send();
    send_indices();
  }
  /// Offsets and lengths alone.
  void send_indices() {
    for (const auto& t : indices_) {
      t->send();
    }
  }
  void send_outputs() {
    o_.send();
    if (lse_ != nullptr) {
      lse_->send();
    }
  }
  /// Waits for the device and brings the outputs back, with all that lies around their elements.
  void fetch_outputs() {
    o_.fetch();
    if (lse_ != nullptr) {
      lse_->fetch();
    }
  }
  bool inputs_unchanged() {
    bool same = q_.unchanged() && k_.unchanged() && v_.unchanged();
    for (const auto& t : indices_) {
      same = same && t->unchanged();
    }
    return same;
  }

 private:
  resident<4> q_, k_, v_, o_;
  std::unique_ptr<resident<3>> lse_;
  std::vector<std::unique_ptr<resident<4>>> biases_;
  std::vector<std::unique_ptr<resident<2>>> alibi_;
  std::vector<std::unique_ptr<resident<1>>> indices_;
};

}  // namespace seqmix_test
