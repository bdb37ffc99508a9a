#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# From a fresh clone on Debian 12 to a running program. Needs a shell, nothing else.
set -eu

usage() {
  cat <<'TEXT'
usage: cmake/bootstrap.sh COMMAND [--yes]

  demo      install what is missing, build, and run the byte-level language model
  test      install what is missing, build, and run the quick tests
  deps      install what demo and test need, and stop there
  ci-deps   install what .ci/run needs as well, and stop there

  --yes     do not ask before sudo apt-get install

What is there already is not installed again. The build is in build/release
(SEQMIX_BUILD_DIR moves it); SEQMIX_JOBS sets the number of parallel jobs, and
SEQMIX_WERROR=ON makes warnings of the compiler errors.
TEXT
}

root=$(CDPATH='' cd "$(dirname "$0")/.." && pwd)
build=${SEQMIX_BUILD_DIR:-$root/build/release}
jobs=${SEQMIX_JOBS:-$(nproc)}
assume_yes=no
verb=
log=
step=0
steps=0

# "tool or package": a tool on the path will do; otherwise the Debian package is asked for.
base_packages="cmake:cmake ninja:ninja-build :libxsimd-dev :libeigen3-dev :libdlpack-dev :catch2
  :libbenchmark-dev :libcli11-dev :nlohmann-json3-dev"
ci_packages="clang++:clang :libomp-dev clang-format-19:clang-format-19 pkg-config:pkg-config
  ccache:ccache debootstrap:debootstrap doxygen:doxygen :libjs-mathjax :python3-numpy
  aarch64-linux-gnu-g++:g++-aarch64-linux-gnu qemu-aarch64:qemu-user"

say() { printf '\n[%d/%d] %s\n' "$step" "$steps" "$*"; }
next_step() {
  step=$((step + 1))
  say "$@"
}
die() {
  printf '\nbootstrap: %s\n' "$*" >&2
  exit 1
}

# run WHAT COMMAND...: quiet; on failure shows the end of the log.
run() {
  what=$1
  shift
  printf '+ %s\n' "$*" >"$log"
  if ! "$@" >>"$log" 2>&1; then
    echo "---- the last 40 lines of $log ----" >&2
    tail -n 40 "$log" >&2
    die "$what failed; the whole log is in $log"
  fi
}

have_package() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

have_compiler() {
  command -v "${CXX:-c++}" >/dev/null 2>&1 &&
    echo '#include <span>' | "${CXX:-c++}" -std=c++20 -x c++ -fsyntax-only - >/dev/null 2>&1
}

# Prints the packages of the list "$@" that are missing.
missing_packages() {
  have_compiler || echo g++
  for entry in "$@"; do
    tool=${entry%%:*} package=${entry#*:}
    if [ -n "$tool" ] && command -v "$tool" >/dev/null 2>&1; then
      continue
    fi
    have_package "$package" || echo "$package"
  done
}

install_packages() {
  # Word splitting is meant: the lists hold one entry per word.
  # shellcheck disable=SC2086
  if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "not a Debian system: CMake 3.25, Ninja, a C++20 compiler and the libraries of README.md"
    echo "have to be there already"
    return
  fi
  # shellcheck disable=SC2086
  missing=$(missing_packages $1 | sort -u | tr '\n' ' ')
  missing=${missing% }
  if [ -z "$missing" ]; then
    echo "nothing is missing"
    return
  fi
  command -v apt-get >/dev/null 2>&1 || die "apt-get is not here; please install: $missing"
  echo "missing: $missing"

  sudo=
  if [ "$(id -u)" != 0 ]; then
    echo "this needs root:"
    echo "  sudo apt-get update"
    echo "  sudo apt-get install --no-install-recommends $missing"
    command -v sudo >/dev/null 2>&1 ||
      die "sudo is not here: run the two lines without sudo as root, then call me again"
    if [ "$assume_yes" = no ]; then
      printf 'run them now? [y/N] '
      read -r answer || answer=
      case $answer in
        y | Y | yes) ;;
        *) die "nothing was installed" ;;
      esac
    fi
    sudo="sudo"
  fi
  # shellcheck disable=SC2086
  run "apt-get update" $sudo env DEBIAN_FRONTEND=noninteractive apt-get update
  echo "installing ..."
  # shellcheck disable=SC2086
  run "apt-get install" $sudo env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends $missing
}

configure() {
  version=$(cmake --version | sed -n '1s/^[^0-9]*\([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
  [ "$((${version% *} * 1000 + ${version#* }))" -ge 3025 ] ||
    die "CMake 3.25 is needed; $(command -v cmake) is ${version% *}.${version#* }"
  if [ -z "${CMAKE_CXX_COMPILER_LAUNCHER:-}" ] && command -v ccache >/dev/null 2>&1; then
    CMAKE_CXX_COMPILER_LAUNCHER=ccache
    export CMAKE_CXX_COMPILER_LAUNCHER
  fi
  cd "$root"
  run "configuring" cmake --preset release -B "$build" -DSEQMIX_WERROR="${SEQMIX_WERROR:-OFF}"
}

# Ninja's own progress lines go to the terminal, not to the log.
build_targets() {
  cmake --build "$build" -j "$jobs" "$@" || die "the build failed; the first error stands above"
}

for argument in "$@"; do
  case $argument in
    --yes | -y) assume_yes=yes ;;
    --help | -h)
      usage
      exit 0
      ;;
    demo | test | deps | ci-deps)
      [ -z "$verb" ] || die "one command at a time: $verb or $argument"
      verb=$argument
      ;;
    *)
      usage >&2
      die "unknown argument: $argument"
      ;;
  esac
done
if [ -z "$verb" ]; then
  usage >&2
  exit 2
fi

mkdir -p "$build" || die "cannot write to $build"
log=$build/bootstrap.log

case $verb in
  demo)
    steps=4
    next_step "packages"
    install_packages "$base_packages"
    next_step "configure in $build"
    configure
    next_step "build the demo with $jobs jobs"
    build_targets --target byte_lm
    next_step "run the demo"
    build_targets --target demo
    ;;
  test)
    steps=4
    next_step "packages"
    install_packages "$base_packages"
    next_step "configure in $build"
    configure
    next_step "build with $jobs jobs"
    build_targets
    next_step "run the quick tests"
    ctest --test-dir "$build" -L '^test$' -j "$jobs" --output-on-failure \
      --no-tests=error ||
      die "tests failed; see above"
    ;;
  deps)
    steps=1
    next_step "packages"
    install_packages "$base_packages"
    ;;
  ci-deps)
    steps=1
    next_step "packages"
    install_packages "$base_packages $ci_packages"
    ;;
esac
printf '\nbootstrap: %s done\n' "$verb"
