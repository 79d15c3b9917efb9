#include <weir/core/wake_list.hpp>

#include "support/catch.hpp"

#include "core/manual_home.hpp"

#include <mutex>

using namespace weir_test;

TEST_CASE("wake_list: it posts after the lock, in the order in which homes were woken") {
  Fixture f;
  Fixture g;
  {
    std::mutex mutex;
    weir::WakeList wake;
    const std::lock_guard lock(mutex);
    wake.add(f.home, f.a);
    wake.add(g.home, g.a);
    wake.add(f.home, f.b);
    CHECK(f.home.posts == 0);
    CHECK(g.home.posts == 0);
  }
  CHECK(f.home.posts == 1);
  CHECK(g.home.posts == 1);
  f.home.run();
  g.home.run();
  CHECK(f.log == Log{"a", "b"});
  CHECK(g.log == Log{"a"});
}

TEST_CASE("wake_list: it calls what was deferred, once, after the posts") {
  struct Deferred : weir::WakeList::Deferred {
    int fired = 0;
    int posts_seen = -1;
    ManualHome* home = nullptr;
  };
  Fixture f;
  Deferred deferred;
  deferred.home = &f.home;
  deferred.fire = [](weir::WakeList::Deferred& self) noexcept {
    auto& d = static_cast<Deferred&>(self);
    ++d.fired;
    d.posts_seen = d.home->posts;
  };
  {
    weir::WakeList wake;
    wake.add(deferred);
    wake.add(f.home, f.a);
    CHECK(deferred.fired == 0);
    wake.flush();
    CHECK(deferred.fired == 1);
  }
  CHECK(deferred.fired == 1);
  CHECK(deferred.posts_seen == 1);
  f.home.run();
}
