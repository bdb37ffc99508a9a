// SPDX-License-Identifier: Apache-2.0
#include "named_scans.hpp"

using namespace seqmix_test;

TEST_CASE("named scans in double equal their oracles", "[elementwise_scan][named]") {
  for (const named form : all_named) {
    for (const layout kind : {layout::dense, layout::head_first}) {
      named_case c{.form = form, .B = 2, .T = 70, .D = 13, .initial = true, .in = kind, .o = kind};
      c.in_type = c.o_type = scalar_type::f64;
      CAPTURE(c);
      named_problem p = make_named(c);
      named_problem oracle = make_named(c);
      run_named<double, double>(form, false, p);
      run_named<double, double>(form, true, oracle);
      CHECK(compare(p.o.values(), oracle.o.values(), tolerance_of(scalar_type::f64),
                    bound::ceiling) == "");
    }
  }
}
