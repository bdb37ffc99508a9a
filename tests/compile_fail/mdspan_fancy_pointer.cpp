// SPDX-License-Identifier: Apache-2.0
// expect: for call to .?.?.?[(]?(object of type .)?const [a-z0-9_:]+softmax_attention_fn
#include <cstddef>
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>

struct fancy_pointer {
  float* raw;
};

// As an mdspan, with an accessor's own handle.
struct span {
  using element_type = float;
#ifdef SEQMIX_COMPILE_FAIL_CONTROL
  using data_handle_type = float*;
#else
  using data_handle_type = fancy_pointer;
#endif
  data_handle_type handle;
  static constexpr std::size_t rank() { return 4; }
  std::size_t extent(std::size_t) const { return 1; }
  std::size_t stride(std::size_t) const { return 1; }
  data_handle_type data_handle() const { return handle; }
};

void call(const span& s, float* p) {
  const auto k = seqmix::view(p, 1, 1, 1, 1);
  seqmix::softmax_attention(s, k, k, seqmix::view(p, 1, 1, 1, 1));
}
