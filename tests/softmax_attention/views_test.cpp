// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "support/attention_calls.hpp"
#include "support/catch.hpp"

using namespace seqmix_test;
using seqmix::tensor_view;

namespace {

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

attention_case small_case() {
  attention_case c{.B = 3, .T = 3, .S = 3, .H = 3, .HK = 3, .D = 3, .V = 3, .causal = true};
  c.types = types_of_all<float>();
  return c;
}

/// A tensor of shape [3, 3, 3, 3] in which one axis has a stride beyond 2^31 elements.
tensor_view<float, 4> far_view(const sparse_memory& memory, std::size_t axis, bool negative) {
  constexpr std::int64_t far = (std::int64_t{1} << 31) + 4099;
  std::int64_t strides[4] = {27, 9, 3, 1};
  strides[axis] = negative ? -far : far;
  return {memory.data() + (negative ? 2 * far : 0),
          {3, 3, 3, 3},
          {strides[0], strides[1], strides[2], strides[3]}};
}

}  // namespace

TEST_CASE("strides beyond 2^31 elements", "[softmax_attention][views]") {
  constexpr std::size_t bytes = ((std::size_t{2} << 31) + 20000) * sizeof(float);
  const sparse_memory memory[4] = {sparse_memory(bytes), sparse_memory(bytes), sparse_memory(bytes),
                                   sparse_memory(bytes)};
  for (const sparse_memory& m : memory) {
    if (m.data() == nullptr) {
      WARN("not run: the system grants no " << (bytes >> 30)
                                            << " GiB of address space: " << std::strerror(errno));
      return;
    }
  }
  attention_problem p(small_case());
  for (const algorithm how : {algorithm::tiled, algorithm::split_kv, algorithm::naive}) {
    run(calls_for<float>(), p, {.how = how});
    for (std::size_t axis = 0; axis < 4; ++axis) {
      for (const bool negative : {false, true}) {
        const auto q = far_view(memory[0], axis, negative);
        const auto k = far_view(memory[1], axis, negative);
        const auto v = far_view(memory[2], axis, negative);
        const auto o = far_view(memory[3], axis, negative);
        p.q.for_each([&](const tensor<4>::index& i) {
          q(i[0], i[1], i[2], i[3]) = static_cast<float>(p.q[i]);
          k(i[0], i[1], i[2], i[3]) = static_cast<float>(p.k[i]);
          v(i[0], i[1], i[2], i[3]) = static_cast<float>(p.v[i]);
          o(i[0], i[1], i[2], i[3]) = -5;
        });
        seqmix::softmax_attention(q, k, v, o, {.causal = true}, {.pin = pin_of(how)});
        bool same = true;
        p.o.for_each([&](const tensor<4>::index& i) {
          same &= o(i[0], i[1], i[2], i[3]) == static_cast<float>(p.o[i]);
        });
        CAPTURE(name(how), axis, negative);
        CHECK(same);
      }
    }
  }
}

TEST_CASE("columns of one fused buffer, the output among them", "[softmax_attention][views]") {
  // [B, T, 3 H + 1, D]: q, k, v, o and a column that is nobody's.
  constexpr std::int64_t B = 2, T = 40, H = 2, D = 12;
  constexpr std::int64_t columns = 4 * H + 1;
  tensor<4> fused(scalar_type::f32, {B, T, columns, D});
  attention_case c{.B = B, .T = T, .S = T, .H = H, .HK = H, .D = D, .V = D, .causal = true};
  c.types = types_of_all<float>();
  attention_problem p(c);
  p.q.for_each([&](const tensor<4>::index& i) {
    fused.set({i[0], i[1], i[2], i[3]}, p.q[i]);
    fused.set({i[0], i[1], H + i[2], i[3]}, p.k[i]);
    fused.set({i[0], i[1], 2 * H + i[2], i[3]}, p.v[i]);
  });
  const auto all = fused.view<float>();
  for (const algorithm how : {algorithm::tiled, algorithm::split_kv, algorithm::naive}) {
    run(calls_for<float>(), p, {.how = how});
    seqmix::softmax_attention(all.slice(2, 0, H), all.slice(2, H, H), all.slice(2, 2 * H, H),
                              all.slice(2, 3 * H, H), {.causal = true}, {.pin = pin_of(how)});
    bool right = true;
    fused.for_each([&](const tensor<4>::index& i) {
      const tensor<4>::index own{i[0], i[1], i[2] % H, i[3]};
      const std::int64_t part = i[2] / H;
      const tensor<4>* source = part == 0 ? &p.q : part == 1 ? &p.k : part == 2 ? &p.v : &p.o;
      right &= part == 4 ? fused.untouched(i) : fused.bits(i) == source->bits(own);
    });
    CAPTURE(name(how));
    CHECK(right);
    CHECK(fused.gaps_untouched());
  }
}

TEST_CASE("inputs may overlap each other and themselves", "[softmax_attention][views]") {
  // q, k and v are one tensor, whose rows are a window that slides over a vector.
  constexpr std::int64_t T = 50, D = 9;
  tensor<1> line(scalar_type::f32, {T + D});
  line.fill(3);
  const float* data = line.view<const float>().data_handle();
  const tensor_view<const float, 4> x{data, {1, 50, 1, 9}, {0, 1, 0, 1}};
  attention_case c{.T = T, .S = T, .D = D, .V = D, .window = {.left = 4, .right = 2}};
  c.types = types_of_all<float>();
  attention_problem p(c);
  for (tensor<4>* t : {&p.q, &p.k, &p.v}) {
    t->for_each([&](const tensor<4>::index& i) { t->set(i, line[{i[1] + i[3]}]); });
  }
  for (const algorithm how : {algorithm::tiled, algorithm::split_kv, algorithm::naive}) {
    run(calls_for<float>(), p, {.how = how});
    tensor<4> o(scalar_type::f32, {1, T, 1, D});
    seqmix::softmax_attention(x, x, x, o.view<float>(), {.window = {.left = 4, .right = 2}},
                              {.pin = pin_of(how)});
    CAPTURE(name(how));
    CHECK((o.all_bits() == p.o.all_bits()));
    CHECK(o.gaps_untouched());
  }
}

TEST_CASE("calls from several threads at once", "[softmax_attention]") {
  std::vector<attention_problem> problems;
  std::vector<output_bits> expected;
  for (int i = 0; i < 4; ++i) {
    attention_case c{.B = 2,
                     .T = 10 + 30 * i,
                     .S = 90 + 60 * i,
                     .H = 2,
                     .HK = 1,
                     .D = 20,
                     .V = 20,
                     .causal = true,
                     .seed = static_cast<std::uint64_t>(i + 1)};
    c.types = types_of_all<float>();
    problems.emplace_back(c);
    run(calls_for<float>(), problems.back(), {});
    expected.push_back(bits_of(problems.back()));
    problems.back().clear_outputs();
  }
  const attention_calls calls = calls_for<float>();
  std::vector<std::thread> threads;
  for (attention_problem& p : problems) {
    threads.emplace_back([&p, &calls] {
      for (int i = 0; i < 5; ++i) {
        calls.run(p, {});
      }
    });
  }
  for (std::thread& t : threads) {
    t.join();
  }
  for (std::size_t i = 0; i < problems.size(); ++i) {
    CHECK((bits_of(problems[i]) == expected[i]));
  }
}
