#!/usr/bin/env bash
# order_saga.sh PROGRAM CASE: one case of what a user of order_saga sees.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/program.sh"

printf '%s\n' '2 10 Rome' '1 90 Oslo' '3 5 Moon' '20 1 Rome' '1 5 Lima' >orders

case $case in
  delivered)
    run --stock 100 --balance 1000 orders
    expect_code 0
    expect_out $'order 1: committed\norder 2: committed\norder 3: committed\norder 4: committed\norder 5: committed
73 pieces, 850 in the account, 150 taken, 5 parcels, 5 mails
mail: receipt for order 1: 20\nmail: receipt for order 2: 90\nmail: receipt for order 3: 15
mail: receipt for order 4: 20\nmail: receipt for order 5: 5'
    ;;
  undone)
    run --unreachable Moon orders
    expect_code 0
    expect_out $'order 1: committed\norder 2: rolled back: the account has 80, not 90
order 3: rolled back: nobody delivers to Moon\norder 4: rolled back: only 8 in stock\norder 5: committed
7 pieces, 75 in the account, 25 taken, 2 parcels, 2 mails
mail: receipt for order 1: 20\nmail: receipt for order 5: 5'
    ;;
  stands)
    run --unreachable Moon --refunds-fail orders
    expect_code 1
    grep -qxF 'order 3: rollback incomplete: nobody delivers to Moon' out || fail "it printed: $(cat out)"
    grep -qxE '  event [0-9]+ \(payment.take\) stands: the bank does not answer' out || fail "it printed: $(cat out)"
    grep -qxF '7 pieces, 60 in the account, 40 taken, 2 parcels, 2 mails' out || fail "it printed: $(cat out)"
    ;;
  input)
    printf '1 1 Rome\nwhat is this\n' | "$program" - >out 2>err || fail "it said: $(cat err)"
    grep -qxF 'order 1: committed' out || fail "it printed: $(cat out)"
    expect_one_line '"what is this" is no order'
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
    for part in --stock --balance --unreachable --refunds-fail FILE; do
      grep -qF -- "$part" out || fail "no '$part' in: $(cat out)"
    done
    ;;
  *) fail "there is no case $case" ;;
esac
