#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The quick tests against newer dependencies: xsimd and Catch2 as Debian's next release has them.
# Takes the packages with apt into a private folder; nothing is installed. xsimd is headers only.
# Catch2's library needs that release's libc, so it is built from its source package.
# Exits with 77 where apt or its archive cannot be reached.
#   SEQMIX_COMPAT_SUITE  the release (trixie)
set -eu
root=$(CDPATH='' cd "$(dirname "$0")/.." && pwd)
suite=${SEQMIX_COMPAT_SUITE:-trixie}
build=$root/build/compat-$suite
jobs=${SEQMIX_JOBS:-$(nproc)}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

for tool in apt-get dpkg-deb cmake ninja; do
  if ! command -v $tool >/dev/null 2>&1; then
    echo "$tool is not installed"
    exit 77
  fi
done
mkdir -p "$build/apt/lists/partial" "$build/apt/cache/archives/partial" "$build/download"

cat >"$build/apt/sources.list" <<TEXT
deb [signed-by=$keyring] http://deb.debian.org/debian $suite main
deb-src [signed-by=$keyring] http://deb.debian.org/debian $suite main
TEXT
: >"$build/apt/status"
private_apt() {
  apt-get -q -o Dir::Etc::sourcelist="$build/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::State="$build/apt" -o Dir::State::status="$build/apt/status" \
    -o Dir::Cache="$build/apt/cache" -o APT::Sandbox::User="$(id -un)" "$@"
}

cd "$build/download"
if ! ls libxsimd-dev_*.deb catch2_*.orig.tar.* >/dev/null 2>&1; then
  private_apt update -o APT::Update::Error-Mode=any || {
    echo "no package lists of $suite"
    exit 77
  }
  private_apt download libxsimd-dev
  private_apt source --download-only catch2
fi

rm -rf "$build/xsimd" "$build/catch2"
dpkg-deb -x libxsimd-dev_*.deb "$build/xsimd"
mkdir -p "$build/catch2"
tar -xf catch2_*.orig.tar.* -C "$build/catch2" --strip-components=1
ls libxsimd-dev_*.deb catch2_*.orig.tar.*

cd "$root"
cmake -G Ninja -S "$build/catch2" -B "$build/catch2-build" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CXX_STANDARD=20 -DCATCH_DEVELOPMENT_BUILD=OFF -DBUILD_TESTING=OFF
cmake --build "$build/catch2-build" -j "$jobs"
cmake --install "$build/catch2-build" --prefix "$build/prefix"

cmake --preset release -B "$build/seqmix" -DCMAKE_PREFIX_PATH="$build/prefix" \
  -DSEQMIX_XSIMD_INCLUDE_DIR="$build/xsimd/usr/include" -DSEQMIX_WERROR=ON \
  -DSEQMIX_BUILD_BENCH=OFF -DSEQMIX_BUILD_EXAMPLES=OFF
cmake --build "$build/seqmix" -j "$jobs"
ctest --test-dir "$build/seqmix" -L '^test$' -j "$jobs" --output-on-failure
