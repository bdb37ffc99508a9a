// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "support/attention_target.hpp"
#include "support/catch.hpp"
#include "support/sparse_memory.hpp"

using namespace seqmix_test;
using seqmix::tensor_view;

#ifndef SEQMIX_TEST_CUDA  // whose memory is not sparse: cuda/device_test.cpp has these strides

namespace {

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

#endif

namespace {

std::vector<algorithm> forced() {
  return target::algorithms({algorithm::tiled, algorithm::split_kv, algorithm::naive});
}

/// The calls whose four tensors have this type.
template <class T>
attention_calls calls_of_type() {
#ifdef SEQMIX_TEST_CUDA
  return device_calls_for<T>();
#else
  return calls_for<T>();
#endif
}

}  // namespace

TEST_CASE("columns of one fused buffer, the output among them", "[softmax_attention][views]") {
  // [B, T, 4 H + 1, D]: q, k, v, o and a column that is nobody's.
  target::for_each_type<float>([](auto tag) {
    constexpr std::int64_t B = 2, T = 40, H = 2;
    constexpr std::int64_t columns = 4 * H + 1;
    using type = typename decltype(tag)::type;
    for (const head_dims& n : target::dims({12, 12})) {
      const std::int64_t D = n.D;
      attention_case c{.B = B, .T = T, .S = T, .H = H, .HK = H, .D = D, .V = D, .causal = true};
      c.types = types_of_all<type>();
      tensor<4> fused(c.types.o, {B, T, columns, D});
      attention_problem p(c);
      p.q.for_each([&](const tensor<4>::index& i) {
        fused.set({i[0], i[1], i[2], i[3]}, p.q[i]);
        fused.set({i[0], i[1], H + i[2], i[3]}, p.k[i]);
        fused.set({i[0], i[1], 2 * H + i[2], i[3]}, p.v[i]);
      });
      target::resident<4> there(fused);
      const auto all = fused.view<type>();
      for (const algorithm how : forced()) {
        run(calls_of_type<type>(), p, {.how = how});
        seqmix::softmax_attention(all.slice(2, 0, H), all.slice(2, H, H), all.slice(2, 2 * H, H),
                                  all.slice(2, 3 * H, H), {.causal = true}, {.pin = pin_of(how)});
        there.fetch();
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
  });
}

TEST_CASE("inputs may overlap each other and themselves", "[softmax_attention][views]") {
  // q, k and v are one tensor, whose rows are a window that slides over a vector.
  target::for_each_type<float>([](auto tag) {
    constexpr std::int64_t T = 50;
    using type = typename decltype(tag)::type;
    for (const head_dims& n : target::dims({9, 9})) {
      const std::int64_t D = n.D;
      attention_case c{.T = T, .S = T, .D = D, .V = D, .window = {.left = 4, .right = 2}};
      c.types = types_of_all<type>();
      c.q = c.k = c.v = target::alike(layout::strided);
      tensor<1> line(c.types.q, {T + D});
      line.fill(3);
      attention_problem p(c);
      for (tensor<4>* t : {&p.q, &p.k, &p.v}) {
        t->for_each([&](const tensor<4>::index& i) { t->set(i, line[{i[1] + i[3]}]); });
      }
      target::resident<1> line_there(line);
      const tensor_view<const type, 4> x{line.view<const type>().data_handle(),
                                         {std::int64_t{1}, T, std::int64_t{1}, D},
                                         {0, 1, 0, 1},
                                         line.where()};
      for (const algorithm how : forced()) {
        run(calls_of_type<type>(), p, {.how = how});
        tensor<4> o(c.types.o, {1, T, 1, D});
        target::resident<4> there(o);
        seqmix::softmax_attention(x, x, x, o.view<type>(), {.window = c.window},
                                  {.pin = pin_of(how)});
        there.fetch();
        CAPTURE(name(how));
        CHECK((o.all_bits() == p.o.all_bits()));
        CHECK(o.gaps_untouched());
      }
    }
  });
}

TEST_CASE("calls from several threads at once", "[softmax_attention][threads]") {
  for (const attention_calls& calls : target::calls<element_types<float>>()) {
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
      c.D = c.V = target::dims({20, 20})[0].D;
      c.types = calls.types;
      problems.emplace_back(c);
      run(calls, problems.back(), {});
      expected.push_back(bits_of(problems.back()));
      problems.back().clear_outputs();
    }
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
}
