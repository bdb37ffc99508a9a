#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Processor time that a user pays to compile, median of three; fails when it is over the budget.
#   compile_budget.sh [extra compiler flags]      CXX picks the compiler
# The budgets are of a machine that compiles a unit of the standard library alone in 3 s of processor
# time. That unit is compiled here first, and times are scaled by it: machines, and what else they
# do, move it as they move the others.
set -eu
root=$(CDPATH='' cd "$(dirname "$0")/.." && pwd)
cxx=${CXX:-g++}
export CCACHE_DISABLE=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

cat >"$work/umbrella.cpp" <<'CODE'
#include <seqmix/seqmix.hpp>
CODE
cat >"$work/one_call.cpp" <<'CODE'
#include <seqmix/ops/softmax_attention/softmax_attention.hpp>

void attend(const float* q, const float* k, const float* v, float* o, long n) {
  seqmix::softmax_attention(seqmix::view(q, 1, n, 8, 64), seqmix::view(k, 1, n, 2, 64),
                            seqmix::view(v, 1, n, 2, 64), seqmix::view(o, 1, n, 8, 64),
                            {.causal = true});
}
CODE

cat >"$work/reference.cpp" <<'CODE'
#include <map>
#include <regex>
#include <string>

bool matches(const std::string& s) { return std::regex_match(s, std::regex("a(b|c)*d")); }
CODE

# The processor time of finished children so far, in ms: unlike wall time, hardly moved by other
# work on the machine. `times` answers for the shell that runs it, so no subshell here.
children_ms() {
  times >"$work/now"
  awk 'NR == 2 { for (i = 1; i <= 2; ++i) { split($i, t, /[ms]/); ms += t[1] * 60000 + t[2] * 1000 } }
    END { printf "%d\n", ms }' "$work/now" >"$work/ms"
}

# median COMMAND...: of three runs, in ms, as $median
median() {
  : >"$work/times"
  for _ in 1 2 3; do
    children_ms
    read -r start <"$work/ms"
    "$@"
    children_ms
    read -r end <"$work/ms"
    echo $((end - start)) >>"$work/times"
  done
  median=$(sort -n "$work/times" | sed -n 2p)
}

# budget NAME LIMIT_MS COMMAND...
budget() {
  name=$1 limit=$2
  shift 2
  median "$@"
  scaled=$((median * 3000 / reference))
  verdict=ok
  [ "$scaled" -le "$limit" ] || { verdict="OVER THE BUDGET" failed=1; }
  printf '%-34s %6d ms, scaled %6d ms of %6d ms  %s\n' "$name" "$median" "$scaled" "$limit" "$verdict"
}

median "$cxx" -std=c++20 -O2 "$@" -c -o "$work/reference.o" "$work/reference.cpp"
reference=$median
printf '%-34s %6d ms\n' "reference, -O2" "$reference"
budget "umbrella, syntax only" 3000 \
  "$cxx" -std=c++20 "$@" -I "$root/include" -fsyntax-only "$work/umbrella.cpp"
budget "one softmax_attention call, -O2" 10000 \
  "$cxx" -std=c++20 -O2 "$@" -I "$root/include" -c -o "$work/one_call.o" "$work/one_call.cpp"
exit $failed
