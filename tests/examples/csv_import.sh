#!/usr/bin/env bash
# csv_import.sh PROGRAM CASE: one case of what a user of csv_import sees.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/program.sh"

printf '%s\n' 'date,account,amount' '2024-01-02,rent,-900' '2024-01-03,"Food, and drink",-12.34' \
  '2024-01-04,"Food, and drink",-0.66' '2024-01-05,salary,2500.00' >clean
{
  cat clean
  printf '%s\n' '2024-01-06,rent' '2024-01-07,rent,much' '2024-01-08,"rent,5' '2024-01-09,re"nt,5' '2024-01-10,,5' \
    '2024-01-11,rent,-1.5'
} >mixed
sums=$'Food, and drink 2 -13.00\nrent 1 -900.00\nsalary 1 2500.00'

case $case in
  clean)
    run clean
    expect_code 0
    expect_out "$sums"
    [[ ! -s err ]] || fail "it said: $(cat err)"
    ;;
  rejects)
    for workers in 1 4; do
      run --workers "$workers" --rejects rejects mixed
      expect_code 1
      expect_out "$sums"
      expect_one_line '4 booking(s) imported, 6 line(s) rejected'
      sort -n rejects >sorted
      [[ $(cut -d: -f1 sorted | paste -sd,) == 6,7,8,9,10,11 ]] || fail "other lines: $(cat rejects)"
      grep -qxF '6: 2 fields, not 3: 2024-01-06,rent' rejects || fail "line 6: $(cat rejects)"
      grep -qxF "7: 'much' is no amount: 2024-01-07,rent,much" rejects || fail "line 7: $(cat rejects)"
      grep -qxF '10: no account: 2024-01-10,,5' rejects || fail "line 10: $(cat rejects)"
    done
    ;;
  standard_error)
    printf 'when,who,what\n' >other
    run other
    expect_code 1
    expect_out ''
    grep -qF "1: the header is not 'date,account,amount': when,who,what" err || fail "it said: $(cat err)"
    ;;
  refused)
    run missing
    expect_code 1 && expect_out '' && expect_one_line 'missing'
    run --rejects no/such/folder clean
    expect_code 1 && expect_out '' && expect_one_line 'no/such/folder: No such file or directory'
    run --workers 0 clean
    expect_code 2 && expect_out ''
    run
    expect_code 2 && expect_out ''
    ;;
  help)
    run --help
    expect_code 0
    for part in --rejects --workers FILE; do
      grep -qF -- "$part" out || fail "no '$part' in: $(cat out)"
    done
    ;;
  *) fail "there is no case $case" ;;
esac
