// SPDX-License-Identifier: Apache-2.0
// Values of the elementary functions, for tests/test_elementary.py: lines of a letter and two numbers come in; the
// results of a number and of a pack of it go out.
#include <cstdio>

#include "warpquant/core/lanes.h"
#include "warpquant/core/normal.h"

namespace {

template <class V>
V value(char function, V a, V b) {
  using namespace wq;
  switch (function) {
  case 'e':
    return exp_of(a, b);
  case 'l':
    return log_ratio(a, b);
  case 'm':
    return mills(a);
  case 'p': {
    V of_a, of_b;
    mills(a, b, of_a, of_b);
    return of_b;
  }
  case 'n':
    return normal_cdf(a);
  case 'g':
    return gauss(a);
  default:
    return product_error(a, b, a * b);
  }
}

}  // namespace

int main() {
  char function;
  double a, b;
  while (std::scanf(" %c %la %la", &function, &a, &b) == 3) {
    using V = wq::Pack<wq::kLanes>;
    std::printf("%a %a\n", value(function, a, b), wq::lane(value(function, V(a), V(b)), wq::kLanes - 1));
  }
}
