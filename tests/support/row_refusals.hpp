// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <initializer_list>
#include <string>

#include "errors.hpp"

namespace seqmix_test {

/// Refusals of an operator from x to o that also runs in place. `Call` has x, o, options, ctx and
/// `wrote_nothing()`.
template <class Call, const auto& Operator, const auto& Inplace, const auto& Oracle>
struct row_refusals {
  using fault = std::function<void(Call&)>;
  const char* name;

  void operator()(const char* argument, const std::string& expected, const std::string& actual,
                  const fault& break_it) const {
    Call c;
    break_it(c);
    check(c, argument, expected, actual,
          {error_of([&] { Operator(c.x, c.o, c.options, c.ctx); }),
           error_of([&] { Operator.explain(c.x, c.o, c.options, c.ctx); }),
           error_of([&] { Operator.workspace_bytes(c.x, c.o, c.options, c.ctx); }),
           error_of([&] { Oracle(c.x, c.o, c.options); })});
  }

  /// What also holds in place.
  void inplace(const char* argument, const std::string& expected, const std::string& actual,
               const fault& break_it) const {
    Call c;
    break_it(c);
    check(c, argument, expected, actual,
          {error_of([&] { Inplace(c.x, c.options, c.ctx); }),
           error_of([&] { Inplace.explain(c.x, c.options, c.ctx); }),
           error_of([&] { Inplace.workspace_bytes(c.x, c.options, c.ctx); })});
  }

  void both(const char* argument, const std::string& expected, const std::string& actual,
            const fault& break_it) const {
    (*this)(argument, expected, actual, break_it);
    inplace(argument, expected, actual, break_it);
  }

  /// Contexts that name nothing that could run the call.
  void without_a_place() const {
    Call c;
    check_no_place(c.ctx, [&] {
      const seqmix::error e = error_of([&] { Operator(c.x, c.o, c.options, c.ctx); });
      CHECK(e.operator_name() == name);
      CHECK(c.wrote_nothing());
      return e;
    });
  }

 private:
  void check(const Call& c, const char* argument, const std::string& expected,
             const std::string& actual, const std::initializer_list<seqmix::error>& errors) const {
    CAPTURE(argument, expected, actual);
    for (const seqmix::error& e : errors) {
      check_error(e, name, argument, expected, actual);
      CHECK(c.wrote_nothing());
    }
  }
};

}  // namespace seqmix_test
