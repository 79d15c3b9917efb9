#!/usr/bin/env bash
# tcp_lines.sh PROGRAM CASE
set -euo pipefail
program=$1

expect() {
  local wanted=$1
  shift
  local got
  got=$("$@")
  if [[ "$got" != "$wanted" ]]; then
    printf 'expected: %s\n     got: %s\n' "$wanted" "$got" >&2
    exit 1
  fi
}

case "$2" in
  totals) expect '30000 lines, sum 150015000, 3 refused' "$program" ;;
  one) expect '5 lines, sum 15, 1 refused' "$program" --clients 1 --lines 5 ;;
  help) "$program" --help | grep -q -- '--clients' ;;
  refused)
    if "$program" --clients many 2> /dev/null; then exit 1; fi
    ;;
  *)
    echo "no such case: $2" >&2
    exit 2
    ;;
esac
