// SPDX-License-Identifier: Apache-2.0
// main for builds that are not for the host, whose Catch2 2 has one in a library.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
