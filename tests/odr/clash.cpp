// SPDX-License-Identifier: Apache-2.0
// One weak symbol, for the test of the weak-symbol gate itself.
template <class T>
[[gnu::noinline]] T clash(T x) {
  return x + x;
}

int use_clash(int x) { return clash(x); }
