// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the tests of softmax_attention run against: the CPU, or with SEQMIX_TEST_CUDA a GPU. Tests
// name what they want of the CPU; for the GPU that becomes the nearest that its kernels have.

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "attention_calls.hpp"
#ifdef SEQMIX_TEST_CUDA
#include "device_calls.hpp"
#endif

namespace seqmix_test {

struct head_dims {
  std::int64_t D, V;
};

/// Element types of one kind of call.
template <class TQ, class TK = TQ, class TV = TK, class TO = TQ>
struct element_types {};

/// A type as a value.
template <class T>
struct type_tag {
  using type = T;
};

namespace target {

#ifdef SEQMIX_TEST_CUDA

inline constexpr bool on_gpu = true;

/// Softcap, ALiBi and sink logits.
inline void add_terms(attention_case& c) {
  c.softcap = 3;
  c.alibi = c.sink_logits = true;
}

template <class... Types>
std::vector<attention_calls> calls() {
  return device_calls();
}
template <class T, class F>
void for_each_type(F&& f) {
  f(type_tag<seqmix::bf16>{});
  f(type_tag<seqmix::f16>{});
}
inline std::vector<head_dims> dims(head_dims wanted) {
  return {{64, 64}, {128, 128}, {192, 128}, wanted};
}
inline std::vector<algorithm> algorithms(std::initializer_list<algorithm>) {
  return {algorithm::automatic, algorithm::prefill, algorithm::decode};
}
/// No executor moves anything on the GPU: the call twice.
inline std::vector<execution> executions(std::initializer_list<execution>) { return {{}, {}}; }
/// Two sets of sizes, for the CPU and for the tiles of the GPU's kernels.
template <class T>
std::vector<T> sizes(std::initializer_list<T>, std::initializer_list<T> gpu) {
  return gpu;
}

/// A layout in which rows have the bits that they have in `kind`: dense, if that is one.
inline layout alike(layout kind) { return same_bits_in_every_layout() ? layout::dense : kind; }

template <std::size_t Rank>
using resident = seqmix_test::resident<Rank>;
using residence = device_residence;

#else

inline constexpr bool on_gpu = false;

/// Softcap, ALiBi between indexes, biases and sink logits.
inline void add_terms(attention_case& c) {
  c.softcap = 3;
  c.alibi = c.sink_logits = true;
  c.between = alibi_between::reals;
  c.bias = c.relative = bias_shape::heads_and_keys;
}

template <class TQ, class TK, class TV, class TO>
attention_calls calls_of(element_types<TQ, TK, TV, TO>) {
  return calls_for<TQ, TK, TV, TO>();
}
template <class... Types>
std::vector<attention_calls> calls() {
  return {calls_of(Types{})...};
}
template <class T, class F>
void for_each_type(F&& f) {
  f(type_tag<T>{});
}
inline std::vector<head_dims> dims(head_dims wanted) { return {wanted}; }
inline std::vector<algorithm> algorithms(std::initializer_list<algorithm> wanted) { return wanted; }
inline std::vector<execution> executions(std::initializer_list<execution> wanted) { return wanted; }
template <class T>
std::vector<T> sizes(std::initializer_list<T> cpu, std::initializer_list<T>) {
  return cpu;
}

inline layout alike(layout) { return layout::dense; }

/// Tensors are at home already.
template <std::size_t Rank>
struct resident {
  explicit resident(tensor<Rank>&) noexcept {}
  void send() noexcept {}
  void fetch() noexcept {}
};
struct residence {
  explicit residence(attention_problem&) noexcept {}
  void send_indices() noexcept {}
  void send_outputs() noexcept {}
  void fetch_outputs() noexcept {}
};

#endif

/// The bound that `which` is on the CPU. A GPU's weights are rounded to the element type before
/// they meet the values, which shows where a result has few of them.
inline bound allowed(bound which) { return on_gpu ? bound::ceiling : which; }

}  // namespace target

struct masking {
  const char* name;
  bool causal;
  seqmix::attention_window window;
  std::int64_t sinks;
  bool terms = false;  ///< and all that changes scores

  void apply(attention_case& c) const {
    c.causal = causal;
    c.window = window;
    c.sinks = sinks;
    if (terms) {
      target::add_terms(c);
    }
  }
};

}  // namespace seqmix_test
