#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Compiles every public header as CUDA, each alone. Exits with 77 where there is no nvcc.
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
header=$1
unit=$WORK/$(echo "$header" | tr '/.' '__').cu
printf '#include <%s>\n#include <%s>\n__global__ void kernel() {}\n' "$header" "$header" >"$unit"
# Warnings of the front end are errors: a user's .cu must stay quiet.
if ! "$NVCC" -std=c++20 -arch=sm_90 -Werror all-warnings -Xcompiler -fopenmp -O0 \
  -I "$ROOT/include" -c -o "$unit.o" "$unit" >"$unit.log" 2>&1; then
  echo "nvcc: $header"
  cat "$unit.log"
  exit 1
fi
rm -f "$unit.o"
CODE

export NVCC="$nvcc" ROOT="$root" WORK="$work"
cd "$root/include"
find seqmix -name '*.hpp' ! -path '*/interop/eigen.hpp' | sort >"$work/headers"
xargs -P "$(nproc)" -n 1 sh "$work/one.sh" <"$work/headers"
echo "nvcc: $(wc -l <"$work/headers") headers compile"
