#!/usr/bin/env bash
# access_log.sh PROGRAM CASE: one case of what a user of access_log sees. Exits 77 where the machine cannot tell.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/program.sh"

expect_no_output() { [[ ! -s out ]] || fail "it printed: $(head -3 out)"; }
figures() { sed 's/,"strategy":.*//' "${1:-out}"; }

cat >small.log <<'LOG'
10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 100
2001:db8::1 - frank [17/May/2015:10:59:59 +0000] "GET /a?x=1 HTTP/1.1" 200 50 "-" "Agent \"quoted\""
10.0.0.1 - - [17/May/2015:23:05:03 +0000] "GET /b%20c HTTP/1.0" 404 - "http://a.example/" "Agent"
what is this
10.0.0.1 - - [31/Feb/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 1

10.0.0.1 - - [17/May/2015:00:00:00 +0000] "-" 408 -
10.0.0.1 - - [17/May/2015:00:00:00 +0000] "GET /a" 200 7
LOG
printf '10.0.0.1 - - [17/May/2015:00:00:00 +0000] "GET /b%%20c HTTP/1.1" 200 1 "-" "no newline"' >>small.log
small='{"lines":9,"malformed":3,"by_status":{"200":4,"404":1,"408":1},"by_hour":{"00":3,"10":2,"23":1},"bytes":158,'
small+='"top_paths":[{"path":"/a","requests":2,"bytes":107},{"path":"/b%20c","requests":2,"bytes":1},'
small+='{"path":"-","requests":1,"bytes":0},{"path":"/a?x=1","requests":1,"bytes":50}]'

# A few thousand requests, which no two strategies read in the same order.
big_log() {
  awk -v lines="$1" 'BEGIN {
    for (i = 0; i < lines; ++i) {
      if (i % 97 == 0) { print "malformed " i; continue }
      printf "10.0.0.%d - - [17/May/2015:%02d:05:03 +0000] \"GET /page/%d HTTP/1.1\" %d %d \"-\" \"Agent\"\n",
             i % 250, i % 24, (i * i) % 211, 200 + i % 5, i
    }
  }'
}

case $case in
  figures)
    for strategy in serial parallel:1 parallel:2 parallel:4 parallel:4:ordered; do
      for capacity in 1 1024; do
        run --json --strategy "$strategy" --capacity "$capacity" small.log
        expect_code 0
        [[ $(figures) == "$small" ]] || fail "$strategy, capacity $capacity: $(cat out)"
        grep -qF "\"strategy\":\"$strategy\"" out || fail "the strategy is not in: $(cat out)"
        grep -qE '"seconds":[0-9.e-]+,"outcome":"completed"}$' out || fail "the end is not in: $(cat out)"
        [[ ! -s err ]] || fail "it said: $(cat err)"
      done
    done
    ;;
  strategies)
    big_log 5000 >big.log
    run --json --strategy serial big.log
    figures >serial
    [[ $(figures) == *'"lines":5000,"malformed":52,'* ]] || fail "serial: $(cat serial)"
    awk '/GET/ { bytes += $10 } END { printf "\"bytes\":%d,", bytes }' big.log >bytes
    grep -qF "$(cat bytes)" serial || fail "not $(cat bytes) in $(cat serial)"
    for strategy in parallel:1 parallel:2 parallel:4 parallel:4:ordered; do
      run --json --strategy "$strategy" --capacity 3 big.log
      [[ $(figures) == "$(cat serial)" ]] || fail "$strategy gives another answer"
    done
    ;;
  text)
    run small.log
    expect_code 0
    for part in '9 lines, 158 bytes sent' 'Requests by status' 'Busiest hours' 'Most requested' 'Most bytes' \
      'Malformed lines: 3' '  line 4: ' '  line 5: ' '  line 6: the line is empty'; do
      grep -qF -- "$part" out || fail "no '$part' in: $(cat out)"
    done
    ;;
  input)
    : >empty.log
    run --json empty.log
    expect_code 0
    [[ $(figures) == '{"lines":0,"malformed":0,'* ]] || fail "an empty file: $(cat out)"
    run --json - <small.log
    [[ $(figures) == "$small" ]] || fail "a redirected file: $(cat out)"
    cat small.log | "$program" --json >out
    [[ $(figures) == "$small" ]] || fail "a pipe: $(cat out)"
    run --json --merge-queries small.log
    grep -qF '{"path":"/a","requests":3,"bytes":157}' out || fail "merged queries: $(cat out)"
    ;;
  refused)
    run missing.log
    expect_code 1 && expect_no_output && expect_one_line 'missing.log: No such file or directory'
    mkdir folder
    run --json folder
    expect_code 1 && expect_no_output && expect_one_line 'folder: Is a directory'
    run <&-
    expect_code 1 && expect_no_output && expect_one_line 'standard input: '
    for wrong in --strategy=parallel:0 --strategy=parallel:x --strategy=parallel:-2 --strategy=quick --capacity=0 \
      --capacity=-1 --capacity=x --unknown; do
      run "$wrong" small.log
      expect_code 2 && expect_no_output && expect_one_line 'access_log: '
    done
    code=0
    "$program" small.log >/dev/full 2>err || code=$?
    expect_code 1 && expect_one_line 'standard output: '
    ;;
  unreadable)
    cp small.log closed.log
    chmod 0 closed.log
    if [[ $(id -u) == 0 ]]; then
      chmod 755 .
      as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
      "${as_nobody[@]}" "$program" --help >/dev/null 2>&1 || exit 77
      code=0
      "${as_nobody[@]}" "$program" closed.log >out 2>err || code=$?
    else
      run closed.log
    fi
    expect_code 1 && expect_no_output && expect_one_line 'closed.log: Permission denied'
    ;;
  help)
    run --help
    expect_code 0
    for part in --strategy --capacity --json FILE Ctrl-C; do
      grep -qF -- "$part" out || fail "no '$part' in: $(cat out)"
    done
    ;;
  interrupt)
    mkfifo pipe
    big_log 8000 >big.log
    "$program" --json --strategy parallel:2 pipe >out 2>err &
    exec 9>pipe
    # More than a pipe holds: when it is written, the program has been reading for long, so it listens for signals.
    cat big.log >&9
    kill -INT $!
    code=0
    wait $! || code=$?
    exec 9>&-
    expect_code 130
    grep -qF '"outcome":"cancelled"}' out || fail "the outcome: $(cat out)"
    lines=$(sed 's/{"lines":\([0-9]*\),.*/\1/' out)
    ((lines > 0 && lines <= 8000)) || fail "$lines lines of 8000"
    # Lines come and go in their order, so what was counted is the beginning of what was written.
    head -n "$lines" big.log >beginning.log
    cp out interrupted
    run --json --strategy serial beginning.log
    [[ $(figures) == "$(figures interrupted)" ]] || fail "the figures are not those of the first $lines lines"
    "$program" pipe >out 2>err &
    exec 9>pipe
    cat big.log >&9
    kill -INT $!
    code=0
    wait $! || code=$?
    exec 9>&-
    expect_code 130 && expect_one_line 'interrupted'
    ;;
  terminal)
    command -v script >/dev/null || exit 77
    run small.log
    [[ ! -s err ]] || fail "without a terminal it said: $(cat err)"
    TERM=xterm script -qec "$program --json small.log >out" seen </dev/null >/dev/null
    grep -qF backlog seen || fail "no progress on a terminal: $(cat -v seen)"
    [[ $(figures) == "$small" ]] || fail "on a terminal: $(cat out)"
    # The line is wiped at the end.
    tail -c 200 seen | grep -qF $'\r\x1b[K' || fail "the progress stays: $(cat -v seen)"
    TERM=dumb script -qec "$program --json small.log >out" seen </dev/null >/dev/null
    ! grep -qF backlog seen || fail "progress on a dumb terminal: $(cat -v seen)"
    # Nothing to read is said, not waited for.
    TERM=xterm script -qec "$program; echo code \$?" seen </dev/null >/dev/null
    grep -qF 'nothing to read' seen && grep -qF 'code 2' seen || fail "a terminal as input: $(cat -v seen)"
    ;;
  *) fail "there is no case $case" ;;
esac
