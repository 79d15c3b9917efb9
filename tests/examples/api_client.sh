#!/usr/bin/env bash
# api_client.sh PROGRAM CASE: one case of what a user of api_client sees.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/program.sh"

expect_line() { grep -qxE -- "$1" out || fail "no line '$1' in: $(cat out)"; }
# The server is down for at least 25 requests, in which the breaker must open.
expect_all_answered() {
  expect_code 0
  [[ ! -s err ]] || fail "it said: $(cat err)"
  expect_line "requests: $1 answered, 0 given up, [1-9][0-9]+ retries"
  expect_line 'circuit breaker: opened [1-9][0-9]* time\(s\), closed at the end'
  expect_line "events: $1 emitted = $1 processed \+ 0 failed \+ 0 dead-lettered \+ 0 dropped \+ 0 discarded: balanced"
}

case $case in
  answered)
    run --requests 200
    expect_all_answered 200
    expect_line ' +[0-9]+ +[0-9.]+ +[0-9]+ +0  down'
    expect_line ' +[0-9.]+ s  concurrency 1 -> 2  probe more  .*'
    ;;
  narrow)
    run --requests 50 --most-at-once 1 --seed 7
    expect_all_answered 50
    expect_line ' +20 +[0-9.]+ +[0-9]+ +1  fast'
    ;;
  refused)
    run --requests 0
    expect_code 2
    run --most-at-once many
    expect_code 2
    ;;
  help)
    run --help
    expect_code 0
    for part in --requests --most-at-once --seed; do
      grep -qF -- "$part" out || fail "no '$part' in: $(cat out)"
    done
    ;;
  *) fail "there is no case $case" ;;
esac
