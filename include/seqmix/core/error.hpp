// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <exception>
#include <optional>
#include <seqmix/core/config.hpp>
#include <string>
#include <utility>

SEQMIX_BEGIN_NAMESPACE

/// A violated contract: which operator, which argument, what it expects and what came instead.
/// When an operator reports one, nothing was written.
class error : public std::exception {
 public:
  error(std::string operator_name, std::string argument, std::string expected, std::string actual)
      : operator_(std::move(operator_name)),
        argument_(std::move(argument)),
        expected_(std::move(expected)),
        actual_(std::move(actual)),
        what_("seqmix::" + operator_ + ": " + argument_ + ": expected " + expected_ + ", got " +
              actual_) {}

  const std::string& operator_name() const noexcept { return operator_; }
  const std::string& argument() const noexcept { return argument_; }
  const std::string& expected() const noexcept { return expected_; }
  const std::string& actual() const noexcept { return actual_; }
  const char* what() const noexcept override { return what_.c_str(); }

 private:
  std::string operator_, argument_, expected_, actual_, what_;
};

/// Called in place of `throw` where exceptions are off. It may return: the operator that reported
/// then returns without having written anything.
using error_handler = void (*)(const error&);

namespace detail {

/// What a check returns: nothing, or the first violation it met.
using violation = std::optional<error>;

inline std::atomic<error_handler>& current_error_handler() noexcept {
  static std::atomic<error_handler> handler{[](const error&) { std::terminate(); }};
  return handler;
}

inline void report(const error& e) {
#if SEQMIX_HAS_EXCEPTIONS
  throw e;
#else
  current_error_handler().load()(e);
#endif
}

}  // namespace detail

/// Replaces the handler of builds without exceptions (the default ends the program through
/// std::terminate) and returns the one before.
inline error_handler set_error_handler(error_handler handler) noexcept {
  return detail::current_error_handler().exchange(handler);
}

SEQMIX_END_NAMESPACE
