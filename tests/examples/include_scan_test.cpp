#include "support/include_scan.hpp"

#include "support/catch.hpp"

using example::scan_includes;
using Names = std::vector<std::string>;

TEST_CASE("include scan: spacing does not matter") {
  CHECK(scan_includes("#include <a>\n#include \"b.h\"\n").includes == Names{"a", "b.h"});
  CHECK(scan_includes("  #\tinclude\t<a/b.h>\n#include<c>\n#include\"d\"\r\n").includes == Names{"a/b.h", "c", "d"});
  CHECK(scan_includes("#include_next <limits.h>").includes == Names{"limits.h"});
  CHECK(scan_includes("#include <a> // why\n#include <b> /* why */\n").includes == Names{"a", "b"});
  CHECK(scan_includes("#include <a>\n#include <a>\n").includes == Names{"a", "a"});
}

TEST_CASE("include scan: comments hide directives, and may stand before and in them") {
  CHECK(scan_includes("// #include <a>\n/* #include <b>\n#include <c>\n*/ #include <d>\n").includes == Names{"d"});
  CHECK(scan_includes("/**/ # /**/ include /* x */ <a>\n").includes == Names{"a"});
  CHECK(scan_includes("/* open\n#include <a>\n").includes.empty());
  CHECK(scan_includes("// a */ b /*\n#include <a>\n").includes == Names{"a"});
  CHECK(scan_includes("/*/ #include <a> */\n#include <b>\n").includes == Names{"b"});
}

TEST_CASE("include scan: a continued line is one line") {
  CHECK(scan_includes("#include \\\n  <a>\n#\\\r\ninclude <b>\n").includes == Names{"a", "b"});
  CHECK(scan_includes("// comment \\\n#include <a>\n#include <b>\n").includes == Names{"b"});
  CHECK(scan_includes("#define X \\\n#include <a>\n").includes.empty());
}

TEST_CASE("include scan: a directive begins its line") {
  CHECK(scan_includes("int x; #include <a>\n").includes.empty());
  CHECK(scan_includes("#if __has_include(<a>)\n#define include <b>\n# error #include <c>\n").includes.empty());
}

TEST_CASE("include scan: literals hide what looks like comments and directives") {
  CHECK(scan_includes("auto a = \"/*\";\n#include <a>\n").includes == Names{"a"});
  CHECK(scan_includes("auto a = \"\\\"/*\";\n#include <a>\n").includes == Names{"a"});
  CHECK(scan_includes("char a = '\"', b = '\\'';\n#include <a>\n").includes == Names{"a"});
  CHECK(scan_includes("int a = 1'000'000; /* ' */\n#include <a>\n").includes == Names{"a"});
  CHECK(scan_includes("auto a = 0xA'B; auto b = u8'\"'; // '\n#include <a>\n").includes == Names{"a"});
  CHECK(scan_includes("auto a = R\"(\n#include <a>\n\")\";\n#include <b>\n").includes == Names{"b"});
  CHECK(scan_includes("auto a = u8R\"x()\"\n#include <a>\n)x\";\n#include <b>\n").includes == Names{"b"});
  CHECK(scan_includes("auto a = \"x\\\n#include <a>\n\";\n#include <b>\n").includes == Names{"b"});
}

TEST_CASE("include scan: what is not closed ends with its line or with the text") {
  CHECK(scan_includes("#error don't\n#include <a>\n").includes == Names{"a"});
  CHECK(scan_includes("#include <a\n#include \"b\n#include <c>\n").includes == Names{"c"});
  CHECK(scan_includes("#include <a\n>\n").includes.empty());
  CHECK(scan_includes("#include <>\n#include \"\"\n#include\n#include MACRO\n").includes.empty());
  for (const std::string_view text : {"#", "#include", "#include <", "/", "/*", "//", "\"", "'", "R\"", "R\"(", "\\",
                                      "\"\\", "'\\", "1'", "// \\", "#include \"a"}) {
    INFO("text: " << text);
    CHECK(scan_includes(text).includes.empty());
    CHECK(scan_includes(text).lines == 1);
  }
}

TEST_CASE("include scan: every line counts, with or without a newline at the end") {
  CHECK(scan_includes("").lines == 0);
  CHECK(scan_includes("\n").lines == 1);
  CHECK(scan_includes("a").lines == 1);
  CHECK(scan_includes("a\n").lines == 1);
  CHECK(scan_includes("a\n\nb").lines == 3);
  CHECK(scan_includes("a\\\nb\n/*\n*/\n").lines == 4);
}
