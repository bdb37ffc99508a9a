// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <seqmix/ops/softmax_attention/masks.hpp>
#include <span>
#include <string>
#include <vector>

#include "support/attention_calls.hpp"

// libFuzzer: bytes become a call (shapes, strides, offsets, lengths, options, algorithm, executor),
// whose result has to equal the definition, or which has to be refused by name. The tensors have
// guards, and the sanitizers watch.

using namespace seqmix_test;

namespace {

/// Choices from bytes; zeros when they run out.
class choices {
 public:
  explicit choices(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  std::uint64_t below(std::uint64_t n) {
    const std::uint64_t high = next();
    return (high << 8 | next()) % n;
  }
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(high - low + 1)));
  }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  template <class T, std::size_t N>
  T of(const T (&values)[N]) {
    return values[below(N)];
  }

 private:
  std::uint8_t next() { return at_ < bytes_.size() ? bytes_[at_++] : std::uint8_t{0}; }
  std::span<const std::uint8_t> bytes_;
  std::size_t at_ = 0;
};

std::int64_t length(choices& c) {
  return c.one_in(8) ? c.of({0, 1, 5, 6, 7, 15, 16, 17, 40, 41, 63, 64, 65}) : c.between(0, 20);
}

attention_case case_from(choices& c) {
  static constexpr layout inputs[] = {layout::dense,      layout::padded,        layout::strided,
                                      layout::head_first, layout::reversed,      layout::misaligned,
                                      layout::broadcast,  layout::broadcast_time};
  static constexpr layout outputs[] = {layout::dense,      layout::padded,   layout::strided,
                                       layout::head_first, layout::reversed, layout::misaligned};
  attention_case x;
  x.form = c.of({call_form::batched, call_form::packed, call_form::cached, call_form::paged});
  x.page = c.between(1, 20);
  x.B = c.one_in(4) ? c.between(0, 3) : 1;
  x.T = length(c);
  x.S = c.one_in(16) ? c.between(200, 700) : length(c);
  x.T = x.S > 100 ? x.T % 4 : x.T;
  x.HK = c.between(1, 2);
  x.H = x.HK * c.between(1, 3);
  x.D = c.between(1, 20);
  x.V = c.between(1, 20);
  x.causal = c.one_in(2);
  x.window = {.left = c.one_in(2) ? seqmix::unbounded : c.between(0, 100),
              .right = c.one_in(2) ? seqmix::unbounded : c.between(0, 100)};
  x.sinks = c.one_in(2) ? 0 : c.between(0, 30);
  x.softcap = c.one_in(2) ? 0 : static_cast<double>(c.between(1, 400)) / 8;
  x.sink_logits = c.one_in(2);
  static constexpr bias_shape biases[] = {bias_shape::none, bias_shape::full,
                                          bias_shape::heads_and_keys, bias_shape::queries,
                                          bias_shape::scalar};
  x.alibi = c.one_in(2);
  if (x.alibi) {
    x.between = c.of({alibi_between::rows, alibi_between::integers, alibi_between::reals,
                      alibi_between::repeated});
  }
  x.bias = c.of(biases);
  x.relative = c.of(biases);
  if (c.one_in(3)) {
    x.scale = static_cast<double>(c.between(-40, 40)) / 16 / std::sqrt(static_cast<double>(x.D));
  }
  x.lse = c.of({scalar_type::none, scalar_type::f32, scalar_type::f64});
  x.log_length = c.one_in(4);
  if (c.one_in(3)) {
    using rule = seqmix::attention_weights;
    x.normaliser.weights = c.of({rule::sigmoid, rule::softplus, rule::relu, rule::none});
    if (x.normaliser.weights == rule::sigmoid) {
      x.normaliser.shift = static_cast<double>(c.between(-80, 80)) / 16;
    } else if (x.normaliser.weights == rule::softplus) {
      x.normaliser.sharpen = static_cast<int>(c.of({0, 0, 1, 2, 3, 7, 15}));
    } else {
      x.normaliser.mean = c.one_in(2);
    }
    x.sink_logits = false;
    x.lse = x.normaliser.weights == rule::softplus && x.normaliser.sharpen == 0 ? x.lse
                                                                                : scalar_type::none;
  }
  x.q = c.of(inputs);
  x.k = c.of(inputs);
  x.v = c.of(inputs);
  x.o = c.of(outputs);
  x.seed = c.below(1000);
  return x;
}

execution execution_from(choices& c) {
  execution e;
  e.how = c.of({algorithm::automatic, algorithm::tiled, algorithm::split_kv, algorithm::two_pass,
                algorithm::three_pass});
  e.threads = static_cast<int>(c.between(1, 3));
  e.shuffle = c.below(3);
  e.user_workspace = c.one_in(2);
  e.workspace_shift = c.one_in(2) ? 4 : 0;
  return e;
}

double root_mean_square(const std::vector<double>& x) {
  double squares = 0;
  for (const double e : x) {
    squares += e * e;
  }
  return x.empty() ? 0 : std::sqrt(squares / static_cast<double>(x.size()));
}

/// How large the sums inside scores are: what their rounding is relative to.
double score_size(const attention_problem& p) {
  const auto D = static_cast<double>(p.c.D);
  const double length = p.c.log_length ? std::log(2.0 + static_cast<double>(p.c.S)) : 1;
  return std::fabs(p.c.scale.value_or(1 / std::sqrt(D))) * length * D *
         root_mean_square(p.q.values()) * root_mean_square(p.k.values());
}

/// The scale of an output's summands, which a small output is small against: an error of a score
/// is a relative one of its weight.
double output_size(const attention_problem& p) {
  const bool summed = p.c.normaliser.weights == seqmix::attention_weights::softmax ||
                      p.c.normaliser.weights == seqmix::attention_weights::softplus ||
                      p.c.normaliser.mean;
  return (1 + score_size(p)) * root_mean_square(p.v.values()) *
         (summed ? 1 : std::sqrt(1.0 + static_cast<double>(p.c.S)));
}

[[noreturn]] void fail(const attention_case& c, const execution& e, const std::string& what) {
  std::cerr << what << "\n  case " << c << "\n  " << e << std::endl;
  std::abort();
}

/// A call that is wrong in one place must be refused, with nothing written.
void check_refusal(choices& c, attention_problem& p) {
  seqmix::softmax_attention_options options = p.options();
  auto q = p.q.view<float>();
  auto k = p.k.view<float>();
  const auto shifted = [&](const seqmix::tensor_view<float, 4>& x, int axis, std::int64_t by) {
    std::array<std::int64_t, 4> extents = x.extents().values;
    extents[static_cast<std::size_t>(axis)] += by;
    return seqmix::tensor_view<float, 4>(x.data_handle(), seqmix::index_list<4>(extents),
                                         seqmix::index_list<4>(x.strides().values));
  };
  switch (c.below(9)) {
    case 0:
      options.window.left = -2 - c.between(0, 1 << 14);
      break;
    case 1:
      options.sink_tokens = -1 - c.between(0, 1 << 14);
      break;
    case 2:
      options.softcap = -1;
      break;
    case 3:
      options.alibi = {.query = seqmix::view(q.data_handle(), 1, c.between(1, 3))};
      break;
    case 4:
      options.relative_bias = {.values = seqmix::view(q.data_handle(), 1, 1, 1, 1),
                               .origin = c.one_in(2) ? -1 : c.between(1, 1 << 14)};
      break;
    case 5:
      q = shifted(q, 3, 1);
      break;
    case 6:
      k = shifted(k, static_cast<int>(c.of({0, 1, 3})), c.one_in(2) ? 1 : -10000);
      break;
    case 7:
      options.normaliser.sharpen = -1 - static_cast<int>(c.between(0, 1 << 14));
      break;
    default:
      options.scale = infinity;
      break;
  }
  p.clear_outputs();
  try {
    seqmix::softmax_attention(q, k, p.v.view<float>(), p.o.view<float>(), options);
  } catch (const seqmix::error&) {
    if (!p.o.untouched()) {
      fail(p.c, {}, "a refused call wrote");
    }
    return;
  }
  fail(p.c, {}, "a wrong call was not refused");
}

/// A mask functor with answers for blocks, against the oracle with the same functor.
template <class Mask>
void check_mask(attention_problem& p, const Mask& mask) {
  const seqmix::softmax_attention_options options = p.options();
  const auto with_pin = [&](const seqmix::pin_options& pin) {
    p.clear_outputs();
    seqmix::softmax_attention(p.q.view<float>(), p.k.view<float>(), p.v.view<float>(),
                              p.o.view<float>(), mask, options, seqmix::context{.pin = pin});
    return p.o.values();
  };
  const std::vector<double> expected = with_pin(pin_of(algorithm::naive));
  const std::string problem = compare(with_pin({}), expected, tolerance_of(scalar_type::f32),
                                      bound::ceiling, output_size(p));
  if (!problem.empty()) {
    fail(p.c, {}, "mask functor: " + problem);
  }
}

/// Numbers of tokens for every sequence, in runs.
std::vector<std::int32_t> ids_from(choices& c, std::int64_t n) {
  std::vector<std::int32_t> ids;
  while (static_cast<std::int64_t>(ids.size()) < n) {
    ids.insert(ids.end(), static_cast<std::size_t>(c.between(1, 60)),
               static_cast<std::int32_t>(c.between(-1, 3)));
  }
  return ids;
}

std::vector<std::uint8_t> tree_from(choices& c, std::int64_t n) {
  std::vector<std::int32_t> parents;
  for (std::int64_t r = 0; r < n; ++r) {
    parents.push_back(static_cast<std::int32_t>(c.between(-1, r - 1)));
  }
  std::vector<std::uint8_t> sees(static_cast<std::size_t>(n * n));
  seqmix::fill_tree(parents, sees, n);
  return sees;
}

void check_masks(choices& c, attention_problem& p) {
  if (p.c.normaliser.sharpen > 0) {
    return;
  }
  const std::vector<std::int32_t> ids = ids_from(c, p.c.S);
  const seqmix::token_ids of_tokens{ids.data()};
  switch (c.below(7)) {
    case 0:
      return check_mask(p, seqmix::frame_causal_mask{of_tokens});
    case 1:
      return check_mask(p, seqmix::segment_mask{of_tokens});
    case 2:
      return check_mask(p, seqmix::span_causal_mask{of_tokens});
    case 3:
      return check_mask(p, seqmix::text_queries_mask{of_tokens});
    case 4:
      return check_mask(p, seqmix::directional_joint_mask{c.between(0, 60), c.one_in(2)});
    case 5: {
      const std::int64_t nodes = c.one_in(2) ? p.c.T : c.between(0, 20);
      const std::vector<std::uint8_t> sees = tree_from(c, nodes);
      return check_mask(p,
                        seqmix::tree_mask{.sees = sees.data(), .row_step = nodes, .nodes = nodes});
    }
    default:
      return check_mask(
          p, seqmix::chunk_mask{
                 .size = c.between(1, 40), .left = c.between(-1, 2), .right = c.between(-1, 2)});
  }
}

/// Side outputs about the keys, against the oracle's. The tensors are exact in size, so that the
/// sanitizers see what is written beside them.
void check_key_outputs(choices& c, attention_problem& p) {
  const bool of_query_heads = c.one_in(2);
  const std::int64_t heads = of_query_heads ? p.c.H : p.c.HK;
  const std::int64_t most = c.between(1, 9);
  seqmix::softmax_attention_options options = p.options();
  options.key_outputs.across_group =
      c.one_in(2) ? seqmix::group_reduction::mean : seqmix::group_reduction::max;
  const auto with_pin = [&](const seqmix::pin_options& pin, std::vector<std::int32_t>& top) {
    std::vector<double> scores(static_cast<std::size_t>(p.c.B * heads * p.c.S), -1);
    top.assign(static_cast<std::size_t>(p.c.B * heads * most), -9);
    options.key_outputs.scores = seqmix::view(scores.data(), p.c.B, heads, p.c.S);
    options.key_outputs.top = seqmix::view(top.data(), p.c.B, heads, most);
    p.clear_outputs();
    seqmix::softmax_attention(p.q.view<float>(), p.k.view<float>(), p.v.view<float>(),
                              p.o.view<float>(), options, seqmix::context{.pin = pin});
    return scores;
  };
  std::vector<std::int32_t> top, expected_top;
  const std::vector<double> expected = with_pin(pin_of(algorithm::naive), expected_top);
  const std::vector<double> actual = with_pin({}, top);
  const std::string problem = compare(
      actual, expected, tolerance_of(scalar_type::f32), bound::ceiling,
      (1 + score_size(p)) * std::max(1.0, static_cast<double>(p.c.T) / static_cast<double>(p.c.S)));
  if (!problem.empty()) {
    fail(p.c, {}, "key scores: " + problem);
  }
  for (std::size_t row = 0; row < top.size() / static_cast<std::size_t>(most); ++row) {
    const double* scores = actual.data() + row * static_cast<std::size_t>(p.c.S);
    double last = infinity;
    for (std::int64_t n = 0; n < most; ++n) {
      const std::int32_t key =
          top[row * static_cast<std::size_t>(most) + static_cast<std::size_t>(n)];
      const double score = key < 0 ? 0 : scores[key];
      if (key < -1 || key >= p.c.S || score > last || (key >= 0 && score <= 0)) {
        fail(p.c, {}, "top keys out of order");
      }
      last = score;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  choices c(std::span(data, size));
  const std::uint64_t kind = c.below(8);
  attention_case which = case_from(c);
  const execution e = execution_from(c);
  if (kind <= 2) {
    which.form = call_form::batched;
    which.B = std::max<std::int64_t>(which.B, 1);
    which.T = std::max<std::int64_t>(which.T, 1);
    which.S = std::max<std::int64_t>(which.S, 1);
    if (kind != 1) {
      which.normaliser = {};
    }
    attention_problem p(which);
    kind == 0 ? check_refusal(c, p) : kind == 1 ? check_masks(c, p) : check_key_outputs(c, p);
    return 0;
  }
  static const attention_calls types[] = {calls_for<float>(), calls_for<seqmix::bf16>(),
                                          calls_for<double>()};
  // Rounding decides whether a row is re-weighted at all: in double it does so too seldom to see.
  const attention_calls& calls = types[which.normaliser.sharpen > 0 ? 2 : kind == 3 ? 1 : 0];
  which.types = calls.types;
  attention_problem p(which);
  if (!can_run(p, e.how)) {
    return 0;
  }
  const std::string scratch = run(calls, p, e);
  attention_reference expected(p);
  expected.o_floor = std::max(expected.o_floor, output_size(p));
  const std::string problem = scratch + verify(p, expected, bound::ceiling);
  if (!problem.empty()) {
    fail(which, e, problem);
  }
  return 0;
}
