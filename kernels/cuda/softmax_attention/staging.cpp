// SPDX-License-Identifier: Apache-2.0
#include "staging.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <seqmix/core/workspace.hpp>

#include "../common/device_arena.hpp"
#include "../common/gpu.hpp"

SEQMIX_BEGIN_NAMESPACE

namespace cuda {

namespace {

using problem = softmax_attention_problem;

/// Whether a tensor's elements fill one stretch of memory from its first element on.
template <class View>
bool without_gaps(const View& v) noexcept {
  std::array<std::size_t, View::rank()> axes{};
  std::size_t used = 0;
  for (std::size_t a = 0; a < View::rank(); ++a) {
    if (v.extents[a] != 1) {
      axes[used++] = a;
    }
  }
  std::sort(axes.begin(), axes.begin() + used,
            [&](std::size_t a, std::size_t b) { return v.strides[a] < v.strides[b]; });
  std::int64_t expected = 1;
  for (std::size_t i = 0; i < used; ++i) {
    if (v.strides[axes[i]] != expected) {
      return false;
    }
    expected *= v.extents[axes[i]];
  }
  return true;
}

template <class View>
void make_dense(View& v) noexcept {
  std::int64_t step = 1;
  for (std::size_t a = View::rank(); a-- > 0;) {
    v.strides[a] = step;
    step *= v.extents[a];
  }
}

template <class View>
std::int64_t bytes_of(const View& v) noexcept {
  return v.size() * static_cast<std::int64_t>(size_of(v.type));
}

/// Calls `f(offset in v, index in dense order)` for the rows of the last axis.
template <class View, class F>
void for_rows(const View& v, const executor_ref& executor, const F& f) {
  constexpr std::size_t last = View::rank() - 1;
  std::int64_t rows = 1;
  for (std::size_t a = 0; a < last; ++a) {
    rows *= v.extents[a];
  }
  constexpr std::int64_t block = 256;
  const auto task = [&](std::int64_t index, int) {
    for (std::int64_t row = index * block; row < std::min(rows, (index + 1) * block); ++row) {
      std::int64_t rest = row;
      std::int64_t offset = 0;
      for (std::size_t a = last; a-- > 0;) {
        offset += rest % v.extents[a] * v.strides[a];
        rest /= v.extents[a];
      }
      f(offset, row * v.extents[last], row);
    }
  };
  executor.run((rows + block - 1) / block, task);
}

/// Moves elements of `width` bytes between two strided rows.
void copy_row(const std::byte* from, std::int64_t from_stride, std::byte* to,
              std::int64_t to_stride, std::int64_t count, std::size_t width) noexcept {
  if (from_stride == 1 && to_stride == 1) {
    std::memcpy(to, from, static_cast<std::size_t>(count) * width);
    return;
  }
  const auto w = static_cast<std::int64_t>(width);
  for (std::int64_t i = 0; i < count; ++i) {
    std::memcpy(to + i * to_stride * w, from + i * from_stride * w, width);
  }
}

std::int64_t owned_rows(const problem& p) noexcept {
  return p.packed ? detail::index_at(p.q_offsets, p.sequences) : p.q.extents[1];
}

/// The problem with caches cut to their longest sequence.
problem trimmed(problem p) noexcept {
  if (!p.packed && p.k_lengths.given()) {
    std::int64_t longest = 0;
    for (std::int64_t b = 0; b < p.sequences; ++b) {
      longest = std::max(longest, detail::index_at(p.k_lengths, b));
    }
    p.k.extents[1] = p.v.extents[1] = longest;
  }
  return p;
}

/// One staged call: where everything lies on both sides. Built twice, without memory to measure and
/// with it to run.
class staged_call {
 public:
  staged_call(const problem& p, std::byte* host, std::byte* device) : host_(host), device_(device) {
    here_ = trimmed(p);
    there_ = here_;
    whole_rows_ = owned_rows(here_) == here_.q.extents[1];
    place_input(here_.q, there_.q, packed_q_);
    place_input(here_.k, there_.k, packed_k_);
    place_input(here_.v, there_.v, packed_v_);
    place_index(here_.q_offsets, there_.q_offsets, q_offsets_);
    place_index(here_.k_offsets, there_.k_offsets, k_offsets_);
    place_index(here_.k_lengths, there_.k_lengths, k_lengths_);
    if (here_.sink_logits.given()) {
      place_input(here_.sink_logits, there_.sink_logits, packed_sinks_);
    }
    if (here_.alibi_slopes.given()) {
      place_input(here_.alibi_slopes, there_.alibi_slopes, packed_slopes_);
    }
    place_output(here_.o, there_.o, packed_o_);
    if (here_.lse.given()) {
      place_output(here_.lse, there_.lse, packed_lse_);
    }
    if (here_.packed) {
      for (std::int64_t b = 0; b < here_.sequences; ++b) {
        const detail::attention_sequence s = detail::sequence_at(here_, b);
        there_.max_q = std::max(there_.max_q, s.mask.queries);
        there_.max_k = std::max(there_.max_k, s.mask.keys);
      }
    }
  }

  std::size_t host_bytes() const noexcept { return host_.bytes(); }
  std::size_t device_bytes() const noexcept { return device_.bytes(); }

  void set_device(int ordinal) noexcept {
    const device where{device_kind::cuda, ordinal};
    there_.q.memory = there_.k.memory = there_.v.memory = there_.o.memory = where;
    there_.lse.memory = there_.sink_logits.memory = there_.alibi_slopes.memory = where;
    there_.q_offsets.memory = there_.k_offsets.memory = there_.k_lengths.memory = where;
  }

  const problem& on_device() const noexcept { return there_; }

  int upload(const context& ctx) {
    int status = cudaSuccess;
    upload_input(here_.q, there_.q, packed_q_, ctx, status);
    upload_input(here_.k, there_.k, packed_k_, ctx, status);
    upload_input(here_.v, there_.v, packed_v_, ctx, status);
    upload_input(here_.sink_logits, there_.sink_logits, packed_sinks_, ctx, status);
    upload_input(here_.alibi_slopes, there_.alibi_slopes, packed_slopes_, ctx, status);
    upload_index(here_.q_offsets, there_.q_offsets, q_offsets_, ctx, status);
    upload_index(here_.k_offsets, there_.k_offsets, k_offsets_, ctx, status);
    upload_index(here_.k_lengths, there_.k_lengths, k_lengths_, ctx, status);
    return status;
  }

  int download(const context& ctx) {
    int status = cudaSuccess;
    download_output(here_.o, there_.o, packed_o_, ctx, status);
    download_output(here_.lse, there_.lse, packed_lse_, ctx, status);
    return status;
  }

  /// Puts what came back through scratch where it belongs.
  void scatter(const context& ctx) const {
    const std::int64_t owned = owned_rows(here_);
    if (packed_o_ != nullptr) {
      for_rows(here_.o, ctx.executor, [&](std::int64_t to, std::int64_t from, std::int64_t row) {
        if (row / here_.o.extents[2] % here_.o.extents[1] < owned) {
          const std::size_t width = size_of(here_.o.type);
          const auto w = static_cast<std::int64_t>(width);
          copy_row(packed_o_ + from * w, 1, static_cast<std::byte*>(here_.o.data) + to * w,
                   here_.o.strides[3], here_.o.extents[3], width);
        }
      });
    }
    if (packed_lse_ != nullptr) {
      for_rows(here_.lse, ctx.executor, [&](std::int64_t to, std::int64_t from, std::int64_t) {
        const std::size_t width = size_of(here_.lse.type);
        const auto w = static_cast<std::int64_t>(width);
        copy_row(packed_lse_ + from * w, 1, static_cast<std::byte*>(here_.lse.data) + to * w,
                 here_.lse.strides[2], owned, width);
      });
    }
  }

 private:
  template <std::size_t Rank>
  void place_input(const any_view<Rank>& here, any_view<Rank>& there, std::byte*& packed) {
    if (!without_gaps(here)) {
      packed = host_.take<std::byte>(bytes_of(here));
      make_dense(there);
    }
    there.data = device_.take<std::byte>(bytes_of(here));
  }
  void place_index(const any_view<1>& here, any_view<1>& there, std::int64_t*& packed) {
    if (here.given()) {
      packed = host_.take<std::int64_t>(here.extents[0]);
      there.data = device_.take<std::int64_t>(here.extents[0]);
      there.type = scalar_type::i64;
      there.strides[0] = 1;
    }
  }
  template <class View>
  void place_output(const View& here, View& there, std::byte*& packed) {
    if (!without_gaps(here) || !whole_rows_) {
      packed = host_.take<std::byte>(bytes_of(here));
      make_dense(there);
    }
    there.data = device_.take<std::byte>(bytes_of(here));
  }

  template <std::size_t Rank>
  static void upload_input(const any_view<Rank>& here, const any_view<Rank>& there,
                           std::byte* packed, const context& ctx, int& status) {
    const void* from = here.data;
    if (packed != nullptr) {
      const std::size_t width = size_of(here.type);
      const auto w = static_cast<std::int64_t>(width);
      for_rows(here, ctx.executor, [&](std::int64_t at, std::int64_t to, std::int64_t) {
        copy_row(static_cast<const std::byte*>(here.data) + at * w, here.strides[Rank - 1],
                 packed + to * w, 1, here.extents[Rank - 1], width);
      });
      from = packed;
    }
    copy(const_cast<void*>(there.data), from, bytes_of(here), cudaMemcpyHostToDevice, ctx, status);
  }
  static void upload_index(const any_view<1>& here, const any_view<1>& there, std::int64_t* packed,
                           const context& ctx, int& status) {
    if (packed == nullptr) {
      return;
    }
    for (std::int64_t i = 0; i < here.extents[0]; ++i) {
      packed[i] = detail::index_at(here, i);
    }
    copy(const_cast<void*>(there.data), packed,
         here.extents[0] * static_cast<std::int64_t>(sizeof(std::int64_t)), cudaMemcpyHostToDevice,
         ctx, status);
  }
  template <class View>
  static void download_output(const View& here, const View& there, std::byte* packed,
                              const context& ctx, int& status) {
    if (here.given()) {
      copy(packed != nullptr ? packed : here.data, there.data, bytes_of(here),
           cudaMemcpyDeviceToHost, ctx, status);
    }
  }
  static void copy(void* to, const void* from, std::int64_t bytes, cudaMemcpyKind kind,
                   const context& ctx, int& status) {
    if (status == cudaSuccess && bytes > 0) {
      status = cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), kind,
                               static_cast<cudaStream_t>(ctx.cuda_stream));
    }
  }

  detail::scratch_layout host_;
  detail::scratch_layout device_;
  problem here_;
  problem there_;
  bool whole_rows_ = true;  // every row of the outputs belongs to a sequence
  // Host scratch; null where the tensor itself is copied.
  std::byte* packed_q_ = nullptr;
  std::byte* packed_k_ = nullptr;
  std::byte* packed_v_ = nullptr;
  std::byte* packed_sinks_ = nullptr;
  std::byte* packed_slopes_ = nullptr;
  std::byte* packed_o_ = nullptr;
  std::byte* packed_lse_ = nullptr;
  std::int64_t* q_offsets_ = nullptr;
  std::int64_t* k_offsets_ = nullptr;
  std::int64_t* k_lengths_ = nullptr;
};

}  // namespace

int staging_ordinal() noexcept {
  int ordinal = 0;
  return cudaGetDevice(&ordinal) == cudaSuccess && ordinal < gpu_list::most ? ordinal : 0;
}

staging_work work_of(const problem& p, const context& ctx) noexcept {
  staging_work work;
  double pairs = 0;
  // The keys that a row sees at most.
  double most = std::numeric_limits<double>::max();
  if (p.window.left != unbounded && (p.causal || p.window.right != unbounded)) {
    most = static_cast<double>(p.sink_tokens) + static_cast<double>(p.window.left) + 1 +
           (p.causal ? 0 : static_cast<double>(p.window.right));
  }
  for (std::int64_t b = 0; b < p.sequences; ++b) {
    const visibility mask = detail::sequence_at(p, b).mask;
    const auto queries = static_cast<double>(mask.queries);
    const auto keys = static_cast<double>(mask.keys);
    pairs += std::min(queries * most,
                      p.causal ? queries * (keys - 0.5 * std::min(queries, keys)) : queries * keys);
  }
  work.operations = 2.0 * static_cast<double>(p.key_dim() + p.value_dim()) *
                    static_cast<double>(p.heads()) * pairs;
  work.bytes = static_cast<double>(bytes_of(p.q) + bytes_of(p.k) + bytes_of(p.v) + bytes_of(p.o));
  work.pinned =
      p.q.memory.kind == device_kind::cuda_pinned && p.k.memory.kind == device_kind::cuda_pinned &&
      p.v.memory.kind == device_kind::cuda_pinned && p.o.memory.kind == device_kind::cuda_pinned;
  work.threads = ctx.executor.concurrency();
  return work;
}

bool fits(const problem& p, int ordinal, bool has_context) noexcept {
  const std::size_t needed = staged_call(p, nullptr, nullptr).device_bytes();
  if (!has_context) {
    return needed < gpus().gpus[ordinal].bytes / 2;  // others may use it as well
  }
  std::size_t free = 0;
  std::size_t total = 0;
  const std::size_t owned = device_arena::local().size(ordinal);
  return needed <= owned || (cudaMemGetInfo(&free, &total) == cudaSuccess && needed < free + owned);
}

std::size_t staging_bytes(const problem& p) noexcept {
  return staged_call(p, nullptr, nullptr).host_bytes();
}

detail::violation run_staged(const problem& p, const context& ctx, std::byte* scratch,
                             const std::function<detail::violation(const problem&)>& launch) {
  const int ordinal = staging_ordinal();
  int status = cudaSuccess;
  std::byte* memory = device_arena::local().reserve(
      ordinal, std::max<std::size_t>(staged_call(p, nullptr, nullptr).device_bytes(), 1), status);
  if (memory == nullptr) {
    return cuda_violation(problem::operator_name, "device memory for host tensors", status);
  }
  staged_call call(p, scratch, memory);
  call.set_device(ordinal);
  status = call.upload(ctx);
  detail::violation broken;
  if (status == cudaSuccess) {
    broken = launch(call.on_device());
  }
  if (status == cudaSuccess && !broken) {
    status = call.download(ctx);
  }
  // Also after an error: nothing may be under way when the arena and the scratch are used again.
  const int end = cudaStreamSynchronize(static_cast<cudaStream_t>(ctx.cuda_stream));
  if (!broken) {
    broken = cuda_violation(problem::operator_name, "copies of host tensors",
                            status != cudaSuccess ? status : end);
  }
  if (!broken) {
    call.scatter(ctx);
  }
  return broken;
}

}  // namespace cuda

SEQMIX_END_NAMESPACE
