// SPDX-License-Identifier: Apache-2.0
// Compiled with -fno-exceptions -fno-rtti: a violated contract calls the handler, and the operator
// returns with nothing written.
#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <iterator>
#include <seqmix/interop/dlpack.hpp>
#include <seqmix/seqmix.hpp>
#include <string>
#if __has_include(<Eigen/Core>)
#include <seqmix/interop/eigen.hpp>
#endif

#if SEQMIX_HAS_EXCEPTIONS
#error "this test is for builds without exceptions"
#endif

namespace {

int failures = 0;

void check(bool ok, const char* what) {
  if (!ok) {
    std::printf("FAILED: %s\n", what);
    ++failures;
  }
}

int calls = 0;
std::string text;

void record(const seqmix::error& e) {
  ++calls;
  text = e.what();
}

/// Runs `f`; the handler must be called once, with that text.
template <class F>
void expect_error(const char* want, F&& f) {
  calls = 0;
  text.clear();
  f();
  check(calls == 1, want);
  if (text != want) {
    std::printf("FAILED: handler got  %s\n            expected %s\n", text.c_str(), want);
    ++failures;
  }
}

constexpr float untouched = -7.0f;
float q[2 * 3 * 4], k[5 * 3 * 4], o[2 * 3 * 4];

bool wrote_nothing() {
  return std::all_of(std::begin(o), std::end(o), [](float x) { return x == untouched; });
}

}  // namespace

int main() {
  const seqmix::error_handler before = seqmix::set_error_handler(record);
  check(before != nullptr, "there is a default handler");
  check(seqmix::set_error_handler(record) == record, "set_error_handler returns the one before");

  std::fill(std::begin(q), std::end(q), 0.5f);
  std::fill(std::begin(k), std::end(k), 0.25f);
  std::fill(std::begin(o), std::end(o), untouched);
  const auto q4 = seqmix::view(q, 1, 2, 3, 4);
  const auto k4 = seqmix::view(k, 1, 5, 3, 4);
  const auto o4 = seqmix::view(o, 1, 2, 3, 4);

  // A violated contract, a pin that nothing honours, a workspace that is too small.
  expect_error("seqmix::softmax_attention: options.sink_tokens: expected at least 0, got -1",
               [&] { seqmix::softmax_attention(q4, k4, k4, o4, {.sink_tokens = -1}); });
  check(wrote_nothing(), "a violated contract writes nothing");
  expect_error(
      "seqmix::softmax_attention: context.pin.implementation: expected one of flash, naive, "
      "got flesh",
      [&] { seqmix::softmax_attention(q4, k4, k4, o4, {}, {.pin = {.implementation = "flesh"}}); });
  check(wrote_nothing(), "a wrong pin writes nothing");
  const std::size_t bytes = seqmix::softmax_attention.workspace_bytes(q4, k4, k4, o4);
  std::byte one{};
  const std::string too_small = "seqmix::softmax_attention: context.workspace: expected at least " +
                                std::to_string(bytes) + " bytes, got 1 bytes";
  expect_error(too_small.c_str(),
               [&] { seqmix::softmax_attention(q4, k4, k4, o4, {}, {.workspace = {&one, 1}}); });
  check(wrote_nothing() && one == std::byte{}, "a small workspace writes nothing");

  expect_error("seqmix::softmax_attention: options.sink_tokens: expected at least 0, got -1", [&] {
    const auto r = seqmix::softmax_attention.explain(q4, k4, k4, o4, {.sink_tokens = -1});
    check(r.implementation.empty() && r.candidates.empty(), "explain returns an empty report");
  });
  expect_error("seqmix::softmax_attention: options.sink_tokens: expected at least 0, got -1", [&] {
    check(seqmix::softmax_attention.workspace_bytes(q4, k4, k4, o4, {.sink_tokens = -1}) == 0,
          "workspace_bytes returns 0");
  });
  expect_error("seqmix::softmax_attention: options.sink_tokens: expected at least 0, got -1",
               [&] { seqmix::naive_softmax_attention(q4, k4, k4, o4, {.sink_tokens = -1}); });
  check(wrote_nothing(), "the oracle writes nothing either");

  // Caches change nothing.
  seqmix::kv_cache<float> cache(1, 4, 3, 4, 4);
  expect_error("seqmix::kv_cache: k: expected at most 4 rows, what sequence 0 has room for, got 5",
               [&] { cache.append(k4, k4); });
  check(cache.length(0) == 0, "a full cache appends nothing");
  seqmix::paged_kv_cache<float> paged(1, 2, 2, 3, 4, 4);
  expect_error(
      "seqmix::paged_kv_cache: k: expected rows for at most 2 pages, what the pool has free, got "
      "rows for 3",
      [&] { paged.append(k4, k4); });
  check(paged.length(0) == 0 && paged.free_pages() == 2, "an exhausted pool appends nothing");
  expect_error("seqmix::paged_kv_cache: sequence: expected 0 to 0, got 1",
               [&] { paged.append(1, k4, k4); });
  seqmix::sink_window_cache<float> stream(
      1, 3, 4, 4, {.window = 2, .rope = {.layout = seqmix::rope_layout::half_split}});
  expect_error("seqmix::sink_window_cache: q: expected 5 tokens, as k has, got 2",
               [&] { stream.attend(q4, k4, k4, o4); });
  check(stream.length() == 0 && wrote_nothing(), "a refused attend adds and writes nothing");
  expect_error("seqmix::sink_window_cache: options.window: expected at least 1, got 0", [&] {
    const seqmix::sink_window_cache<float> none(1, 3, 4, 4, {});
    check(none.batch() == 0 && none.bytes() == 0, "a refused cache is empty");
  });

  // The interop headers return empty views.
  DLTensor wrong{};
  expect_error("seqmix::from_dlpack: ndim: expected 2, got 0", [&] {
    const auto v = seqmix::from_dlpack<float, 2>(wrong);
    check(v.empty() && v.data_handle() == nullptr, "from_dlpack returns an empty view");
  });
#if __has_include(<Eigen/Core>)
  Eigen::MatrixXf m(2, 3);
  expect_error("seqmix::as_heads: heads: expected a divisor of 3 columns, got 2",
               [&] { check(seqmix::as_heads(m, 2).empty(), "as_heads returns an empty view"); });
  float x = 0;
  const seqmix::tensor_view<float, 2> far{&x, {1, 1}, seqmix::device{seqmix::device_kind::cuda, 0}};
  expect_error("seqmix::as_matrix: view: expected host memory, got memory of cuda:0",
               [&] { check(seqmix::as_matrix(far).size() == 0, "as_matrix returns nothing"); });
#endif

  // Without an error the handler is not called, and the result is there.
  calls = 0;
  seqmix::softmax_attention(q4, k4, k4, o4);
  check(calls == 0, "a call that holds its contract");
  check(std::all_of(std::begin(o), std::end(o), [](float y) { return y > 0.2499f && y < 0.2501f; }),
        "the mean of equal values");
  check(seqmix::set_error_handler(before) == record, "the handler is put back");

  std::printf(failures == 0 ? "all checks hold\n" : "%d checks failed\n", failures);
  return failures == 0 ? 0 : 1;
}
