#include <weir/core/home.hpp>

#include "support/catch.hpp"

#include "core/manual_home.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <weir/core/root_registry.hpp>

#include "support/long_turn.hpp"

using namespace weir_test;

TEST_CASE("home: runs what is handed over in the order of arrival, with one post") {
  Fixture f;
  f.home.resume_later(f.a);
  f.home.resume_later(f.b);
  f.home.resume_later(f.c);
  CHECK(f.log.empty());
  CHECK(f.home.posts == 1);
  CHECK(f.home.run() == 1);
  CHECK(f.log == Log{"a", "b", "c"});
  f.home.resume_later(f.a);
  CHECK(f.home.posts == 2);
  f.home.run();
  CHECK(f.log.size() == 4);
}

TEST_CASE("home: what is handed over while it runs needs no post of its own") {
  Fixture f;
  f.a.then = [&] { f.home.resume_later(f.b); };
  f.b.then = [&] { f.home.resume_later(f.c); };
  f.home.resume_later(f.a);
  CHECK(f.home.run() == 1);
  CHECK(f.log == Log{"a", "b", "c"});
}

TEST_CASE("home: resume_next comes before what is ready, resume_here after it") {
  Fixture f;
  Step d(f.log, "d");
  f.a.then = [&] {
    f.home.resume_here(d);
    f.home.resume_next(f.c);
  };
  f.home.resume_later(f.a);
  f.home.resume_later(f.b);
  f.home.run();
  CHECK(f.log == Log{"a", "c", "b", "d"});
}

TEST_CASE("home: enqueue owes a submit only for the first, and posts nothing itself") {
  Fixture f;
  CHECK(f.home.enqueue(f.a));
  CHECK_FALSE(f.home.enqueue(f.b));
  CHECK(f.home.posts == 0);
  f.home.submit();
  CHECK(f.home.posts == 1);
  f.home.run();
  CHECK(f.log == Log{"a", "b"});
}

TEST_CASE("home: forget takes back from wherever it waits, once") {
  Fixture f;
  Step d(f.log, "d");
  f.a.then = [&] {
    f.home.resume_here(f.b);
    f.home.resume_here(f.c);
    f.home.resume_next(d);
    CHECK(f.home.forget(f.c));
    CHECK_FALSE(f.home.forget(f.c));
    CHECK(f.home.forget(d));
    // The place at the end is right again.
    f.home.resume_here(f.c);
    CHECK(f.home.forget(f.b));
  };
  Step later(f.log, "later");
  f.home.resume_later(f.a);
  f.home.resume_later(later);
  f.home.run();
  CHECK(f.log == Log{"a", "later", "c"});
}

TEST_CASE("home: a spent budget posts again and lets others run, without losing anything") {
  asio::io_context context;
  Log log;
  auto& home = *new ManualHome(context, 2);
  std::vector<std::unique_ptr<Step>> steps;
  for (int i = 0; i < 5; ++i) {
    steps.push_back(std::make_unique<Step>(log, std::to_string(i)));
    home.resume_later(*steps.back());
  }
  CHECK(home.run() == 3);
  CHECK(log == Log{"0", "1", "2", "3", "4"});
  bool first = true;
  bool second = true;
  steps[0]->then = [&] {
    first = home.spend();
    second = home.spend();
  };
  home.resume_later(*steps[0]);
  home.run();
  CHECK_FALSE(first);
  CHECK_FALSE(second);
  home.release();
}

TEST_CASE("home: a spent budget is given again while the turn is short, and never after that") {
  if (!weir_test::turns_have_time()) return;
  asio::io_context context;
  Log log;
  auto& home = *new ManualHome(context, 2);
  Step step(log, "step");
  CHECK_FALSE(home.renew());
  bool renewed = false;
  bool spent = true;
  bool after_long = true;
  bool looked = true;
  step.then = [&] {
    spent = home.spend();
    renewed = home.renew() && home.spend();
    home.renew_if_due();
    weir_test::outlast_a_turn();
    home.look_at_time();
    looked = home.spend();
    after_long = home.renew();
  };
  // The machine may take the processor away for as long as a turn.
  for (int tries = 0; tries < 1000 && !renewed; ++tries) {
    home.resume_later(step);
    home.run();
    CHECK_FALSE(spent);
    CHECK_FALSE(looked);
    CHECK_FALSE(after_long);
  }
  CHECK(renewed);
  home.release();
}

TEST_CASE("home: a cancel reaches the scope on the home, once") {
  Fixture f;
  f.home.request_cancel();
  f.home.request_cancel();
  CHECK_FALSE(f.home.scope().cancelled());
  CHECK(f.home.run() == 1);
  CHECK(f.home.scope().cancelled());
  f.home.request_cancel();
  CHECK(f.home.posts == 1);
}

TEST_CASE("home: a scheduled home keeps itself alive") {
  asio::io_context context;
  Log log;
  Step a(log, "a");
  bool destroyed = false;
  auto& home = *new ManualHome(context);
  home.destroyed = &destroyed;
  home.resume_later(a);
  home.release();
  CHECK_FALSE(destroyed);
  home.run();
  CHECK(log == Log{"a"});
  CHECK(destroyed);
}

TEST_CASE("home: the end of the root is noticed by the drain, once") {
  asio::io_context context;
  Log log;
  Step a(log, "a");
  Step b(log, "b");
  auto& home = *new ManualHome(context);
  home.retain();
  a.then = [&] { home.root_returned(); };
  home.resume_later(a);
  home.resume_later(b);
  home.run();
  CHECK(home.finishes == 1);
  CHECK(home.finished());
  CHECK(log == Log{"a", "b"});
  home.release();
}

TEST_CASE("home: an abandoned post drops what was queued, telling it so") {
  Fixture f;
  f.home.resume_later(f.a);
  f.home.resume_later(f.b);
  f.home.abandon_post();
  CHECK(f.log == Log{"dropped a", "dropped b"});
}

TEST_CASE("home: a dead home refuses, and tells the callback so") {
  Log log;
  Step a(log, "a");
  Step b(log, "b");
  auto context = std::make_unique<asio::io_context>();
  auto& home = *new ManualHome(*context);
  home.retain();
  asio::use_service<weir::RootRegistry>(*context).roots()->add(home);
  home.resume_later(a);
  context.reset();
  CHECK(log == Log{"dropped a"});
  CHECK(home.frames_destroyed == 1);
  CHECK(home.handlers_forgotten == 1);
  home.resume_later(b);
  CHECK_FALSE(home.enqueue(b));
  CHECK(log == Log{"dropped a", "dropped b", "dropped b"});
  CHECK(home.posts == 1);
  home.abandon_post();
  home.release();
}

TEST_CASE("home: memory that was given back is used again, and holds the block meanwhile") {
  asio::io_context context;
  bool destroyed = false;
  auto& home = *new ManualHome(context);
  home.destroyed = &destroyed;
  void* const one = home.allocate(100);
  void* const other = home.allocate(200);
  CHECK(one != other);
  home.deallocate(one, 100);
  CHECK(home.allocate(300) == one);
  void* const large = home.allocate(100'000);
  home.deallocate(large, 100'000);
  home.release();
  home.deallocate(other, 200);
  CHECK_FALSE(destroyed);
  home.deallocate(one, 300);
  CHECK(destroyed);
}
