#!/usr/bin/env bash
# include_census.sh PROGRAM CASE: one case of what a user of include_census sees. Exits 77 where the machine cannot tell.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/program.sh"

expect_no_output() { [[ ! -s out ]] || fail "it printed: $(head -3 out)"; }
figures() { sed 's/,"strategy":.*//' out; }

mkdir -p tree/a/deep tree/b
printf '#include <vector>\n# include "x.h" // why\n/*\n#include <no>\n*/\n' >tree/a/one.h
printf '#include<vector>\nint x;' >tree/a/deep/two.hpp
printf 'int y;\n' >tree/b/vector
printf '#include <no>\n' >tree/b/three.cpp
: >tree/empty.h
ln -s .. tree/a/loop
tree='{"headers":4,"lines":8,"bytes":91,"includes":3,"top_includes":[{"name":"vector","times":2},'
tree+='{"name":"x.h","times":1}],"lines_by_folder":{".":0,"a":7,"b":1},"unreadable":0'

case $case in
  figures)
    for strategy in serial parallel:1 parallel:2 parallel:4 parallel:4:ordered; do
      run --json --strategy "$strategy" --capacity 1 tree
      expect_code 0
      [[ $(figures) == "$tree" ]] || fail "$strategy: $(cat out)"
      grep -qE "\"strategy\":\"$strategy\",\"seconds\":[0-9.e-]+,\"outcome\":\"completed\"}$" out || fail "$(cat out)"
      [[ ! -s err ]] || fail "it said: $(cat err)"
    done
    ;;
  compare)
    run --compare tree
    expect_code 0
    for part in '4 headers, 8 lines, 3 includes' 'Most included' 'Lines by top folder' 'to serial' parallel:2 parallel:4 \
      'Every strategy gives the same answer.'; do
      grep -qF -- "$part" out || fail "no '$part' in: $(cat out)"
    done
    run --compare --json tree
    expect_code 0
    [[ $(cat out) == "$tree"',"agree":true,"runs":['* ]] || fail "$(cat out)"
    run --compare --strategy serial tree
    expect_code 2
    ;;
  refused)
    run missing
    expect_code 1 && expect_no_output && expect_one_line 'missing: No such file or directory'
    run --compare tree/empty.h
    expect_code 1 && expect_no_output && expect_one_line 'tree/empty.h: Not a directory'
    run --strategy parallel:0 tree
    expect_code 2 && expect_no_output && expect_one_line 'parallel:0'
    mkdir nothing
    run --json nothing
    expect_code 0
    [[ $(cat out) == '{"headers":0,"lines":0,'* ]] || fail "an empty tree: $(cat out)"
    ;;
  links)
    ln -s nowhere.h tree/b/dangling.h
    run --json tree
    expect_code 0 && expect_one_line '1 could not be read'
    [[ $(figures) == "${tree%0}1" ]] || fail "$(cat out)"
    ;;
  terminal)
    command -v script >/dev/null || exit 77
    TERM=xterm script -qec "$program --json tree >out" seen </dev/null >/dev/null
    grep -qF backlog seen || fail "no progress on a terminal: $(cat -v seen)"
    [[ $(figures) == "$tree" ]] || fail "on a terminal: $(cat out)"
    ;;
  help)
    run --help
    expect_code 0
    for part in --strategy --capacity --json --compare DIR; do
      grep -qF -- "$part" out || fail "no '$part' in: $(cat out)"
    done
    ;;
  *) fail "there is no case $case" ;;
esac
