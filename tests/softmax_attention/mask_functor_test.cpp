// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <seqmix/ops/softmax_attention/masks.hpp>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "support/functor_checks.hpp"

// Masks of the caller's, and those by places that come with the operator.

using namespace seqmix_test;
using seqmix::bf16;
using seqmix::block_visibility;
using seqmix::mask_block;
using seqmix::score_context;

namespace {

/// Hides pairs by an arbitrary rule that differs between heads and sequences.
struct scattered {
  bool operator()(const score_context& at) const {
    return mix(static_cast<std::uint64_t>(((at.sequence * 7 + at.head) * 1000 + at.query) * 1000 +
                                          at.key)) %
               3 !=
           0;
  }
};

/// The same without a rule for single pairs that could be skipped: its blocks are always partial.
struct scattered_blocks : scattered {
  block_visibility classify(const mask_block&) const { return block_visibility::partial; }
};

}  // namespace

TEST_CASE("a mask functor hides pairs, alone and with everything else", "[softmax_attention]") {
  for (const call_form form : {call_form::batched, call_form::packed, call_form::cached}) {
    for (const auto& [T, S] : {std::pair{1, 300}, std::pair{7, 90}, std::pair{70, 300}}) {
      attention_case c = case_of(T, S, form);
      check_against_oracle<float>(c, scattered{});
      c.causal = true;
      c.window = {.left = 60};
      c.sinks = 3;
      c.alibi = true;
      c.sink_logits = true;
      check_against_oracle<float>(c, any_mask(scattered_blocks{}));
      const auto score = [](float s, const score_context& at) {
        return s - 0.01f * static_cast<float>(at.key);
      };
      check_against_oracle<float>(c, score, scattered{});
    }
  }
  check_against_oracle<bf16>(case_of(40, 90), scattered{});
}

TEST_CASE("a mask functor equals a bias of minus infinity", "[softmax_attention]") {
  attention_case c = case_of(50, 120);
  attention_problem masked(c);
  call<float>(masked, {}, scattered{});
  c.bias = bias_shape::full;
  attention_problem biased(c);
  biased.bias.for_each([&](const tensor<4>::index& i) {
    biased.bias.set(i, scattered{}({i[0], i[1], i[2], i[3], 50, 120}) ? 0.0 : -infinity);
  });
  call<float>(biased, {});
  CHECK(compare(masked.o.values(), biased.o.values(), tolerance_of(scalar_type::f32)) == "");
}

TEST_CASE("what a mask functor hides has no influence, whatever it holds", "[softmax_attention]") {
  for (const algorithm how : {algorithm::tiled, algorithm::split_kv, algorithm::naive}) {
    attention_case c = case_of(20, 90);
    attention_problem p(c);
    call<float>(p, {.pin = pin_of(how)}, scattered{});
    const attention_problem clean = p;
    p.k.set({0, 40, 1, 3}, std::numeric_limits<double>::quiet_NaN());
    p.v.set({1, 17, 0, 5}, infinity);
    call<float>(p, {.pin = pin_of(how)}, scattered{});
    bool right = true;
    p.o.for_each([&](const tensor<4>::index& i) {
      const scattered mask;
      const bool key = i[0] == 0 && i[2] / 2 == 1 && mask({0, i[2], i[1], 40, 20, 90});
      const bool value =
          i[0] == 1 && i[2] / 2 == 0 && i[3] == 5 && mask({1, i[2], i[1], 17, 20, 90});
      right &= key     ? std::isnan(p.o[i])
               : value ? !std::isfinite(p.o[i])
                       : p.o.bits(i) == clean.o.bits(i);
    });
    CAPTURE(name(how));
    CHECK(right);
  }
}

TEST_CASE("classification moves no bits", "[softmax_attention][threads]") {
  // The same mask with and without answers for blocks.
  struct plain {
    seqmix::chunk_mask mask;
    bool operator()(const score_context& at) const { return mask(at); }
  };
  const seqmix::chunk_mask chunks{.size = 48, .left = 1};
  for (const auto& [T, S] : {std::pair{4, 300}, std::pair{300, 300}, std::pair{100, 500}}) {
    attention_problem p(case_of(T, S));
    call<float>(p, {}, chunks);
    const output_bits expected = bits_of(p);
    call<float>(p, {}, plain{chunks});
    CHECK((bits_of(p) == expected));
    pool_executor pool(3, 5);
    call<float>(p, {.executor = pool}, chunks);
    CHECK((bits_of(p) == expected));
  }
}

TEST_CASE("empty blocks are not computed", "[softmax_attention]") {
  // Counts the pairs that the functor is asked about: of whole blocks there are none.
  static std::atomic<std::int64_t> asked{0};
  struct counting {
    seqmix::chunk_mask mask;
    bool operator()(const score_context& at) const {
      ++asked;
      return mask(at);
    }
    block_visibility classify(const mask_block& b) const { return mask.classify(b); }
  };
  const std::int64_t T = 2048;
  attention_case c = case_of(T, T);
  c.B = 1;
  attention_problem p(c);
  asked = 0;
  call<float>(p, {.pin = pin_of(algorithm::tiled)}, any_mask(counting{{.size = 256, .left = 0}}));
  const std::int64_t pairs = c.H * T * T;
  CHECK(asked < pairs / 8);
  attention_case w = c;
  w.T = w.S = 256;
  w.B = 1;
  // The first chunk is a call of its own.
  attention_problem first(w);
  for (const auto& pair :
       {std::pair{&p.q, &first.q}, std::pair{&p.k, &first.k}, std::pair{&p.v, &first.v}}) {
    pair.second->for_each(
        [&](const tensor<4>::index& i) { pair.second->set(i, (*pair.first)[i]); });
  }
  call<float>(first, {.pin = pin_of(algorithm::tiled)});
  bool same = true;
  first.o.for_each([&](const tensor<4>::index& i) { same &= first.o.bits(i) == p.o.bits(i); });
  CHECK(same);
}

TEST_CASE("what structured masks say of blocks is true of their pairs", "[softmax_attention]") {
  for (const std::int64_t size : {1, 2, 3, 5, 20}) {
    for (const std::int64_t left : {-1, 0, 1}) {
      for (const std::int64_t right : {-1, 0, 1}) {
        if (left >= 0 || right >= 0) {
          CAPTURE(size, left, right);
          check_classification(seqmix::chunk_mask{size, left, right});
        }
      }
    }
    check_classification(seqmix::block_causal_mask(size));
    check_classification(seqmix::prefix_mask{size});
    check_classification(seqmix::both_masks{seqmix::prefix_mask{size}, seqmix::chunk_mask{3, 1}});
  }
  for (const std::int64_t boundary : {0, 1, 5, 20}) {
    for (const bool first : {true, false}) {
      check_classification(seqmix::directional_joint_mask{boundary, first});
      check_classification(seqmix::either_masks{seqmix::directional_joint_mask{boundary, first},
                                                seqmix::chunk_mask{3, 0}});
    }
  }
  check_classification(seqmix::grid_radius_mask{.width = 3, .rows = 4, .radius = 1});
  check_classification(seqmix::grid_radius_mask{.width = 2, .rows = 3, .radius = 0, .begin = 4});
}

TEST_CASE("structured masks, as what they are defined to be", "[softmax_attention]") {
  // Blocks of one token are causal; a prefix of nothing is causal; a chunk of all hides nothing.
  attention_case c = case_of(40, 70);
  attention_problem p(c);
  const auto bits_with = [&](const auto& mask) {
    call<float>(p, {}, any_mask(mask));
    return p.o.values();
  };
  const std::vector<double> single = bits_with(seqmix::block_causal_mask(1));
  const std::vector<double> none = bits_with(seqmix::prefix_mask{0});
  const std::vector<double> everything = bits_with(seqmix::chunk_mask{.size = 1000});
  call<float>(p, {});
  const std::vector<double> plain = p.o.values();
  c.causal = true;
  attention_problem causal(c);
  call<float>(causal, {});
  const tolerance t = tolerance_of(scalar_type::f32);
  CHECK(compare(single, causal.o.values(), t) == "");
  CHECK(compare(none, causal.o.values(), t) == "");
  CHECK(everything == plain);
  check_against_oracle<float>(case_of(70, 200), any_mask(seqmix::prefix_mask{50}));
  check_against_oracle<float>(
      case_of(100, 100),
      any_mask(seqmix::grid_radius_mask{.width = 8, .rows = 10, .radius = 2, .begin = 7}));
  check_against_oracle<float>(case_of(64, 300), any_mask(seqmix::block_causal_mask(17)));
}
