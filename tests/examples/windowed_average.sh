#!/usr/bin/env bash
# windowed_average.sh PROGRAM CASE: one case of what a user of windowed_average sees.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/program.sh"

printf '%s\n' '0.5 10' '3 20' '9.5 30' '12 5' '3600 7' '3601 8' >recording

case $case in
  tumbling)
    run recording
    expect_code 0
    expect_out $'10.000 20 3\n20.000 5 1\n3601.000 7.5 2'
    [[ ! -s err ]] || fail "it said: $(cat err)"
    ;;
  sliding)
    run --length 10 --step 5 recording
    expect_code 0
    expect_out $'5.000 15 2\n10.000 20 3\n15.000 17.5 2\n20.000 5 1\n3601.000 7.5 2'
    ;;
  input)
    { cat recording; printf 'what is this\n1 nan\n-1 1\n'; } >more
    code=0
    "$program" --length 1 --step 3600 - <more >out 2>err || code=$?
    expect_code 0
    expect_out $'3601.000 7.5 2'
    expect_one_line '3 line(s) are no measurements'
    ;;
  live)
    printf '0 1\n0 2\n' >now
    run --live --length 1000 --step 1000 now
    expect_code 0
    grep -qE '^0\.[0-9]{3} 1\.5 2$' out || fail "it printed: $(cat out)"
    ;;
  refused)
    run missing
    expect_code 1 && expect_out '' && expect_one_line 'missing: No such file or directory'
    run --length 0 recording
    expect_code 1 && expect_out '' && expect_one_line 'must be longer than 0'
    run --step -1 recording
    expect_code 1 && expect_out '' && expect_one_line 'must be longer than 0'
    run
    expect_code 2 && expect_out ''
    ;;
  help)
    run --help
    expect_code 0
    for part in --length --step --live FILE; do
      grep -qF -- "$part" out || fail "no '$part' in: $(cat out)"
    done
    ;;
  *) fail "there is no case $case" ;;
esac
