// SPDX-License-Identifier: Apache-2.0
#pragma once

// The one place that states the version; CMake parses these three lines.
#define SEQMIX_VERSION_MAJOR 0
#define SEQMIX_VERSION_MINOR 1
#define SEQMIX_VERSION_PATCH 0

#define SEQMIX_VERSION_STRING "0.1.0"

// Every public name lives in this inline namespace, so that two versions can be linked into one
// program. It carries the version only: types that cross a compiled boundary must have the same
// name whatever instruction set a unit was compiled for.
#define SEQMIX_BEGIN_NAMESPACE \
  namespace seqmix {           \
  inline namespace v0_1 {
#define SEQMIX_END_NAMESPACE \
  }                          \
  }

SEQMIX_BEGIN_NAMESPACE

/// The version of the headers, as "major.minor.patch".
constexpr const char* version_string() noexcept { return SEQMIX_VERSION_STRING; }

SEQMIX_END_NAMESPACE
