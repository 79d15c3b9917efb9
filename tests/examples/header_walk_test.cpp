#include "support/header_walk.hpp"

#include <unistd.h>

#include "examples/tree.hpp"
#include "support/catch.hpp"

namespace fs = std::filesystem;
using example::HeaderWalk;
using example::is_header;
using example::Tree;

namespace {

using Names = std::vector<std::string>;

Names walked(const Tree& tree) {
  Names names;
  HeaderWalk walk(tree.root());
  while (const auto header = walk.next()) {
    names.push_back(header->path.lexically_relative(tree.root()).string() + " " + header->folder);
  }
  return names;
}

}  // namespace

TEST_CASE("header walk: headers are known by their names") {
  for (const char* name : {"a.h", "a.hh", "a.hpp", "a.hxx", "a.ipp", "a.tcc", "a.inl", "vector", "c++/12/map", "a.b.h",
                           "experimental/executor"}) {
    INFO(name);
    CHECK(is_header(name));
  }
  for (const char* name : {"a.c", "a.cpp", "a.H", "a.h.in", "h", ".h", "README", "vector.txt", "ah", "h.", "Vector"}) {
    INFO(name);
    CHECK_FALSE(is_header(name));
  }
}

TEST_CASE("header walk: every header below comes once, in order, with its top folder") {
  const Tree tree;
  for (const char* name : {"z.h", "b/y.hpp", "b/deep/er/x.h", "b/skip.txt", "a/vector", "a.h"}) tree.file(name);
  CHECK(walked(tree) == Names{"a.h .", "z.h .", "a/vector a", "b/y.hpp b", "b/deep/er/x.h b"});
}

TEST_CASE("header walk: links to directories end, and do not count a directory twice") {
  const Tree tree;
  const Tree elsewhere;
  tree.file("real/a.h");
  elsewhere.file("sub/b.h");
  tree.link("..", "real/up");
  tree.link("real", "another");
  tree.link(elsewhere.root().string(), "linked");
  elsewhere.link(tree.root().string(), "back");
  CHECK(walked(tree) == Names{"real/a.h real", "linked/sub/b.h linked"});
}

TEST_CASE("header walk: a link to a file is a file, a dangling one is a problem") {
  const Tree tree;
  tree.file("a.h");
  tree.link("a.h", "b.h");
  tree.link("nowhere.h", "c.h");
  tree.link("loop.h", "loop.h");
  HeaderWalk walk(tree.root());
  std::size_t headers = 0;
  while (walk.next()) ++headers;
  CHECK(headers == 2);
  REQUIRE(walk.problems().size() == 2);
  CHECK(walk.problems()[0].find("c.h: ") != std::string::npos);
  CHECK(walk.problems()[1].find("loop.h: ") != std::string::npos);
  CHECK_FALSE(walk.next());
}

TEST_CASE("header walk: a root that is missing or no directory is an error") {
  const Tree tree;
  tree.file("a.h");
  CHECK_THROWS_AS(HeaderWalk(tree.root() / "missing"), fs::filesystem_error);
  CHECK_THROWS_AS(HeaderWalk(tree.root() / "a.h"), fs::filesystem_error);
}

TEST_CASE("header walk: a directory that cannot be read is a problem, and the rest is walked") {
  if (::geteuid() == 0) {
    SUCCEED("root reads everything");
    return;
  }
  const Tree tree;
  tree.file("closed/a.h");
  tree.file("open/b.h");
  fs::permissions(tree.root() / "closed", fs::perms::none);
  HeaderWalk walk(tree.root());
  const auto header = walk.next();
  CHECK((header && header->folder == "open"));
  CHECK_FALSE(walk.next());
  CHECK(walk.problems().size() == 1);
  fs::permissions(tree.root() / "closed", fs::perms::owner_all);
}
