#!/usr/bin/env bash
# plugin_host.sh PROGRAM CASE: one case of what a user of plugin_host sees.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/program.sh"

said() { grep -qE -- "$1" out || fail "no '$1' in: $(cat out)"; }

case $case in
  house)
    run --readings 8
    expect_code 0
    said '^thermostat: published 12, of which less urgent than it asked for 0, handled 8, failed 0$'
    said '^thermostat: gone, 1 handlers taken out$'
    said '^weather: published [1-9][0-9]*, of which less urgent than it asked for [1-9][0-9]*, handled 12, failed 8: the sky is falling$'
    said '^weather: cannot be unloaded: handler heating\.\* does not end$'
    said '^weather: gone, 2 handlers taken out$'
    said '^the heating was switched on 4 times for 8 readings$'
    [[ ! -s err ]] || fail "it said: $(cat err)"
    ;;
  refused)
    run --readings 0
    expect_code 2 && expect_out ''
    ;;
  help)
    run --help
    expect_code 0
    said --readings
    ;;
  *) fail "there is no case $case" ;;
esac
