#!/usr/bin/env bash
# editor.sh PROGRAM CASE: one case of what a user of editor sees.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/program.sh"

for i in $(seq 200); do echo "line $i of the text"; done >text

case $case in
  overtakes)
    run --keys hello text
    expect_code 0
    # What the worker had taken along is recalled: a key waits for the job that runs.
    grep -qxF 'typed: hello' out || fail "it printed: $(cat out)"
    grep -qxE 'a key waited for [01] of 200 jobs at most' out || fail "it printed: $(cat out)"
    grep -qxF '204 different words' out || fail "it printed: $(cat out)"
    ;;
  plain)
    run --plain --keys hello text
    expect_code 0
    grep -qxE 'a key waited for (1[0-9][0-9]|200) of 200 jobs at most' out || fail "it printed: $(cat out)"
    ;;
  input)
    run --keys '' - <text
    expect_code 0
    expect_out $'typed: \na key waited for 0 of 200 jobs at most\n204 different words'
    ;;
  missing)
    run missing
    expect_code 1 && expect_out '' && expect_one_line 'missing: No such file or directory'
    run
    expect_code 2 && expect_out ''
    ;;
  help)
    run --help
    expect_code 0
    for part in --keys --plain FILE; do
      grep -qF -- "$part" out || fail "no '$part' in: $(cat out)"
    done
    ;;
  *) fail "there is no case $case" ;;
esac
