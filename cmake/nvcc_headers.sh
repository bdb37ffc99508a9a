#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Compiles every public header as CUDA, some dozens in each of four units: that each is whole by
# itself is shown by the target header_selfcontained. Exits with 77 where there is no nvcc.
# interop/eigen.hpp is left out: Eigen stays out of .cu files.
set -eu
root=$(CDPATH='' cd "$(dirname "$0")/.." && pwd)
nvcc=${NVCC:-$(command -v nvcc || true)}
if [ -z "$nvcc" ]; then
  echo "no nvcc on the path"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/one.sh" <<'CODE'
set -eu
unit=$1
# Warnings of the front end are errors: a user's .cu must stay quiet.
if ! "$NVCC" -std=c++20 -arch=sm_90 -Werror all-warnings -Xcompiler -fopenmp -O0 \
  -I "$ROOT/include" -c -o "$unit.o" "$unit" >"$unit.log" 2>&1; then
  cat "$unit.log"
  exit 1
fi
CODE

cd "$root/include"
find seqmix -name '*.hpp' ! -path '*/interop/eigen.hpp' | sort >"$work/headers"
# Twice, so that a header without its guard fails.
awk -v work="$work" '
  { unit = work "/unit" NR % 4 ".cu"; print "#include <" $0 ">\n#include <" $0 ">" >unit }
  END { for (i = 0; i < 4; ++i) print "__global__ void kernel() {}" >(work "/unit" i ".cu") }
' "$work/headers"
export NVCC="$nvcc" ROOT="$root"
printf '%s\n' "$work"/unit?.cu | xargs -P "$(nproc)" -n 1 sh "$work/one.sh"
echo "nvcc: $(wc -l <"$work/headers") headers compile"
