#!/usr/bin/env bash
# Compiles each public header below a folder by itself, and twice over in one file, so that its guard is tried too.
# Those in a detail/ are compiled by the public ones that include them.
#
# headers_alone.sh [--with-asio] COMPILER INCLUDE_FOLDER [FLAG…]
#
# --with-asio: what weir/asio.hpp brings is there already, precompiled, which takes a third of the time. That a header
# needs it and does not include it is found by a run without, by any compiler.
set -u

with_asio=
if [[ $1 == --with-asio ]]; then
  with_asio=yes
  shift
fi

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
flags=(-I . -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror "$@")
if [[ $with_asio ]]; then
  precompiled=$(mktemp -d) && trap 'rm -rf "$precompiled"' EXIT
  echo '#include <weir/asio.hpp>' >"$precompiled/asio.hpp"
  "$compiler" -std=c++20 "${flags[@]}" -x c++-header "$precompiled/asio.hpp" -o "$precompiled/asio.pch" || exit 1
  flags+=(-include-pch "$precompiled/asio.pch")
fi
public_headers() { find . -name '*.hpp' -not -path '*/detail/*' -printf '%P\n' | sort; }
public_headers |
  xargs -P 2 -I '{}' bash -c 'compile_alone "$@"' compile_alone '{}' \
    "$compiler" "${flags[@]}" || exit 1
echo "every public header compiles alone: $(public_headers | wc -l)"
