// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <seqmix/ops/elementwise_scan/elementwise_scan.hpp>
#include <string>

#include "support/bench.hpp"
#include "support/data.hpp"

namespace seqmix_bench {

namespace {

using seqmix::scan_monoid;

/// A scan over [B, T, D]; tensors lie so, or as [B, D, T].
struct row {
  const char* name;
  scan_monoid monoid;
  bool logs;  // decays are logarithms
  bool over_time;
  std::int64_t B, T, D;

  bool affine() const {
    return monoid == scan_monoid::affine || monoid == scan_monoid::affine_complex;
  }
  std::int64_t numbers() const {
    return B * T * D * (monoid == scan_monoid::affine_complex ? 2 : 1);
  }
};

/// Decays within the unit circle, as factors or as logarithms: half of what random numbers are.
template <class T>
struct tensors {
  explicit tensors(const row& r)
      : a(r.affine() ? r.numbers() : 0, 1), b(r.numbers(), 2), o(r.numbers(), 3) {
    for (std::int64_t i = 0; i < a.size(); ++i) {
      const float x = seqmix::detail::widen<float>(a.data()[i]) * 0.3f;
      a.data()[i] = seqmix::detail::narrow<T>(r.logs ? (x < 0 ? x : -x) : x);
    }
  }
  random_array<T> a, b, o;
};

template <class T>
auto view_of(const row& r, T* data) {
  return r.over_time ? seqmix::view(data, r.B, r.D, r.T).template permuted<0, 2, 1>()
                     : seqmix::view(data, r.B, r.T, r.D);
}

template <class T, class Operator>
void call(const Operator& scan, const row& r, T* a, T* b, T* o, const seqmix::context& ctx = {}) {
  const seqmix::scan_options options{.monoid = r.monoid};
  if (r.monoid == scan_monoid::affine_complex) {
    scan(seqmix::linear_gate(seqmix::view(a, r.B, r.T, r.D, 2)), seqmix::view(b, r.B, r.T, r.D, 2),
         seqmix::view(o, r.B, r.T, r.D, 2), options, ctx);
  } else if (!r.affine()) {
    scan(view_of(r, b), view_of(r, o), options, ctx);
  } else if (r.logs) {
    scan(view_of(r, a), view_of(r, b), view_of(r, o), options, ctx);
  } else {
    scan(seqmix::linear_gate(view_of(r, a)), view_of(r, b), view_of(r, o), options, ctx);
  }
}

template <class T>
void add(const settings& s, const row& r) {
  const std::string shape = std::string("elementwise_scan/") + r.name +
                            (r.over_time ? "_over_time" : "") + "/auto/B:" + std::to_string(r.B) +
                            "/T:" + std::to_string(r.T) + "/D:" + std::to_string(r.D) + "/" +
                            type_name<T>;
  add_row(s, shape, [=](benchmark::State& state, const std::string& name, int threads) {
    const auto& t = hold<tensors<T>>(shape, [&] { return std::make_shared<tensors<T>>(r); });
    team workers(threads);
    seqmix::context ctx;
    if (threads > 1) {
      ctx.executor = workers;
    }
    const bool right = passes_gate(state, name, [&] {
      t.o.poison();
      call(seqmix::elementwise_scan, r, t.a.data(), t.b.data(), t.o.data(), ctx);
      const random_array<T> expected(t.o.size(), 5);
      call(seqmix::naive_elementwise_scan, r, t.a.data(), t.b.data(), expected.data());
      const std::int64_t n = t.o.size();
      return compare(seqmix::view(t.o.data(), 1, 1, 1, n),
                     seqmix::view(expected.data(), 1, 1, 1, n));
    });
    const work w{.bytes = static_cast<double>(t.a.size() + t.b.size() + t.o.size()) * sizeof(T),
                 .writes_much = true};
    if (right) {
      measure(state, w, ctx.executor, [&](std::int64_t) {
        call(seqmix::elementwise_scan, r, t.a.data(), t.b.data(), t.o.data(), ctx);
      });
    }
  });
}

}  // namespace

void register_rows(const settings& s) {
  const std::int64_t T = s.smoke ? 50 : 8192;
  const row rows[] = {
      {"affine", scan_monoid::affine, false, false, 1, T, 1024},
      {"affine_log", scan_monoid::affine, true, false, 1, T, 1024},
      {"affine_complex", scan_monoid::affine_complex, false, false, 1, T, 512},
      {"log_sum_exp", scan_monoid::log_sum_exp, false, false, 1, T, 1024},
      {"max", scan_monoid::max, false, false, 1, T, 1024},
      {"sum", scan_monoid::sum, false, false, 1, T, 1024},
      {"affine", scan_monoid::affine, false, false, 16, T / 8, 512},
      {"affine", scan_monoid::affine, false, true, 1, T, 1024},
  };
  for (const row& r : rows) {
    add<float>(s, r);
  }
  add<seqmix::bf16>(s, rows[0]);
  if (!s.smoke) {
    add<float>(s, {"affine", scan_monoid::affine, false, false, 1, 64, 1024});  // in the L2
    add<float>(s, {"affine", scan_monoid::affine, false, false, 64, 1, 2560});  // a step
  }
}

}  // namespace seqmix_bench
