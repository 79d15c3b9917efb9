#!/usr/bin/env bash
# Compiles each header below a folder by itself, and twice over in one file, so that its guard is tried too.
#
# headers_alone.sh COMPILER INCLUDE_FOLDER [FLAG…]
set -u

compiler=$1
include=$2
shift 2

if ! command -v "$compiler" >/dev/null; then
  echo "skipped: $compiler is not installed"
  exit 0
fi

compile_alone() {
  local header=$1
  shift
  printf '#include <%s>\n#include <%s>\n' "$header" "$header" |
    "$@" -std=c++20 -fsyntax-only -x c++ - || { echo "does not compile alone: $header" >&2 && return 1; }
}
export -f compile_alone

cd "$include" || exit 1
find . -name '*.hpp' -printf '%P\n' | sort |
  xargs -P 2 -I '{}' bash -c 'compile_alone "$@"' compile_alone '{}' \
    "$compiler" -I . -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror "$@" || exit 1
echo "every header compiles alone: $(find . -name '*.hpp' | wc -l)"
