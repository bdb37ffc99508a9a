// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <seqmix/core/scalar.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace seqmix_test {

/// How far results may lie from the double-precision reference, by the type they are stored in.
struct tolerance {
  double ceiling;  ///< RMS(err) / RMS(ref) that no result may pass
  double target;   ///< the same for ordinary inputs
  double typical;  ///< the same on average over a sweep: what seqmix holds itself to
  double element;  ///< |err| / (|ref| + RMS(ref)) that no element may pass
};

/// The one table of tolerances.
constexpr tolerance tolerance_of(seqmix::scalar_type type) noexcept {
  switch (type) {
    case seqmix::scalar_type::f64:
      return {1e-13, 1e-14, 2e-15, 1e-12};
    case seqmix::scalar_type::f16:
      return {0.005, 4e-4, 3e-4, 1e-3};
    case seqmix::scalar_type::bf16:
      return {0.005, 3e-3, 2e-3, 8e-3};
    default:
      return {5e-6, 2e-6, 1e-6, 2e-5};
  }
}

enum class bound { target, ceiling };

/// What a comparison measured.
struct difference {
  double rms = 0;      ///< RMS(err) / scale
  double element = 0;  ///< largest |err| / (|ref| + scale)
  std::size_t worst = 0;
  std::ptrdiff_t wrong_kind = -1;  ///< first element whose infinity or NaN does not match
};

/// Compares with the reference. The scale is RMS(ref), at least `floor`: values that cancel to
/// almost nothing have no relative accuracy.
inline difference measure(const std::vector<double>& actual, const std::vector<double>& expected,
                          double floor = 0) {
  difference d;
  double squares = 0;
  std::size_t finite = 0;
  for (const double e : expected) {
    squares += std::isfinite(e) ? e * e : 0;
    finite += std::isfinite(e) ? 1 : 0;
  }
  const double scale =
      std::max(finite == 0 ? 0 : std::sqrt(squares / static_cast<double>(finite)), floor);
  double errors = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double a = actual[i];
    const double e = expected[i];
    if (!std::isfinite(e) || !std::isfinite(a)) {
      const bool same = (std::isnan(e) && std::isnan(a)) || a == e;
      if (!same && d.wrong_kind < 0) {
        d.wrong_kind = static_cast<std::ptrdiff_t>(i);
      }
      continue;
    }
    const double error = std::fabs(a - e);
    errors += error * error;
    // No error is none, also where the reference is all zeros.
    const double share = error == 0 ? 0 : error / (std::fabs(e) + scale);
    if (share > d.element) {
      d.element = share;
      d.worst = i;
    }
  }
  d.rms = errors == 0 ? 0 : std::sqrt(errors / static_cast<double>(finite)) / scale;
  return d;
}

/// Empty when `actual` is within the bounds, else a sentence.
inline std::string compare(const std::vector<double>& actual, const std::vector<double>& expected,
                           tolerance t, bound which = bound::target, double floor = 0) {
  std::ostringstream text;
  text.precision(10);
  if (actual.size() != expected.size()) {
    text << actual.size() << " elements instead of " << expected.size();
    return text.str();
  }
  const difference d = measure(actual, expected, floor);
  const double limit = which == bound::target ? t.target : t.ceiling;
  if (d.wrong_kind >= 0) {
    const auto i = static_cast<std::size_t>(d.wrong_kind);
    text << "element " << i << " is " << actual[i] << " instead of " << expected[i];
  } else if (!(d.rms <= limit) || !(d.element <= t.element)) {
    text << "RMS error " << d.rms << " (bound " << limit << "), element error " << d.element
         << " (bound " << t.element << ") at element " << d.worst << ": " << actual[d.worst]
         << " instead of " << expected[d.worst];
  }
  return text.str();
}

}  // namespace seqmix_test
