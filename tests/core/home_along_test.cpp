#include <weir/core/home.hpp>

#include "support/catch.hpp"

#include <weir/core/wake_list.hpp>

#include "core/manual_home.hpp"

using weir::WakeList;
using weir_test::Log;
using weir_test::ManualHome;
using weir_test::Step;

namespace {

/// Two homes of one executor, as two roots on an io_context are.
struct Neighbours {
  explicit Neighbours(int budget = 256, bool other_plain = true, bool takes_along = true)
      : home(*new ManualHome(context, budget, true, takes_along)),
        other(*new ManualHome(context, budget, other_plain)) {}
  ~Neighbours() {
    home.release();
    other.release();
  }
  /// What is woken as a peer of a local channel is.
  void wake_along(Step& step) { wake_along(home, other, step); }
  static void wake_along(ManualHome& by, ManualHome& woken, Step& step) {
    if (!by.resume_along(woken, step)) woken.resume_later(step);
  }
  /// What is woken as a peer of a shared channel is.
  void wake(Step& step) {
    WakeList wake(&home);
    wake.add(other, step);
  }

  asio::io_context context;
  ManualHome& home;
  ManualHome& other;
  Log log;
  Step a{log, "a"};
  Step b{log, "b"};
  Step c{log, "c"};
};

}  // namespace

TEST_CASE("home: who is woken along runs after the waker's own, without a post", "[home]") {
  Neighbours n;
  n.a.then = [&] {
    n.wake_along(n.b);
    n.home.resume_here(n.c);
  };
  n.home.resume_later(n.a);
  n.home.run();
  CHECK(n.log == Log{"a", "c", "b"});
  CHECK(n.home.posts == 1);
  CHECK(n.other.posts == 0);
}

TEST_CASE("home: a waker that is woken back goes on in the same turn", "[home]") {
  Neighbours n;
  n.a.then = [&] { n.wake_along(n.b); };
  n.b.then = [&] { Neighbours::wake_along(n.other, n.home, n.c); };
  n.home.resume_later(n.a);
  n.home.run();
  CHECK(n.log == Log{"a", "b", "c"});
  CHECK(n.home.posts == 1);
  CHECK(n.other.posts == 0);
}

TEST_CASE("home: those taken along share one budget, and are posted when it is spent", "[home]") {
  Neighbours n(2);
  n.a.then = [&] {
    n.wake_along(n.b);
    n.wake_along(n.c);
  };
  n.home.resume_later(n.a);
  n.home.run();
  CHECK(n.log == Log{"a", "b"});
  CHECK(n.other.posts == 1);
  n.other.run();
  CHECK(n.log == Log{"a", "b", "c"});
}

TEST_CASE("home: nobody is taken along outside a turn, or from another kind of executor", "[home]") {
  Neighbours n;
  n.wake_along(n.b);
  CHECK(n.other.posts == 1);
  n.other.run();
  CHECK(n.log == Log{"b"});

  Neighbours strand(256, false);
  strand.a.then = [&] { strand.wake_along(strand.b); };
  strand.home.resume_later(strand.a);
  strand.home.run();
  CHECK(strand.log == Log{"a"});
  CHECK(strand.other.posts == 1);
  strand.other.run();
  CHECK(strand.log == Log{"a", "b"});
}

TEST_CASE("home: who is taken along and drained by a post of its own before runs once", "[home]") {
  Neighbours n;
  n.a.then = [&] {
    n.wake_along(n.b);
    n.other.resume_later(n.c);
    n.other.run();
  };
  n.home.resume_later(n.a);
  n.home.run();
  CHECK(n.log == Log{"a", "b", "c"});
  CHECK(n.other.posts == 1);
}

TEST_CASE("home: a root that ends while it is taken along is finished there", "[home]") {
  Neighbours n;
  n.other.retain();  // stands for the root's own reference, which its end gives up
  n.a.then = [&] { n.wake_along(n.b); };
  n.b.then = [&] { n.other.root_returned(); };
  n.home.resume_later(n.a);
  n.home.run();
  CHECK(n.other.finishes == 1);
  CHECK(n.other.finished());
  CHECK(n.other.posts == 0);
}

TEST_CASE("home: only who has shown to suspend soon after waking runs the woken itself", "[home]") {
  Neighbours n;
  int posted = 0;
  for (int turn = 0; turn < 40; ++turn) {
    n.a.then = [&] { n.wake(n.b); };
    n.home.resume_later(n.a);
    n.home.run();
    posted += n.other.run();
  }
  CHECK(n.log.size() == 80);
  // The first ones are posted; how many more depends on how long the machine took for a turn.
  CHECK(posted >= 4);
  CHECK(n.other.posts == posted);
}

TEST_CASE("home: one that is owed its drain is posted when the budget is spent", "[home]") {
  Neighbours n(2);
  Step d{n.log, "d"};
  for (int turn = 0; turn < 200; ++turn) {
    n.a.then = [&] {
      n.wake(n.b);
      n.home.resume_here(n.c);
      n.home.resume_here(d);
    };
    n.home.resume_later(n.a);
    n.home.run();
    n.other.run();
    REQUIRE(n.log.size() == static_cast<std::size_t>(turn + 1) * 4);
  }
}

TEST_CASE("home: one that is told not to run the woken posts each of them", "[home]") {
  Neighbours n(256, true, false);
  for (int turn = 0; turn < 100; ++turn) {
    n.a.then = [&] { n.wake(n.b); };
    n.home.resume_later(n.a);
    n.home.run();
    REQUIRE(n.other.run() == 1);
  }
  CHECK(n.other.posts == 100);
}

TEST_CASE("home: one that has shown to be quick runs the woken itself, in the same turn", "[home]") {
  Neighbours n;
  int posts = 0;
  bool ran_along = false;
  // A machine may take any single turn from it; not all of so many.
  for (int turn = 0; turn < 100000 && !ran_along; ++turn) {
    n.a.then = [&] { n.wake(n.b); };
    n.home.resume_later(n.a);
    n.home.run();
    ran_along = n.other.posts == posts;
    posts = n.other.posts;
    n.other.run();
  }
  CHECK(ran_along == (weir::detail::ticks() != 0));
}
