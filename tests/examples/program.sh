# What the cases of an example's program share; sourced with the script's own PROGRAM and CASE. They run in a folder of
# their own.
program=$1
case=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/weir-example-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
  printf 'failed: %s\n' "$*" >&2
  exit 1
}

# runs PROGRAM with arguments; leaves its exit code in $code and what it wrote in out and err
run() {
  code=0
  "$program" "$@" >out 2>err || code=$?
}

expect_code() { [[ $code == "$1" ]] || fail "exit code $code, not $1; it said: $(cat err)"; }
expect_out() { [[ $(cat out) == "$1" ]] || fail "it printed: $(cat out)"; }
expect_one_line() {
  [[ $(wc -l <err) == 1 ]] || fail "not one line: $(cat err)"
  grep -qF -- "$1" err || fail "no '$1' in: $(cat err)"
}
