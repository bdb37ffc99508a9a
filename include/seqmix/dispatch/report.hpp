// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <seqmix/core/config.hpp>
#include <string>
#include <vector>

SEQMIX_BEGIN_NAMESPACE

/// What `explain` returns: the implementation that a call would run, and why not the others.
struct dispatch_report {
  struct candidate {
    std::string implementation;
    std::string target;  ///< instruction set or GPU
    bool chosen = false;
    std::string reason;  ///< why it is not chosen; empty for the chosen one
  };

  std::string operator_name;
  std::string implementation;  ///< empty when none can run
  std::string target;
  std::string algorithm;
  std::int64_t splits = 1;
  std::size_t workspace_bytes = 0;
  std::vector<candidate> candidates;  ///< in the order in which they were asked

  /// The report as lines of text.
  std::string text() const {
    std::string out = operator_name + ": ";
    if (implementation.empty()) {
      out += "no implementation can run this call\n";
    } else {
      out += implementation + " on " + target + ", algorithm " + algorithm + ", splits " +
             std::to_string(splits) + ", workspace " + std::to_string(workspace_bytes) + " bytes\n";
    }
    for (const candidate& c : candidates) {
      out += "  " + c.implementation + " (" + c.target + "): ";
      out += c.chosen ? "chosen" : c.reason;
      out += '\n';
    }
    return out;
  }
};

SEQMIX_END_NAMESPACE
