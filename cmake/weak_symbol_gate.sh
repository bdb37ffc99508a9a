#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
set -eu

usage() {
  cat <<'TEXT'
weak_symbol_gate.sh [--allow FILE] --group NAME OBJECT... --group NAME OBJECT...

Fails when a weak symbol is defined in objects of two groups. A group is what was compiled for one
instruction set; of two weak definitions the linker keeps either, and with it that set's code.

FILE lists extended regular expressions for demangled names that may be shared, one per line;
a "#" comment right above each says why.
TEXT
}

allow=/dev/null
group=
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/symbols"

while [ $# -gt 0 ]; do
  case $1 in
    --help) usage; exit 0 ;;
    --allow) allow=$2; shift 2 ;;
    --group) group=$2; shift 2 ;;
    *)
      [ -n "$group" ] || { usage >&2; exit 2; }
      nm --defined-only --extern-only "$1" >"$work/nm"
      awk -v group="$group" 'NF == 3 && $2 ~ /[A-Zu]/ { print group, $2, $3 }' "$work/nm" \
        >>"$work/symbols"
      shift
      ;;
  esac
done
[ -n "$group" ] || { usage >&2; exit 2; }

awk '
  /^#/ { explained = 1; next }
  /^[ \t]*$/ { explained = 0; next }
  !explained { printf "%s:%d: no comment explains: %s\n", FILENAME, FNR, $0; bad = 1 }
  { explained = 0 }
  END { exit bad }
' "$allow" >&2
grep -Ev '^(#|[[:space:]]*$)' "$allow" >"$work/allowed" || true

awk '
  !(($1, $3) in seen) { seen[$1, $3] = 1; groups[$3] = groups[$3] " " $1; count[$3]++ }
  $2 ~ /[WVu]/ { weak[$3] = 1 }
  END { for (name in count) if (count[name] > 1 && name in weak) print name " [" groups[name] " ]" }
' "$work/symbols" | c++filt | sort >"$work/shared"

if [ -s "$work/allowed" ]; then
  grep -Evf "$work/allowed" "$work/shared" >"$work/refused" || true
else
  cp "$work/shared" "$work/refused"
fi

total=$(wc -l <"$work/symbols")
shared=$(wc -l <"$work/shared")
refused=$(wc -l <"$work/refused")
echo "weak-symbol gate: $total definitions, $shared shared between groups, $refused not allowed"
[ "$total" -gt 0 ] || { echo "weak-symbol gate: no symbols at all: wrong objects?" >&2; exit 2; }
if [ "$refused" -gt 0 ]; then
  cat "$work/refused" >&2
  exit 1
fi
