// SPDX-License-Identifier: Apache-2.0
// Without exceptions and without a handler of the user's, an error ends the program through
// std::terminate, which this program turns into success.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <seqmix/core/error.hpp>

int main() {
  std::set_terminate([] {
    std::printf("terminated, as it should\n");
    std::_Exit(0);
  });
  seqmix::detail::report({"op", "argument", "something", "nothing"});
  std::printf("FAILED: report returned from the default handler\n");
  return 1;
}
