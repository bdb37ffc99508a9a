// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <seqmix/ops/softmax_attention/masks.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/functor_checks.hpp"

// Masks by a number for each token, and trees, against what they are defined to be.

using namespace seqmix_test;
using seqmix::block_visibility;
using seqmix::score_context;

namespace {

using rows = std::vector<std::string>;

/// Numbers for the tokens of several sequences: runs of 1 to `longest` tokens, `kinds` of them.
std::vector<std::int32_t> runs_of_ids(std::int64_t n, std::int64_t longest, std::int32_t kinds,
                                      bool rising) {
  std::vector<std::int32_t> ids;
  std::int32_t id = 0;
  while (static_cast<std::int64_t>(ids.size()) < n) {
    const std::uint64_t r = mix(ids.size() + static_cast<std::size_t>(longest));
    const auto run = 1 + static_cast<std::int64_t>(r % static_cast<std::uint64_t>(longest));
    for (std::int64_t i = 0; i < run && static_cast<std::int64_t>(ids.size()) < n; ++i) {
      ids.push_back(id);
    }
    id = rising ? id + 1 : static_cast<std::int32_t>(r >> 20) % kinds - 1;
  }
  return ids;
}

constexpr std::int32_t frames[] = {0, 0, 1, 2, 2, 2, 3, 3, 3, 3, 3, 5, 5, 6};
constexpr std::int32_t mixed[] = {-1, 0, 0, -1, -1, 1, 1, 1, -1, 0, -1, 2, 2, 2};
constexpr std::int32_t equal_ids[14] = {};

}  // namespace

TEST_CASE("frame_causal_mask sees frames up to its own", "[softmax_attention]") {
  const seqmix::frame_causal_mask mask{{frames}};
  CHECK(picture(mask, 6, 6) == rows{"xx....", "xx....", "xxx...", "xxxxxx", "xxxxxx", "xxxxxx"});
  CHECK(picture(mask, 2, 6) == rows{"xxxxxx", "xxxxxx"});
  CHECK(picture(mask, 4, 2) == rows{"..", "..", "xx", "xx"});
  check_classification(mask);
  check_classification(seqmix::frame_causal_mask{{mixed}});  // in any order
  check_classification(seqmix::frame_causal_mask{{equal_ids}});
}

TEST_CASE("segment_mask sees its own segment", "[softmax_attention]") {
  CHECK(picture(seqmix::segment_mask{{frames}}, 5, 5) ==
        rows{"xx...", "xx...", "..x..", "...xx", "...xx"});
  CHECK(picture(seqmix::segment_mask{{mixed}}, 4, 4) == rows{"x..x", ".xx.", ".xx.", "x..x"});
  check_classification(seqmix::segment_mask{{frames}});
  check_classification(seqmix::segment_mask{{mixed}});
  check_classification(seqmix::segment_mask{{equal_ids}});
}

TEST_CASE("span_causal_mask is causal text with spans that see all of themselves",
          "[softmax_attention]") {
  CHECK(picture(seqmix::span_causal_mask{{mixed}}, 8, 8) == rows{"x.......", "xxx.....", "xxx.....",
                                                                 "xxxx....", "xxxxx...", "xxxxxxxx",
                                                                 "xxxxxxxx", "xxxxxxxx"});
  // A span in two parts: number 0 comes back at place 9.
  CHECK(picture(seqmix::span_causal_mask{{mixed}}, 10, 10)[1] == "xxx......x");
  check_classification(seqmix::span_causal_mask{{mixed}});
  check_classification(seqmix::span_causal_mask{{frames}});
  check_classification(seqmix::span_causal_mask{{equal_ids}});
}

TEST_CASE("text_queries_mask leaves visual tokens to themselves", "[softmax_attention]") {
  CHECK(picture(seqmix::text_queries_mask{{mixed}}, 5, 5) ==
        rows{"xxxxx", ".x...", "..x..", "xxxxx", "xxxxx"});
  CHECK(picture(seqmix::text_queries_mask{{mixed}}, 3, 2) == rows{"..", "xx", ".x"});
  check_classification(seqmix::text_queries_mask{{mixed}});
  check_classification(seqmix::text_queries_mask{{equal_ids}});

  // A visual token's result is its own value.
  attention_case c = case_of(14, 14);
  c.causal = true;
  attention_problem p(c);
  call<float>(p, {}, any_mask(seqmix::text_queries_mask{{mixed}}));
  bool own = true;
  p.o.for_each([&](const tensor<4>::index& i) {
    own &= mixed[i[1]] < 0 || p.o[i] == p.v[{i[0], i[1], i[2] / 2, i[3]}];
  });
  CHECK(own);
}

TEST_CASE("directional_joint_mask lets one stream see the other", "[softmax_attention]") {
  CHECK(picture(seqmix::directional_joint_mask{2}, 4, 4) == rows{"xxxx", "xxxx", "..xx", "..xx"});
  CHECK(picture(seqmix::directional_joint_mask{2, false}, 4, 4) ==
        rows{"xx..", "xx..", "xxxx", "xxxx"});
  CHECK(picture(seqmix::directional_joint_mask{2, false}, 1, 4) == rows{"xxxx"});
  check_against_oracle<float>(case_of(70, 300), any_mask(seqmix::directional_joint_mask{260}));
  check_against_oracle<float>(case_of(300, 300),
                              any_mask(seqmix::directional_joint_mask{130, false}));

  // The stream that sees itself alone has the bits of a call without the other.
  attention_case c = case_of(300, 300);
  attention_problem joint(c);
  call<float>(joint, {}, any_mask(seqmix::directional_joint_mask{130, false}));
  c.T = c.S = 130;
  attention_problem alone(c);
  for (const auto& pair : {std::pair{&joint.q, &alone.q}, std::pair{&joint.k, &alone.k},
                           std::pair{&joint.v, &alone.v}}) {
    pair.second->for_each(
        [&](const tensor<4>::index& i) { pair.second->set(i, (*pair.first)[i]); });
  }
  call<float>(alone, {});
  bool same = true;
  alone.o.for_each([&](const tensor<4>::index& i) { same &= alone.o.bits(i) == joint.o.bits(i); });
  CHECK(same);
}

TEST_CASE("either of two masks", "[softmax_attention]") {
  const seqmix::either_masks mask{seqmix::segment_mask{{frames}}, seqmix::prefix_mask{0}};
  CHECK(picture(mask, 5, 5) == rows{"xx...", "xx...", "xxx..", "xxxxx", "xxxxx"});
  check_classification(mask);
  check_classification(
      seqmix::either_masks{seqmix::frame_causal_mask{{mixed}}, seqmix::segment_mask{{frames}}});
  check_classification(
      seqmix::both_masks{seqmix::frame_causal_mask{{frames}}, seqmix::span_causal_mask{{mixed}}});
}

TEST_CASE("masks by numbers in calls of every form", "[softmax_attention]") {
  const std::int64_t longest = 400;
  const std::vector<std::int32_t> rising = runs_of_ids(2 * longest, 70, 0, true);
  const std::vector<std::int32_t> any = runs_of_ids(2 * longest, 40, 4, false);
  const auto ids = [&](const std::vector<std::int32_t>& x) {
    return seqmix::token_ids{x.data(), longest};
  };
  check_in_calls(seqmix::frame_causal_mask{ids(rising)});
  check_in_calls(seqmix::segment_mask{ids(rising)});
  check_in_calls(seqmix::segment_mask{ids(any)});
  check_in_calls(seqmix::span_causal_mask{ids(any)});
  check_in_calls(seqmix::text_queries_mask{ids(any)});
}

TEST_CASE("segments have the bits of packed sequences of their own", "[softmax_attention]") {
  // Segments that begin at blocks' borders: the same blocks, the same chains.
  std::vector<std::int32_t> ids(600);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids[i] = i < 256 ? 7 : 3;
  }
  attention_case c{.T = 600, .S = 600, .H = 2, .HK = 1, .D = 24, .V = 24};
  attention_problem p(c);
  call<float>(p, {}, any_mask(seqmix::segment_mask{{ids.data()}}));
  c.T = c.S = 256;
  attention_problem first(c);
  for (const auto& pair :
       {std::pair{&p.q, &first.q}, std::pair{&p.k, &first.k}, std::pair{&p.v, &first.v}}) {
    pair.second->for_each(
        [&](const tensor<4>::index& i) { pair.second->set(i, (*pair.first)[i]); });
  }
  call<float>(first, {});
  bool same = true;
  first.o.for_each([&](const tensor<4>::index& i) { same &= first.o.bits(i) == p.o.bits(i); });
  CHECK(same);
}

// ---- trees ----

namespace {

constexpr std::int32_t branching[] = {-1, 0, 0, 1, 2, -1, 5};

std::vector<std::uint8_t> bytes_of(std::span<const std::int32_t> parents, std::int64_t row_step) {
  std::vector<std::uint8_t> sees(static_cast<std::size_t>(row_step) * parents.size(), 0xff);
  seqmix::fill_tree(parents, sees, row_step);
  return sees;
}

/// Whether node c is node r or one of its ancestors, from the parents.
bool above(std::span<const std::int32_t> parents, std::int64_t c, std::int64_t r) {
  while (r > c) {
    r = parents[static_cast<std::size_t>(r)];
  }
  return r == c;
}

}  // namespace

TEST_CASE("tree_mask sees what lies before the tail, ancestors and itself", "[softmax_attention]") {
  const std::vector<std::uint8_t> sees = bytes_of(branching, 9);
  const seqmix::tree_mask mask{.sees = sees.data(), .row_step = 9};
  CHECK(picture(mask, 7, 9) == rows{"xxx......", "xxxx.....", "xxx.x....", "xxxx.x...", "xxx.x.x..",
                                    "xx.....x.", "xx.....xx"});
  // Some of the nodes as queries; and rows of text before the tail.
  const seqmix::tree_mask some{.sees = sees.data(), .row_step = 9, .nodes = 7};
  CHECK(picture(some, 2, 9) == rows{"xx.....x.", "xx.....xx"});
  CHECK(picture(some, 9, 9)[0] == "x........");
  CHECK(picture(some, 9, 9)[1] == "xx.......");
  CHECK(picture(some, 9, 9)[4] == "xxx.x....");
  constexpr std::int32_t fourteen[] = {-1, 0, 1, 1, 0, 4, 4, -1, 7, 7, 3, 10, 11, 12};
  const std::vector<std::uint8_t> wide = bytes_of(fourteen, 14);
  check_classification(seqmix::tree_mask{.sees = wide.data(), .row_step = 14});
  check_classification(seqmix::tree_mask{.sees = sees.data(), .row_step = 9, .nodes = 3});
  check_classification(seqmix::tree_mask{.sees = sees.data(), .row_step = 9, .nodes = 5});
}

TEST_CASE("a chain is causal", "[softmax_attention]") {
  std::vector<std::int32_t> parents(40);
  for (std::size_t i = 0; i < parents.size(); ++i) {
    parents[i] = static_cast<std::int32_t>(i) - 1;
  }
  const std::vector<std::uint8_t> sees = bytes_of(parents, 40);
  for (const call_form form : {call_form::batched, call_form::cached, call_form::paged}) {
    for (const std::int64_t T : {1, 7, 40}) {
      attention_case c = case_of(T, 500, form);
      attention_problem tree(c);
      call<float>(tree, {}, any_mask(seqmix::tree_mask{.sees = sees.data(), .row_step = 40}));
      c.causal = true;
      attention_problem causal(c);
      call<float>(causal, {});
      CAPTURE(name(form), T);
      CHECK(compare(tree.o.values(), causal.o.values(), tolerance_of(scalar_type::f32)) == "");
    }
  }
}

TEST_CASE("a node has the result of its own path", "[softmax_attention]") {
  // Verification at once: node r of the tree against one query behind the keys of its path.
  const std::int64_t n = std::size(branching);
  const std::int64_t before = 300;
  const std::vector<std::uint8_t> sees = bytes_of(branching, n);
  for (const algorithm how : {algorithm::tiled, algorithm::split_kv, algorithm::naive}) {
    attention_problem p(case_of(n, before + n));
    call<float>(p, {.pin = pin_of(how)},
                any_mask(seqmix::tree_mask{.sees = sees.data(), .row_step = n}));
    for (std::int64_t r = 0; r < n; ++r) {
      std::vector<std::int64_t> path;
      for (std::int64_t j = 0; j < before + n; ++j) {
        if (j < before || above(branching, j - before, r)) {
          path.push_back(j);
        }
      }
      attention_problem one(case_of(1, static_cast<std::int64_t>(path.size())));
      one.q.for_each([&](const tensor<4>::index& i) { one.q.set(i, p.q[{i[0], r, i[2], i[3]}]); });
      for (const auto& pair : {std::pair{&p.k, &one.k}, std::pair{&p.v, &one.v}}) {
        pair.second->for_each([&](const tensor<4>::index& i) {
          pair.second->set(i,
                           (*pair.first)[{i[0], path[static_cast<std::size_t>(i[1])], i[2], i[3]}]);
        });
      }
      call<float>(one, {.pin = pin_of(algorithm::naive)});
      std::vector<double> actual;
      one.o.for_each(
          [&](const tensor<4>::index& i) { actual.push_back(p.o[{i[0], r, i[2], i[3]}]); });
      CAPTURE(name(how), r);
      CHECK(compare(actual, one.o.values(), tolerance_of(scalar_type::f32)) == "");
    }
  }
}

TEST_CASE("trees in calls of every form, one for each sequence", "[softmax_attention]") {
  // Ragged in the packed form: every query of a sequence is a node.
  const std::int64_t most = 90;
  std::vector<std::uint8_t> sees(static_cast<std::size_t>(2 * most * most));
  for (std::size_t s = 0; s < 2; ++s) {
    std::vector<std::int32_t> parents{-1};
    for (std::uint64_t r = 1; r < 90; ++r) {
      const std::uint64_t back = 1 + mix(r * 2 + s) % 4;
      parents.push_back(back > r ? -1 : static_cast<std::int32_t>(r - back));
    }
    seqmix::fill_tree(parents, std::span(sees).subspan(s * 8100, 8100), most);
  }
  check_in_calls(
      seqmix::tree_mask{.sees = sees.data(), .row_step = most, .sequence_step = most * most});
  check_in_calls(seqmix::tree_mask{
      .sees = sees.data(), .row_step = most, .sequence_step = most * most, .nodes = 12});
}

TEST_CASE("nodes of other branches have no influence, whatever they hold", "[softmax_attention]") {
  const std::int64_t n = std::size(branching);
  const std::vector<std::uint8_t> sees = bytes_of(branching, n);
  const seqmix::tree_mask mask{.sees = sees.data(), .row_step = n};
  for (const algorithm how : {algorithm::tiled, algorithm::split_kv, algorithm::naive}) {
    attention_problem p(case_of(n, 80 + n));
    call<float>(p, {.pin = pin_of(how)}, any_mask(mask));
    const attention_problem clean = p;
    p.k.set({0, 80 + 2, 1, 3}, std::numeric_limits<double>::quiet_NaN());
    p.v.set({1, 80 + 5, 0, 5}, infinity);
    call<float>(p, {.pin = pin_of(how)}, any_mask(mask));
    bool right = true;
    p.o.for_each([&](const tensor<4>::index& i) {
      const bool key = i[0] == 0 && i[2] / 2 == 1 && above(branching, 2, i[1]);
      const bool value = i[0] == 1 && i[2] / 2 == 0 && i[3] == 5 && above(branching, 5, i[1]);
      right &= key     ? std::isnan(p.o[i])
               : value ? !std::isfinite(p.o[i])
                       : p.o.bits(i) == clean.o.bits(i);
    });
    CAPTURE(name(how));
    CHECK(right);
  }
}

TEST_CASE("trees that are none are refused", "[softmax_attention][errors]") {
  std::vector<std::uint8_t> sees(12, 9);
  const auto refusal = [&](std::vector<std::int32_t> parents, std::size_t bytes,
                           std::int64_t step) {
    const seqmix::error e =
        error_of([&] { seqmix::fill_tree(parents, std::span(sees).first(bytes), step); });
    CHECK(e.operator_name() == "fill_tree");
    CHECK(sees == std::vector<std::uint8_t>(12, 9));
    return e.argument() + ": " + e.expected() + ", " + e.actual();
  };
  CHECK(refusal({-1, 0, 2}, 12, 4) == "parents: earlier nodes, or -1, entry 2 = 2");
  CHECK(refusal({-1, -2, 0}, 12, 4) == "parents: earlier nodes, or -1, entry 1 = -2");
  CHECK(refusal({-1, 0, 1}, 12, 2) == "row_step: at least the 3 nodes, 2");
  CHECK(refusal({-1, 0, 1}, 10, 4) == "sees: at least 11 bytes, 10");
  const std::vector<std::int32_t> chain{-1, 0, 1};
  seqmix::fill_tree(chain, std::span(sees).first(11), 4);
  CHECK(sees == std::vector<std::uint8_t>{1, 0, 0, 9, 1, 1, 0, 9, 1, 1, 1, 9});
  seqmix::fill_tree({}, {}, 0);
}
