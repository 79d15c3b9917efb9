#include "support/census.hpp"

#include "examples/tree.hpp"
#include "support/catch.hpp"

using example::HeaderWalk;
using example::Tree;

TEST_CASE("census: counts add up, in any order") {
  const Tree tree;
  tree.file("a/one.h", "#include <x>\n#include <y>\nint a;\n");
  tree.file("b/two.h", "#include \"x\"\n");
  tree.file("three.h", "");
  HeaderWalk walk(tree.root());
  std::vector<example::HeaderFile> headers;
  while (auto header = walk.next()) headers.push_back(*header);
  example::Census forward;
  example::Census backward;
  for (const auto& header : headers) forward.add(example::read_header(header));
  for (auto header = headers.rbegin(); header != headers.rend(); ++header) backward.add(example::read_header(*header));
  CHECK(forward == backward);
  CHECK(to_json(forward).dump() ==
        R"({"headers":3,"lines":4,"bytes":46,"includes":3,"top_includes":[{"name":"x","times":2},)"
        R"({"name":"y","times":1}],"lines_by_folder":{".":0,"a":3,"b":1}})");
}

TEST_CASE("census: a file that cannot be read says which it is") {
  const Tree tree;
  try {
    static_cast<void>(example::read_whole(tree.root() / "gone.h"));
    FAIL("it was read");
  } catch (const std::system_error& error) {
    CHECK(error.code() == std::errc::no_such_file_or_directory);
    CHECK(std::string(error.what()).find("gone.h") != std::string::npos);
  }
  CHECK_THROWS_AS(example::read_whole(tree.root()), std::system_error);
}

TEST_CASE("census: a file longer than one read is read whole") {
  const Tree tree;
  for (const std::size_t size : {std::size_t{65535}, std::size_t{65536}, std::size_t{200000}}) {
    const std::string text(size, 'x');
    tree.file("long.h", text);
    CHECK(example::read_whole(tree.root() / "long.h") == text);
  }
}
