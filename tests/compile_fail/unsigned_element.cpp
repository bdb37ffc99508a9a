// SPDX-License-Identifier: Apache-2.0
// expect: (could not convert|no (viable|known) conversion|cannot convert|conversion from)
#include <seqmix/core/any_view.hpp>

#ifdef SEQMIX_COMPILE_FAIL_CONTROL
using element = int;
#else
using element = unsigned;
#endif

void call(const element* p) {
  const seqmix::any_view<1> lengths = seqmix::view(p, 3);
  static_cast<void>(lengths);
}
