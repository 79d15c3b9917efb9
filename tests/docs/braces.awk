# Finds braces inside a co_await or co_yield expression, which GCC 12 may destroy twice (docs/traps.md says more).
#
#   awk -f braces.awk FILE…
#
# The body of a lambda that owns nothing ([], [&], [this], [&name]) is no such brace, and neither are the options that
# are trivially destructible: an argument that begins with `{.` is taken for one.

function report() {
  printf "%s:%d: braces inside co_await: name the object first (docs/traps.md)\n", FILENAME, FNR > "/dev/stderr"
  found = 1
}

# Reads one character of an awaited expression.
function step(c,    before) {
  if (c == "(") {
    ++depth
  } else if (c == ")") {
    if (depth == 0) awaiting = 0
    else --depth
  } else if (c == ";") {
    if (body == 0) awaiting = 0
  } else if (c == "[") {
    capture = ""
    reading = 1
  } else if (c == "]") {
    reading = 0
    gsub(/[ \t]/, "", capture)
    lambda = capture ~ /^(&[A-Za-z_0-9]*|this)?(,(&[A-Za-z_0-9]*|this))*$/
  } else if (c == "{") {
    if (body > 0 || lambda) ++body
    else if (depth == 0 && seen ~ /\)$/) awaiting = 0
    else awaiting_brace = 1
    lambda = 0
  } else if (c == "}") {
    if (body > 0) --body
  }
  if (reading && c != "[") capture = capture c
  if (c !~ /[ \t]/) seen = c
}

FNR == 1 { awaiting = 0; markdown = FILENAME ~ /\.md$/; code = !markdown }

markdown && /^```/ { code = /^```cpp/; awaiting = 0; next }
!code { next }

{
  line = $0
  gsub(/\\\\/, "", line)
  gsub(/\\"/, "", line)
  gsub(/"[^"]*"/, "\"\"", line)
  gsub(/'[^']*'/, "' '", line)
  sub(/\/\/.*/, "", line)
  gsub(/operator[ \t]+co_await/, "", line)
  while (line != "") {
    if (!awaiting) {
      if (!match(line, /(^|[^A-Za-z_0-9])co_(await|yield)([^A-Za-z_0-9]|$)/)) break
      line = substr(line, RSTART + RLENGTH - 1)
      sub(/^[A-Za-z]/, "", line)
      awaiting = 1
      depth = body = reading = lambda = awaiting_brace = 0
      seen = ""
    }
    c = substr(line, 1, 1)
    line = substr(line, 2)
    step(c)
    if (awaiting_brace) {
      if (line !~ /^[ \t]*(\.|\})/) report()
      awaiting = awaiting_brace = 0
    }
  }
}

END { exit found }
