#!/usr/bin/env bash
# Keeps braces out of co_await in examples, pages and tests; and first makes sure that they would be found.
set -euo pipefail
check=tests/docs/braces.awk
planted=$(mktemp)
trap 'rm -f "$planted"' EXIT

expect() {
  local wanted=$1 found=0
  printf '%s\n' "$2" >"$planted"
  awk -f "$check" "$planted" 2>/dev/null || found=$?
  if [[ $found != "$wanted" ]]; then
    printf 'the check says %s, not %s, of: %s\n' "$found" "$wanted" "$2" >&2
    exit 1
  fi
}

expect 1 'co_await tx.send(Hit{1});'
expect 1 'x = co_await f(a, {b, c});'
expect 1 'co_await out.emit(
      Hit{1});'
expect 1 'co_await run([owned](S& s) { s(); });'
expect 1 'co_yield Payload{1};'
expect 0 'while (co_await drain.fetch()) { Hit hit{1}; }'
expect 0 'co_await run([&](S& s) { s(Hit{1}); });'
expect 0 'co_await connect(peer, {.capacity = 1});'
expect 0 'co_await f("{"); Hit hit{1}; // co_await g({a})'

find examples tests -name '*.cpp' -o -name '*.hpp' | sort | xargs awk -f "$check" README.md docs/*.md
