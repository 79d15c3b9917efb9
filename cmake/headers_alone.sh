#!/usr/bin/env bash
# Compiles each public header below a folder by itself, and twice over in one file, so that its guard is tried too.
# Those in a detail/ are compiled by the public ones that include them.
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
flags=(-I . -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror "$@")

# Asio is most of what there is to read, and is read once, precompiled: by those that bring it, by whatever way. The
# others see nothing of it.
precompiled=$(mktemp -d) && trap 'rm -rf "$precompiled"' EXIT
echo '#include <weir/asio.hpp>' >"$precompiled/asio.hpp"
"$compiler" -std=c++20 "${flags[@]}" -x c++-header "$precompiled/asio.hpp" -o "$precompiled/asio.hpp.gch" || exit 1

bringing=weir/asio.hpp
bringing_more() {
  {
    echo "$bringing"
    sed 's/.*/#include <&>/' <<<"$bringing" | grep -rlFf - --include='*.hpp' weir
  } | sort -u
}
while more=$(bringing_more) && [[ $more != "$bringing" ]]; do bringing=$more; done

public=$(find . -name '*.hpp' -not -path '*/detail/*' -printf '%P\n' | sort)
compile_each() { xargs -r -P 2 -I '{}' bash -c 'compile_alone "$@"' compile_alone '{}' "$compiler" "${flags[@]}" "$@"; }

comm -23 <(echo "$public") <(echo "$bringing") | compile_each || exit 1
comm -12 <(echo "$public") <(echo "$bringing") | compile_each -include "$precompiled/asio.hpp" || exit 1
echo "every public header compiles alone: $(wc -l <<<"$public")"
