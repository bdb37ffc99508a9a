#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Proves the README's two commands on a bare Debian 12: a minbase chroot with git and nothing else.
#   bare_debian.sh [VERB...]      verbs of cmake/bootstrap.sh; by default demo and test
# Exits with 77 where it cannot run. SEQMIX_KEEP_CHROOT=1 leaves the chroot for a look.
set -eu
root=$(CDPATH='' cd "$(dirname "$0")/../.." && pwd)
mirror=${SEQMIX_DEBIAN_MIRROR:-http://deb.debian.org/debian}
[ $# -gt 0 ] || set -- demo test

if [ "$(id -u)" != 0 ]; then
  echo "skip: a chroot needs root"
  exit 77
fi
for tool in debootstrap git tar; do
  if ! command -v $tool >/dev/null 2>&1; then
    echo "skip: $tool is not installed"
    exit 77
  fi
done

chroot=$(mktemp -d "${TMPDIR:-/tmp}/seqmix-chroot-XXXXXX")
chmod 755 "$chroot"
cleanup() {
  if mountpoint -q "$chroot/proc"; then
    umount "$chroot/proc" || return
  fi
  if [ "${SEQMIX_KEEP_CHROOT:-0}" = 1 ]; then
    echo "the chroot is left in $chroot"
  else
    rm -rf --one-file-system "$chroot"
  fi
}
trap cleanup EXIT
trap 'exit 1' INT TERM

inside() { chroot "$chroot" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C "$@"; }

echo "== debootstrap --variant=minbase bookworm"
debootstrap --variant=minbase bookworm "$chroot" "$mirror" >"$chroot.log" 2>&1 || {
  tail -n 20 "$chroot.log"
  exit 1
}
rm -f "$chroot.log"
cp /etc/resolv.conf "$chroot/etc/resolv.conf"
mount -t proc proc "$chroot/proc" 2>/dev/null || echo "no /proc inside"
inside apt-get -qq update
inside env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends git \
  >/dev/null 2>&1

# The tree as it is here, in a folder with a space in its name.
clone="/srv/a clone/seqmix"
mkdir -p "$chroot$clone"
git -C "$root" ls-files -z --cached --others --exclude-standard |
  tar -C "$root" --null -T - -cf - | tar -C "$chroot$clone" -xf -

echo "== without root: the command shows what root has to run, and installs nothing"
if inside su nobody -s /bin/sh -c \
  "SEQMIX_BUILD_DIR=/tmp/nobody '$clone/cmake/bootstrap.sh' deps" >"$chroot/tmp/answer" 2>&1 ||
  ! grep -q 'sudo apt-get install .*g++' "$chroot/tmp/answer"; then
  cat "$chroot/tmp/answer"
  exit 1
fi

for verb in "$@"; do
  echo "== cmake/bootstrap.sh $verb"
  began=$(date +%s)
  inside "$clone/cmake/bootstrap.sh" "$verb"
  echo "== $verb took $(($(date +%s) - began)) s"
done
