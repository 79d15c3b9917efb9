# Makes C++ sources of the examples in Markdown pages.
#
#   awk -v out=FOLDER -f extract.awk PAGE.md…
#
# The word after ```cpp says what a block is:
#   program  a whole program; with WEIR_DOCS_PROGRAM it becomes a source of its own
#   top      declarations, which the later blocks of the page see
#   body     statements of a coroutine that has an `asio::thread_pool pool`; what comes later sees none of it
# Programs become FOLDER/<page>-<line>.cpp. The rest becomes FOLDER/bodies.cpp. Prints "program NAME" and "body NAME" for
# each that can be run, and fails at a block without such a word, which nothing would check.

function flush_page() {
  if (in_page) print "}  // namespace" > bodies
  in_page = 0
}

function name_here() { return page "-" FNR }

FNR == 1 {
  flush_page()
  page = FILENAME
  sub(/.*\//, "", page)
  sub(/\.md$/, "", page)
  page = tolower(page)
  namespace = page
  gsub(/[^a-z0-9]/, "_", namespace)
}

BEGIN {
  bodies = out "/bodies.cpp"
  print "// Made of the examples in the pages." > bodies
  print "#include \"docs/bodies.hpp\"" > bodies
}

kind == "" && /^```cpp/ {
  kind = $2
  start = FNR
  if (kind != "program" && kind != "top" && kind != "body") {
    printf "%s:%d: a C++ example says what it is: ```cpp program, top or body\n", FILENAME, FNR > "/dev/stderr"
    failed = 1
    exit 1
  }
  if (kind == "program") {
    target = out "/" name_here() ".cpp"
    print "program", name_here()
  } else {
    target = bodies
    if (!in_page) print "namespace docs_" namespace " {" > bodies
    in_page = 1
  }
  if (kind == "body") {
    print "body", name_here()
    registered[++count] = name_here() " docs_" namespace "::body_" start
    print "weir::Task<> body_" start "([[maybe_unused]] asio::thread_pool& pool) {" > bodies
  }
  printf "#line %d \"%s\"\n", FNR + 1, FILENAME > target
  next
}

kind != "" && /^```$/ {
  if (kind == "body") print "co_return;\n}" > bodies
  if (kind == "program") close(target)
  kind = ""
  next
}

kind != "" { print > target }

END {
  if (failed) exit 1
  if (kind != "") {
    print FILENAME ": the last example is not closed" > "/dev/stderr"
    exit 1
  }
  flush_page()
  print "const std::vector<Body> bodies = {" > bodies
  for (i = 1; i <= count; ++i) {
    split(registered[i], part, " ")
    printf "    {\"%s\", &%s},\n", part[1], part[2] > bodies
  }
  print "};" > bodies
}
