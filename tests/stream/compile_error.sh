#!/usr/bin/env bash
# compile_error.sh COMPILER FILE [FLAG…]
#
# FILE begins with lines `// expect: TEXT`. It must not compile, and say each TEXT in one line of an error; with -DCORRECT
# it must compile, so that nothing but the mistake is wrong with it.
set -u

compiler=$1
file=$2
shift 2
flags=(-std=c++20 -fsyntax-only "$@")

"$compiler" "${flags[@]}" -DCORRECT "$file" || { echo "$file does not compile without its mistake" >&2 && exit 1; }
if output=$("$compiler" "${flags[@]}" "$file" 2>&1); then
  echo "$file compiles" >&2
  exit 1
fi
errors=$(grep -E 'error:' <<<"$output")
sed -n 's|^// expect: ||p' "$file" | while IFS= read -r text; do
  grep -qF -- "$text" <<<"$errors" || { printf 'expected in one line: %s\n%s\n' "$text" "$output" >&2 && exit 1; }
done || exit 1
expected=$(grep -c "^// expect: " "$file")
count=$(wc -l <<<"$errors")
[ "$count" -le "$expected" ] || { printf '%s errors instead of %s\n%s\n' "$count" "$expected" "$errors" >&2 && exit 1; }
