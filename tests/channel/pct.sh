#!/usr/bin/env bash
# Runs every channel scenario that is explored by seeds under PCT of depth 3, and fails if one fails or if they were
# fewer schedules together than asked for.
#   pct.sh <channel tests> <schedules> <seeds of each scenario>
set -u
readonly tests=$1 schedules=$2 seeds=$3

output=$(WEIR_STRATEGY=pct:3 WEIR_SEEDS=$seeds WEIR_TALLY=1 "$tests" '[explore]~*every schedule that there is*' 2>&1)
status=$?
printf '%s\n' "$output"
[ "$status" -eq 0 ] || exit "$status"

explored=$(sed -n 's/^weir: explored \([0-9]*\) schedules.*/\1/p' <<<"$output")
if [ "${explored:-0}" -lt "$schedules" ]; then
  echo "only ${explored:-0} of $schedules schedules: there are fewer scenarios than there were, so raise the seeds" >&2
  exit 1
fi
